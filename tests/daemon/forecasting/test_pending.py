"""Tests of the record of a pending forecast."""

from __future__ import annotations

import msgspec
import pytest

from daemon.forecasting.pending import decode, encode, unscored_forecast
from models.forecast import Forecast
from tests.daemon.forecasting.forecast_builders import START_US, forecast, issue


def test_a_record_survives_as_bytes() -> None:
    """Encoded and decoded it gives the same scores."""
    pending = unscored_forecast(issue(forecast("attention_lstm", 0)), [forecast("har", 0, width=0.02)])
    again = decode(encode(pending))
    assert again == pending
    assert again.scores(2, log_return=0.01, at_us=5) == pending.scores(2, log_return=0.01, at_us=5)


def test_the_issued_forecast_comes_first() -> None:
    """Scores keep the order issued, baselines; each knows its role and kind."""
    pending = unscored_forecast(issue(forecast("har", 0)), [forecast("random_walk", 0), forecast("har", 0)])
    scores = pending.scores(1, log_return=0.0, at_us=START_US)
    assert [(score.role, score.kind) for score in scores] == [
        ("issued", "har"),
        ("baseline", "random_walk"),
        ("baseline", "har"),
    ]


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
