"""Forecasts never change; pending records and scores change in one transaction."""

from __future__ import annotations

import msgspec
import pytest

from daemon.forecasting.records import CalibrationState
from daemon.store.errors import ForecastConflict
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from features.market import HOUR_US, Instrument
from tests.daemon.store.builders import BTC, ETH, SCORE


def save(
    ledger: Ledger, close_hour: int, payload: bytes = b"{}", instrument: Instrument = BTC, record: bytes | None = None
) -> bool:
    close_time_us = close_hour * HOUR_US
    return ledger.save_forecast(
        StoredForecast(
            id=f"{instrument}:{close_hour}",
            venue=instrument.venue,
            symbol=instrument.symbol,
            interval_us=HOUR_US,
            close_time_us=close_time_us,
            valid_until_us=close_time_us + HOUR_US,
            topic=f"forecast/{instrument.symbol}",
            payload=payload,
        ),
        pending_record=record,
    )


def test_a_payload_comes_back_byte_for_byte(ledger: Ledger) -> None:
    """Whatever the bytes, they are the same after storing; an unknown id gives None."""
    payload = bytes(range(256))
    assert save(ledger, 1, payload)
    assert ledger.forecast_payload("binance:BTC-USDT:1") == payload
    assert ledger.forecast_payload("binance:BTC-USDT:2") is None


def test_the_same_forecast_again_is_nothing_new(ledger: Ledger) -> None:
    """Issuing the very same bytes again after a restart stores nothing and scores nothing twice."""
    save(ledger, 1, record=b"s")
    assert not save(ledger, 1, record=b"s")
    assert len(ledger.pending()) == 1


def calibration_state(state: str = "{}", **changes: object) -> CalibrationState:
    fields: dict[str, object] = {"venue": "binance", "symbol": "BTC-USDT", "interval_us": HOUR_US, "kind": "har"}
    return CalibrationState(**(fields | {"state": state} | changes))  # type: ignore[arg-type]


def test_a_calibration_state_replaces_the_stored_one(ledger: Ledger) -> None:
    """One state an instrument, interval and kind."""
    other = calibration_state(kind="tft")
    ledger.save_scores([], calibrations=[calibration_state("1"), other, calibration_state(interval_us=60_000_000)])
    ledger.save_scores([], calibrations=[calibration_state("2"), calibration_state(symbol="ETH-USDT")])
    assert ledger.calibrations(HOUR_US) == [calibration_state("2"), other, calibration_state(symbol="ETH-USDT")]


def test_a_failed_score_stores_no_calibration(ledger: Ledger) -> None:
    """Scores and calibration change in one transaction: after a crash no truth counts twice."""
    ledger.save_scores([], calibrations=[calibration_state("1")])
    broken = msgspec.structs.replace(SCORE, pinball=None)
    with pytest.raises(Exception, match="NOT NULL"):
        ledger.save_scores([broken], calibrations=[calibration_state("2")])
    assert ledger.calibrations(HOUR_US) == [calibration_state("1")]


def test_another_forecast_under_the_same_id_is_refused(ledger: Ledger) -> None:
    """A forecast never changes: the stored one is kept, and the error names it."""
    save(ledger, 1, b"first")
    with pytest.raises(ForecastConflict, match="binance:BTC-USDT:1 was already issued"):
        save(ledger, 1, b"second")
    assert ledger.forecast_payload("binance:BTC-USDT:1") == b"first"


def test_latest_forecasts(ledger: Ledger) -> None:
    """The newest of each instrument, with all that publishing it again needs."""
    for hour, instrument in ((1, BTC), (3, BTC), (2, BTC), (2, ETH)):
        save(ledger, hour, f"{hour}".encode(), instrument)
    newest, other = ledger.latest_forecasts()
    assert (newest.id, newest.payload, newest.topic) == ("binance:BTC-USDT:3", b"3", "forecast/BTC-USDT")
    assert (newest.close_time_us, newest.valid_until_us) == (3 * HOUR_US, 4 * HOUR_US)
    assert other.id == "binance:ETH-USDT:2"


def test_the_latest_forecast_of_one_instrument(ledger: Ledger) -> None:
    """The newest forecast at the given interval, None where there is none."""
    for hour, instrument in ((1, BTC), (3, BTC), (2, ETH)):
        save(ledger, hour, instrument=instrument)
    latest = ledger.latest_forecast(BTC, HOUR_US)
    assert latest is not None
    assert latest.id == "binance:BTC-USDT:3"
    assert ledger.latest_forecast(BTC, 2 * HOUR_US) is None
    assert ledger.latest_forecast(Instrument("binance", "SOL-USDT"), HOUR_US) is None


def test_scores_come_in_batches_of_whole_closes(ledger: Ledger) -> None:
    """A restart holds one batch at a time; together the batches are all scores, oldest first."""
    scores = [
        msgspec.structs.replace(SCORE, symbol=instrument.symbol, close_time_us=hour * HOUR_US, horizon_bars=horizon)
        for hour in range(10)
        for instrument in (BTC, ETH)
        for horizon in range(1, 601)
    ]
    ledger.save_scores(scores)
    batches = list(ledger.score_batches(HOUR_US))
    assert [score for batch in batches for score in batch] == scores[1_200:]
    assert len(batches) == 2
    closes = [{score.close_time_us for score in batch} for batch in batches]
    assert closes[0].isdisjoint(closes[1])


def test_forecasts_of_a_time_range(ledger: Ledger) -> None:
    """Right-open by close time, oldest first."""
    for hour in (3, 1, 2):
        save(ledger, hour)
    assert [each.id[-1] for each in ledger.forecasts(HOUR_US, 3 * HOUR_US)] == ["1", "2"]


def test_pending_until_settled(ledger: Ledger) -> None:
    """A record stays pending, may shrink with each scored horizon, and is deleted when the forecast is settled."""
    save(ledger, 2, record=b"two horizons")
    save(ledger, 1, record=b"one horizon")
    save(ledger, 3)
    assert [each.record for each in ledger.pending()] == [b"one horizon", b"two horizons"]
    ledger.save_scores([SCORE], settled=["binance:BTC-USDT:1"], still_pending={"binance:BTC-USDT:2": b"one left"})
    (left,) = ledger.pending()
    assert (left.id, left.record, left.close_time_us, left.symbol) == (
        "binance:BTC-USDT:2",
        b"one left",
        2 * HOUR_US,
        "BTC-USDT",
    )
    assert ledger.scores(0) == [SCORE]


def test_scores_come_back_as_they_were(ledger: Ledger) -> None:
    """Every field survives, by close time; the same score again replaces itself."""
    later = msgspec.structs.replace(SCORE, close_time_us=2 * HOUR_US, symbol="ETH-USDT")
    baseline = msgspec.structs.replace(SCORE, role="baseline", kind="random_walk")
    ledger.save_scores([later, SCORE, baseline])
    ledger.save_scores([SCORE])
    assert ledger.scores(0) == [baseline, SCORE, later]
    assert ledger.scores(2 * HOUR_US) == [later]
    assert ledger.scores(0)[0].inside_80 is True


def test_a_failed_score_settles_nothing(ledger: Ledger) -> None:
    """Scores and pending change in one transaction: an error in one leaves the other as it was."""
    save(ledger, 1, record=b"s")
    broken = msgspec.structs.replace(SCORE, pinball=None)
    with pytest.raises(Exception, match="NOT NULL"):
        ledger.save_scores([broken], settled=["binance:BTC-USDT:1"])
    assert len(ledger.pending()) == 1
