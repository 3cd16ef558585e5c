"""The split in time."""

import numpy as np
import pytest

from models.splits import cut_time, split_in_time


def test_no_training_label_is_known_after_the_cut_and_validation_waits_a_label_span() -> None:
    """Purge before the cut, embargo after it."""
    times = np.arange(100, dtype=np.int64)
    split = split_in_time(times, cut_us=cut_time(0, 100, validation_share=0.3), label_span_us=10)
    assert split.cut_us == 70
    assert times[split.train].max() == 60
    assert times[split.validation].min() == 80


def test_all_series_are_cut_at_the_same_instant() -> None:
    """Samples of several series are split by time, not by position."""
    times = np.concatenate([np.arange(100), np.arange(50, 100)]).astype(np.int64)
    split = split_in_time(times, cut_us=80, label_span_us=5)
    assert times[split.train].max() < 80 <= times[split.validation].min()


def test_too_few_samples_are_refused() -> None:
    """An empty side raises and says what is missing."""
    with pytest.raises(ValueError, match="more history is needed"):
        split_in_time(np.arange(10, dtype=np.int64), cut_us=8, label_span_us=20)
