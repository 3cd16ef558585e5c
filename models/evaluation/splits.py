"""Splits in time, with purge and embargo so that labels do not leak across the cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.history import UnusableBars


@dataclass(frozen=True, slots=True, eq=False)
class TimeSplit:
    """Sample positions: the labels of ``train`` are known at ``cut_us``; ``validation`` begins after the embargo."""

    cut_us: int
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


def cut_time(first_us: int, last_us: int, *, validation_share: float = 0.15, at_most_us: int | None = None) -> int:
    """The instant that leaves the last ``validation_share`` of the span, at most ``at_most_us``, for validation."""
    validation_us = int((last_us - first_us) * validation_share)
    return last_us - (validation_us if at_most_us is None else min(validation_us, at_most_us))


def split_in_time(close_time_us: npt.NDArray[np.int64], *, cut_us: int, label_span_us: int) -> TimeSplit:
    """Splits samples at one instant for all series.

    close_time_us: (N,) each sample's cut-off. label_span_us: how long after its cut-off a sample's last label
    becomes known. Purge: a training sample's labels are all known at the cut. Embargo: validation begins one
    label span after it (Lopez de Prado 2018, chapter 7). Raises UnusableBars if a side would be empty.
    """
    train = np.flatnonzero(close_time_us + label_span_us <= cut_us)
    validation = np.flatnonzero(close_time_us >= cut_us + label_span_us)
    if not len(train) or not len(validation):
        raise UnusableBars(
            f"{len(close_time_us)} usable samples leave {len(train)} to train on and {len(validation)} to "
            "validate on: more history is needed"
        )
    return TimeSplit(cut_us, train, validation)


@dataclass(frozen=True, slots=True)
class Fold:
    """One retraining and the forecasts that follow it, in UTC microseconds.

    Training sees bars that close after ``train_from_us`` and no later than ``train_until_us``; forecasts are made at
    the closes t with ``test_from_us <= t < test_until_us``.
    """

    index: int
    train_from_us: int
    train_until_us: int
    test_from_us: int
    test_until_us: int

    def samples(self, close_time_us: npt.NDArray[np.int64], *, label_span_us: int) -> TimeSplit:
        """Positions of the (N,) cut-offs to train on, all of whose labels are known in time (purge), and to test on."""
        trained = (close_time_us > self.train_from_us) & (close_time_us + label_span_us <= self.train_until_us)
        tested = (close_time_us >= self.test_from_us) & (close_time_us < self.test_until_us)
        return TimeSplit(self.train_until_us, np.flatnonzero(trained), np.flatnonzero(tested))


def walk_forward_folds(
    *,
    first_us: int,
    from_us: int,
    until_us: int,
    count: int,
    interval_us: int,
    label_span_us: int,
    history_us: int | None = None,
) -> tuple[Fold, ...]:
    """``count`` folds whose test spans are adjacent, about equal and together ``[from_us, until_us)``.

    first_us: where the bars begin. label_span_us: how long after its cut-off the last label of a sample becomes known.
    history_us: how far back training reaches; None: to the first bar.

    Training ends one label span before the first forecast (embargo), so no outcome that a model was fitted on overlaps
    an outcome that it is tested on, even if it drops its last labels itself (purge). M. Lopez de Prado, "Advances in
    Financial Machine Learning" (2018), chapter 7; here training never follows the test.

    Raises ValueError if a fold would have no bar to train or to test on.
    """
    bars = (until_us - from_us) // interval_us
    if count < 1 or bars < count:
        raise ValueError(f"{max(bars, 0)} bars to forecast cannot be cut into {count} folds")
    edges = [from_us + round(part * bars / count) * interval_us for part in range(count)] + [until_us]
    folds = []
    for index, (start_us, stop_us) in enumerate(pairwise(edges)):
        train_until_us = start_us - label_span_us
        train_from_us = first_us if history_us is None else max(first_us, train_until_us - history_us)
        if train_until_us - train_from_us < interval_us:
            raise ValueError(
                f"fold {index + 1} would have nothing to train on: history begins too late, or --from too early"
            )
        folds.append(Fold(index, train_from_us, train_until_us, start_us, stop_us))
    return tuple(folds)
