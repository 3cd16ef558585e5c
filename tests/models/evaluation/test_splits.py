"""The split in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.splits import Fold, cut_time, split_in_time, walk_forward_folds
from tests.models.synthetic import HOUR_US


def test_no_training_label_is_known_after_the_cut_and_validation_waits_a_label_span() -> None:
    """Purge before the cut, embargo after it."""
    times = np.arange(100, dtype=np.int64)
    split = split_in_time(times, cut_us=cut_time(0, 100, validation_share=0.3), label_span_us=10)
    assert split.cut_us == 70
    assert times[split.train].max() == 60
    assert times[split.validation].min() == 80


def test_validation_takes_its_share_up_to_the_limit() -> None:
    """Of a long history only the last part, of limited length, is used for validation."""
    assert cut_time(0, 1000, validation_share=0.15, at_most_us=200) == 850
    assert cut_time(0, 1000, validation_share=0.15, at_most_us=40) == 960


def test_all_series_are_cut_at_the_same_instant() -> None:
    """Samples of several series are split by time, not by position."""
    times = np.concatenate([np.arange(100), np.arange(50, 100)]).astype(np.int64)
    split = split_in_time(times, cut_us=80, label_span_us=5)
    assert times[split.train].max() < 80 <= times[split.validation].min()


def test_too_few_samples_are_rejected() -> None:
    """An empty side raises and says what is missing."""
    with pytest.raises(ValueError, match="more history is needed"):
        split_in_time(np.arange(10, dtype=np.int64), cut_us=8, label_span_us=20)


SPANS = {
    "count": st.integers(1, 12),
    "bars": st.integers(12, 400),
    "training": st.integers(60, 300),
    "span": st.integers(1, 48),
    "history": st.one_of(st.none(), st.integers(10, 500)),
}


def folds_of(count: int, bars: int, training: int, span: int, history: int | None) -> tuple[Fold, ...]:
    """Folds on an hourly grid that begins at 0."""
    return walk_forward_folds(
        first_us=0,
        from_us=training * HOUR_US,
        until_us=(training + bars) * HOUR_US,
        count=count,
        interval_us=HOUR_US,
        label_span_us=span * HOUR_US,
        history_us=None if history is None else history * HOUR_US,
    )


@given(**SPANS)
def test_folds_cover_the_span_once(count: int, bars: int, training: int, span: int, history: int | None) -> None:
    """Every bar close of the span is tested in exactly one fold, in order, and the folds are about equal."""
    folds = folds_of(count, bars, training, span, history)
    closes = HOUR_US * np.arange(training + bars + 50)
    tested = [fold.samples(closes, label_span_us=span * HOUR_US).validation for fold in folds]
    np.testing.assert_array_equal(np.concatenate(tested), np.arange(training, training + bars))
    sizes = [len(each) for each in tested]
    assert max(sizes) - min(sizes) <= 1


@given(**SPANS)
def test_no_outcome_of_training_overlaps_one_of_the_test(
    count: int, bars: int, training: int, span: int, history: int | None
) -> None:
    """Purge and embargo: labels fitted on are known a whole label span before the first outcome tested on begins."""
    closes = HOUR_US * np.arange(training + bars + 50)
    for fold in folds_of(count, bars, training, span, history):
        split = fold.samples(closes, label_span_us=span * HOUR_US)
        assert fold.train_from_us >= 0
        if not len(split.train):
            continue  # a history shorter than a label span holds no whole sample
        last_label_us = closes[split.train].max() + span * HOUR_US
        assert last_label_us <= fold.train_until_us
        assert closes[split.validation].min() - fold.train_until_us == span * HOUR_US
        if history is not None:
            assert closes[split.train].min() > fold.train_until_us - history * HOUR_US


@given(**{**SPANS, "training": st.integers(1, 48)})
def test_folds_without_a_training_bar_are_rejected(
    count: int, bars: int, training: int, span: int, history: int | None
) -> None:
    """Where the embargo reaches back to where the bars begin the first fold has nothing to train on."""
    if training > span:
        assert folds_of(count, bars, training, span, history)
    else:
        with pytest.raises(ValueError, match="fold 1 would have nothing to train on"):
            folds_of(count, bars, training, span, history)


def test_more_folds_than_bars_are_rejected() -> None:
    """A fold forecasts at least one bar."""
    with pytest.raises(ValueError, match="3 bars to forecast cannot be cut into 4 folds"):
        folds_of(4, 3, 100, 1, None)
