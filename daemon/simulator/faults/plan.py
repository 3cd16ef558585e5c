"""A plan of faults: at set times, at random with set rates, or both; from a TOML file or from Python.

Times are wall seconds: faults belong to networks and machines, which have no market time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from daemon.errors import DataFault

Kind = Literal[
    "drop",
    "duplicate",
    "reorder",
    "delay",
    "batch",
    "mute",
    "stall",
    "close",
    "refuse",
    "rest",
    "complain",
    "malformed",
    "skew",
    "shutdown",
    "halt",
]
Form = Literal["truncated", "nested", "nan", "types", "huge", "oversized"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FORMS: tuple[Form, ...] = get_args(Form)

# At random: codes that venues and proxies close with, and statuses that their edges answer with.
_CODES = (1000, 1001, 1006, 1006, 1011, 1012, 1013)
_STATUSES = (429, 418, 500, 502, 503)

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. Which fields count depends on ``kind``; see docs/simulator.md.

    at_s: wall seconds after the start of the exchange. symbol: BASE-QUOTE or Binance's spelling; None picks one
    by the plan's seed. for_s: wall seconds until it ends. ms: how far the clock is ahead.
    """

    kind: Kind
    at_s: _Seconds = 0.0
    symbol: str | None = None
    count: _Positive = 1
    for_s: _Seconds = 1.0
    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1006
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 503
    retry_after_s: int | None = None
    form: Form = "truncated"
    ms: int = 0
    grace_s: _Seconds = 5.0
    bars: _Positive = 1


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``faults`` at their times; ``per_hour`` is the number of random faults of a kind in a wall hour, from ``seed``.

    from_s, until_s: wall seconds after the start between which random faults happen.
    """

    seed: int = 0
    faults: tuple[Fault, ...] = msgspec.field(default=(), name="fault")
    per_hour: Mapping[Kind, Annotated[float, msgspec.Meta(ge=0)]] = {}
    from_s: _Seconds = 0.0
    until_s: float = math.inf

    def schedule(self) -> Iterator[Fault]:
        """Every fault in the order of its time; endless where random faults have no end."""
        rng = random.Random(self.seed)
        planned = sorted(self.faults, key=lambda fault: fault.at_s)
        for drawn in self._drawn(rng):
            while planned and planned[0].at_s <= drawn.at_s:
                yield planned.pop(0)
            yield drawn
        yield from planned

    def _drawn(self, rng: random.Random) -> Iterator[Fault]:
        rates = {kind: rate / 3600 for kind, rate in self.per_hour.items() if rate > 0}
        at_s, total = self.from_s, sum(rates.values())
        while total and (at_s := at_s + rng.expovariate(total)) < self.until_s:
            (kind,) = rng.choices(list(rates), list(rates.values()))
            yield _at_random(kind, at_s, rng)


def load_plan(path: Path) -> FaultPlan:
    """A plan from a TOML file; raises DataFault with what is wrong with it."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=FaultPlan)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataFault(f"{path}: {error}") from error


def _at_random(kind: Kind, at_s: float, rng: random.Random) -> Fault:
    """A fault of a realistic size."""
    return Fault(
        kind=kind,
        at_s=at_s,
        count=rng.randint(1, 20),
        for_s=round(rng.uniform(0.2, 8.0), 3),
        code=rng.choice(_CODES),
        status=(status := rng.choice(_STATUSES)),
        retry_after_s=rng.randint(1, 3) if status in {418, 429} else None,
        form=rng.choice(FORMS),
        ms=rng.choice((-1, 1)) * rng.randint(50, 1500),
        grace_s=round(rng.uniform(0.5, 5.0), 3),
    )
