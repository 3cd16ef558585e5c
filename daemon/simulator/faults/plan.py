"""A plan of faults: at set times, at random with set rates, or both; from a TOML file or from Python.

Times are wall seconds: faults belong to networks and machines, which have no market time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
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
    "delist",
    "listing",
    "region",
    "server_time",
    "throttle",
    "late",
    "cross",
    "huge_id",
    "huge_candle",
]
Form = Literal["truncated", "nested", "nan", "types", "huge", "oversized"]
Listing = Literal["empty", "partial", "cut"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HUGE_ID = 9_000_000_000_000_000_000
HUGE_UNITS = 10**27
LISTINGS: tuple[Listing, ...] = get_args(Listing)
FORMS: tuple[Form, ...] = get_args(Form)

# At random: codes that venues and proxies close with, and statuses that their edges answer with.
_CODES = (1000, 1001, 1006, 1006, 1011, 1012, 1013)
_STATUSES = (429, 418, 500, 502, 503)
# An absurd time to wait is for plans that mean it: it costs what the client's cap is.
_RETRY_AFTER_S = (1, 2, 3, 5)
_DEFAULT_STATUS: Mapping[Kind, int] = MappingProxyType({"rest": 503, "region": 451, "throttle": 429})
_REGION_STATUSES = (403, 451)

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. Which fields count depends on ``kind``; see docs/simulator.md.

    at_s: wall seconds after the start of the exchange. symbol: BASE-QUOTE or Binance's spelling; None picks one
    by the plan's seed, for ``throttle`` and ``late`` it means all. for_s: wall seconds until it ends, ``inf`` for
    never. status: None for the usual one of the kind. ms: how far the clock is ahead.
    """

    kind: Kind
    at_s: _Seconds = 0.0
    symbol: str | None = None
    count: _Positive = 1
    for_s: _Seconds = 1.0
    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1006
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    retry_after_s: int | None = None
    form: Form = "truncated"
    ms: int = 0
    grace_s: _Seconds = 5.0
    bars: _Positive = 1
    listing: Listing = "empty"
    trade_id: _Positive = HUGE_ID
    units: _Positive = HUGE_UNITS

    def __post_init__(self) -> None:
        if self.kind == "region" and self.http_status not in _REGION_STATUSES:
            raise ValueError(f"the status of a region fault is 403 or 451, not {self.status}")

    @property
    def http_status(self) -> int:
        """``status``, or the usual one of the kind."""
        return _DEFAULT_STATUS.get(self.kind, 503) if self.status is None else self.status


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
        return msgspec.toml.decode(path.read_text("utf-8-sig"), type=FaultPlan)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise DataFault(f"{path}: {error}") from error


def _at_random(kind: Kind, at_s: float, rng: random.Random) -> Fault:
    """A fault of a realistic size."""
    if kind in {"delist", "listing", "region", "server_time", "throttle", "late", "cross", "huge_candle"}:
        return _venue_fault(kind, at_s, rng)
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


def _venue_fault(kind: Kind, at_s: float, rng: random.Random) -> Fault:
    """A fault of the venue's symbols, clock or REST answers."""
    return Fault(
        kind=kind,
        at_s=at_s,
        count=rng.randint(1, 4),
        for_s=round(rng.uniform(2.0, 20.0), 3),
        status=rng.choice(_REGION_STATUSES) if kind == "region" else None,
        retry_after_s=rng.choice(_RETRY_AFTER_S) if kind == "throttle" else None,
        ms=rng.choice((-1, 1)) * rng.choice((2_000, 20_000, 600_000, 36_000_000)),
        listing=rng.choice(LISTINGS),
    )
