"""Tests of the record of a pending forecast."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from daemon.forecasting.pending import DueForecast, decode, encode, score_due, unscored_forecast
from models.evaluation.losses import crps_from_quantiles, mean_pinball
from models.forecast import Forecast
from tests.daemon.forecasting.forecast_builders import LEVELS, START_US, forecast, issue


def test_a_record_survives_as_bytes() -> None:
    """Encoded and decoded it gives the same scores."""
    pending = unscored_forecast(issue(forecast("attention_lstm", 0)), [forecast("har", 0, width=0.02)])
    again = decode(encode(pending))
    assert again == pending
    due, due_again = (DueForecast(each, 2, 0.01) for each in (pending, again))
    assert score_due([due_again], at_us=5) == score_due([due], at_us=5)


def test_the_issued_forecast_comes_first() -> None:
    """Scores keep the order issued, baselines; each knows its role and kind."""
    pending = unscored_forecast(issue(forecast("har", 0)), [forecast("random_walk", 0), forecast("har", 0)])
    (scores,) = score_due([DueForecast(pending, 1, 0.0)], at_us=START_US)
    assert [(score.role, score.kind) for score in scores] == [
        ("issued", "har"),
        ("baseline", "random_walk"),
        ("baseline", "har"),
    ]


def test_scores_computed_together_equal_those_of_each() -> None:
    """Forecasts of several closes, horizons and numbers of baselines; the losses are those of the single rows."""
    due = [
        DueForecast(unscored_forecast(issue(forecast("har", 0)), [forecast("har", 0, width=0.02)]), 2, 0.013),
        DueForecast(unscored_forecast(issue(forecast("har", 1)), []), 1, -0.004),
        DueForecast(
            unscored_forecast(issue(forecast("lstm", 1)), [forecast("har", 1), forecast("random_walk", 1, width=0.03)]),
            1,
            -0.2,
        ),
    ]
    together = score_due(due, at_us=5)
    assert together == [scores for each in due for scores in score_due([each], at_us=5)]
    assert [len(scores) for scores in together] == [2, 1, 3]
    for each, scores in zip(due, together, strict=True):
        truth = np.asarray(each.log_return)
        for score, quantiles in zip(scores, each.forecast.quantiles_at(each.horizon_bars), strict=True):
            assert score.pinball == mean_pinball(truth, quantiles, LEVELS)
            assert score.crps == crps_from_quantiles(truth, quantiles, LEVELS)
            assert score.inside_80 is bool(quantiles[1] <= truth <= quantiles[3])
            assert score.inside_95 is bool(quantiles[0] <= truth <= quantiles[4])
            assert (score.median, score.squared_error) == (quantiles[2], (each.log_return - quantiles[2]) ** 2)
            assert score.volatility == pytest.approx(quantiles[4] / 1.96)
    assert score_due([], at_us=5) == []


@pytest.mark.parametrize(
    "other", [forecast("har", 1), forecast("har", 0, symbol="ETH-USDT"), forecast("har", 0, horizons=(1, 3))]
)
def test_a_baseline_of_another_target_is_refused(other: Forecast) -> None:
    """Another bar close, instrument or horizon cannot be compared."""
    with pytest.raises(ValueError, match="other targets"):
        unscored_forecast(issue(forecast("attention_lstm", 0)), [other])


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x90", msgspec.msgpack.encode({"id": 1})])
def test_garbage_is_refused(record: bytes) -> None:
    """Bytes that are not a record raise DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        decode(record)
