"""What a forecast rests on: the weights of its hours and features, and attention over successive forecasts."""

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
    known: whether it had every feature; None if that was not stored.
    """

    bars_ago: int
    from_us: int
    to_us: int
    weight: float
    known: bool | None


@dataclass(frozen=True, slots=True)
class FeatureWeight:
    """The weight of one feature, a share of 1, and its family."""

    name: str
    family: str
    weight: float


def hours(
    attention: FloatArray, known: npt.NDArray[np.bool_] | None, *, close_time_us: int, interval_us: int
) -> list[Hour]:
    """The bars of a window that ends at ``close_time_us``, oldest first; attention (L,), known (L,).

    Raises ValueError if the two differ in length.
    """
    if known is not None and known.shape != attention.shape:
        raise ValueError(f"attention is over {len(attention)} bars, known has {len(known)}")
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


def top_hours(window: Iterable[Hour], count: int = 5) -> list[Hour]:
    """The ``count`` hours of most weight, heaviest first, newer before older; hours without weight are left out."""
    weighted = [hour for hour in window if hour.weight > 0.0]
    return sorted(weighted, key=lambda hour: (-hour.weight, hour.bars_ago))[:count]


def spread_over(attention: FloatArray) -> float:
    """Effective number of hours attended to: 1 if all weight is on one hour, L if it is even over L hours.

    The exponential of the entropy (Hill 1973).
    """
    weighted = attention[attention > 0.0]
    if not len(weighted):
        return 0.0
    shares = weighted / weighted.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def newest_share(attention: FloatArray, count: int) -> float:
    """The total weight of the newest ``count`` hours."""
    return float(attention[-count:].sum())


def feature_weights(reading: WindowReading) -> list[FeatureWeight]:
    """Feature weights, heaviest first; empty if the network selects no features."""
    if reading.importance is None:
        return []
    weights = [
        FeatureWeight(name, _family(name), float(weight))
        for name, weight in zip(reading.feature_names, reading.importance, strict=True)
    ]
    return sorted(weights, key=lambda each: (-each.weight, each.name))


def family_weights(weights: Iterable[FeatureWeight]) -> list[tuple[str, float, int]]:
    """(family, total weight, number of features), heaviest first."""
    totals: dict[str, tuple[float, int]] = {}
    for each in weights:
        weight, count = totals.get(each.family, (0.0, 0))
        totals[each.family] = (weight + each.weight, count + 1)
    return sorted(((name, *each) for name, each in totals.items()), key=lambda row: (-row[1], row[0]))


def attention_rows(recent: Sequence[FloatArray | None], length: int) -> FloatArray:
    """Attention (N, L), one forecast per row; NaN if it has none, or for another number of hours."""
    rows = np.full((len(recent), length), np.nan)
    for row, attention in enumerate(recent):
        if attention is not None and len(attention) == length:
            rows[row] = attention
    return rows


def _family(name: str) -> str:
    try:
        return feature_named(name).family
    except ValueError:
        return GONE  # stored forecasts may name features of an older catalogue
