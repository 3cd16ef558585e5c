"""Splits in time that keep labels from leaking across the cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class TimeSplit:
    """Sample positions: all that ``train`` holds was known at ``cut_us``; ``validation`` begins after the embargo."""

    cut_us: int
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


def cut_time(first_us: int, last_us: int, *, validation_share: float = 0.15) -> int:
    """The instant that leaves the last ``validation_share`` of the span for validation."""
    return last_us - int((last_us - first_us) * validation_share)


def split_in_time(close_time_us: npt.NDArray[np.int64], *, cut_us: int, label_span_us: int) -> TimeSplit:
    """Splits samples at one instant for all series.

    close_time_us: (N,) each sample's cut-off. label_span_us: how long after its cut-off a sample's last label
    becomes known. Purge: a training sample's labels are all known at the cut. Embargo: validation begins one
    label span after it (Lopez de Prado 2018, chapter 7). Raises ValueError where a side would be empty.
    """
    train = np.flatnonzero(close_time_us + label_span_us <= cut_us)
    validation = np.flatnonzero(close_time_us >= cut_us + label_span_us)
    if not len(train) or not len(validation):
        raise ValueError(
            f"{len(close_time_us)} usable samples leave {len(train)} to train on and {len(validation)} to "
            "validate on: more history is needed"
        )
    return TimeSplit(cut_us, train, validation)
