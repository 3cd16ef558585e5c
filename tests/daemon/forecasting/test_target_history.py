"""Tests of the losses of one horizon: bounded, separate by kind, NaN for a missing baseline."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.forecasting.pending import DueForecast, score_due, unscored_forecast
from daemon.forecasting.records import Score
from daemon.forecasting.target_history import TargetHistory
from tests.daemon.forecasting.forecast_builders import forecast, issue


def scored(hour: int, *, kind: str = "attention_lstm", log_return: float = 0.01) -> tuple[Score, Score]:
    """The scores of an issued forecast and of HAR on the same target."""
    baselines = [forecast("har", hour, horizons=(1,), width=0.02)]
    pending = unscored_forecast(issue(forecast(kind, hour, horizons=(1,))), baselines)
    ((issued, har),) = score_due([DueForecast(pending, 1, log_return)], at_us=hour)
    return issued, har


def test_memory_is_bounded_by_the_window() -> None:
    """A history of two thousand targets keeps the newest hundred and capacity for an eighth more."""
    history = TargetHistory(100)
    for hour in range(2_000):
        issued, har = scored(hour)
        history.append(issued, {"har": har})
        assert len(history) <= 113
    newest_us = issued.close_time_us
    hour_us = issued.close_time_us - scored(1_998)[0].close_time_us
    assert len(history.targets("attention_lstm", after_us=newest_us - 100 * hour_us)) == 100


def test_targets_are_of_one_kind_and_younger_than_the_window() -> None:
    """Other kinds' targets and older ones are left out."""
    history = TargetHistory(100)
    for hour, kind in enumerate(["har", "attention_lstm", "har", "attention_lstm", "attention_lstm"]):
        history.append(scored(hour, kind=kind)[0], {})
    oldest_us = scored(1)[0].close_time_us
    assert len(history.targets("har", after_us=0)) == 2
    assert len(history.targets("attention_lstm", after_us=oldest_us)) == 2
    assert len(history.targets("random_walk", after_us=0)) == 0


def test_losses_of_a_missing_baseline_are_nan() -> None:
    """The columns hold what the scores held; a missing baseline is NaN and not a hit."""
    history = TargetHistory(100)
    issued, har = scored(0, log_return=0.018)
    history.append(issued, {"har": har})
    history.append(scored(1)[0], {})
    targets = history.targets("attention_lstm", after_us=0)
    assert targets.losses("pinball", "attention_lstm")[0] == issued.pinball
    assert targets.losses("pinball", "har")[0] == pytest.approx(har.pinball)
    assert np.isnan(targets.losses("squared_error", "har")[1])
    assert targets.hits("inside_80", "attention_lstm").tolist() == [False, True]
    assert targets.hits("inside_80", "har").tolist() == [True]
