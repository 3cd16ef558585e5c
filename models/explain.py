"""What a forecast looked at: its hours and features by weight, and how they went from forecast to forecast. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.catalogue import feature_named
from models.forecast import WindowReading

FloatArray = npt.NDArray[np.float64]

GONE = "no longer computed"


@dataclass(frozen=True, slots=True)
class Hour:
    """One bar of the window. ``bars_ago``: 1 is the newest, which ends at the forecast's bar close.

    from_us, to_us: its right-open interval, UTC microseconds. weight: its share of the attention, 0 to 1.
    known: whether it had every feature; None where that was not kept.
    """

    bars_ago: int
    from_us: int
    to_us: int
    weight: float
    known: bool | None


@dataclass(frozen=True, slots=True)
class FeatureWeight:
    """What one feature weighed, a share of 1, and the family that it belongs to."""

    name: str
    family: str
    weight: float


def hours(
    attention: FloatArray, known: npt.NDArray[np.bool_] | None, *, close_time_us: int, interval_us: int
) -> list[Hour]:
    """The bars of a window that ends at ``close_time_us``, oldest first; attention (L,), known (L,).

    Raises ValueError where the two differ in length.
    """
    if known is not None and known.shape != attention.shape:
        raise ValueError(f"attention is over {len(attention)} bars, {len(known)} are said to be known or not")
    first_us = close_time_us - len(attention) * interval_us
    return [
        Hour(
            bars_ago=len(attention) - row,
            from_us=first_us + row * interval_us,
            to_us=first_us + (row + 1) * interval_us,
            weight=float(weight),
            known=None if known is None else bool(known[row]),
        )
        for row, weight in enumerate(attention)
    ]


def top_hours(looked: Iterable[Hour], count: int = 5) -> list[Hour]:
    """The heaviest first, of equal ones the newest; an hour that weighs nothing is none of them."""
    weighing = [hour for hour in looked if hour.weight > 0.0]
    return sorted(weighing, key=lambda hour: (-hour.weight, hour.bars_ago))[:count]


def spread_over(attention: FloatArray) -> float:
    """As many equal weights would be spread as evenly: 1 where all lies on one hour, L where it is even.

    The exponential of the entropy (Hill 1973).
    """
    weighing = attention[attention > 0.0]
    if not len(weighing):
        return 0.0
    shares = weighing / weighing.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def newest_share(attention: FloatArray, count: int) -> float:
    """What the newest ``count`` hours weigh together."""
    return float(attention[-count:].sum())


def feature_weights(reading: WindowReading) -> list[FeatureWeight]:
    """The heaviest first; empty where the network selects no features."""
    if reading.importance is None:
        return []
    weights = [
        FeatureWeight(name, _family(name), float(weight))
        for name, weight in zip(reading.feature_names, reading.importance, strict=True)
    ]
    return sorted(weights, key=lambda each: (-each.weight, each.name))


def family_weights(weights: Iterable[FeatureWeight]) -> list[tuple[str, float, int]]:
    """What each family weighs together and how many features it has, the heaviest first."""
    together: dict[str, tuple[float, int]] = {}
    for each in weights:
        weight, count = together.get(each.family, (0.0, 0))
        together[each.family] = (weight + each.weight, count + 1)
    return sorted(((name, *each) for name, each in together.items()), key=lambda row: (-row[1], row[0]))


def attention_rows(recent: Sequence[FloatArray | None], length: int) -> FloatArray:
    """(N, L): one forecast a row; NaN where it has no attention or looked at another number of hours."""
    rows = np.full((len(recent), length), np.nan)
    for row, attention in enumerate(recent):
        if attention is not None and len(attention) == length:
            rows[row] = attention
    return rows


def _family(name: str) -> str:
    try:
        return feature_named(name).family
    except ValueError:
        return GONE  # a store outlives a catalogue
