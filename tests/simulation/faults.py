"""What goes wrong in one simulated world: probabilities and bounds, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields

_CALM = 0.3  # share of worlds in which a fault of a kind does not happen at all


@dataclass(frozen=True, kw_only=True)
class Faults:
    """``*_chance`` are probabilities an occasion, ``*_per_minute`` mean numbers a minute. 0 turns a fault off."""

    duplicate_chance: float = field(default=0.0, metadata={"most": 0.05})
    reorder_chance: float = field(default=0.0, metadata={"most": 0.05})
    drop_chance: float = field(default=0.0, metadata={"most": 0.02})
    disconnects_per_minute: float = field(default=0.0, metadata={"most": 0.7})
    silences_per_minute: float = field(default=0.0, metadata={"most": 0.1})
    rest_refused_chance: float = field(default=0.0, metadata={"most": 0.5})
    rest_truncated_chance: float = field(default=0.0, metadata={"most": 0.3})
    rest_slow_chance: float = field(default=0.0, metadata={"most": 0.3})
    rest_never_chance: float = field(default=0.0, metadata={"most": 0.1})
    rest_twice_chance: float = field(default=0.0, metadata={"most": 0.1})
    rest_behind_chance: float = field(default=0.0, metadata={"most": 0.5})
    huge_ids_per_minute: float = field(default=0.0, metadata={"most": 0.2})
    wrong_time_chance: float = field(default=0.0, metadata={"most": 0.01})
    kills_per_minute: float = field(default=0.0, metadata={"most": 0.2})
    killed_between_events_chance: float = field(default=0.0, metadata={"most": 0.02})
    store_stalls_per_minute: float = field(default=0.0, metadata={"most": 0.5})
    power_cut_share: float = field(default=0.0, metadata={"most": 0.5})
    # Drawn apart from those above, so that these keep the worlds of their seeds.
    time_lies_per_minute: float = field(default=0.0, metadata={"most": 2.0, "apart": True})
    pauses_per_minute: float = field(default=0.0, metadata={"most": 0.1, "apart": True})
    wrong_start_share: float = field(default=0.0, metadata={"most": 0.5, "apart": True})

    @property
    def loses_silently(self) -> bool:
        """Whether trades are lost without a sign, which no venue without contiguous ids can notice."""
        return self.drop_chance > 0 or self.silences_per_minute > 0 or self.wrong_time_chance > 0


def draw_faults(rng: random.Random, *, without: frozenset[str] = frozenset()) -> Faults:
    """The faults of one world; those named in ``without`` are off, and the draws of the others stay the same."""
    drawn, apart = {}, random.Random(repr(rng.getstate()))
    for each in fields(Faults):
        source = apart if "apart" in each.metadata else rng
        value = 0.0 if source.random() < _CALM else each.metadata["most"] * source.random() ** 2
        drawn[each.name] = 0.0 if each.name in without else value
    return Faults(**drawn)
