"""Rows from the future, which a wrong clock has left, are deleted; all others stay."""

from __future__ import annotations

import msgspec
import pytest

from daemon.pipeline.sequence import Interruption, MissingIds, SequenceState
from daemon.store.forecasts import StoredForecast
from daemon.store.future import Discarded
from daemon.store.ledger import Ledger
from features.market import HOUR_US
from tests.daemon.store.builders import BAR, BTC, ETH, SCORE

NOW_US = 10 * HOUR_US


def test_bars_of_the_future_are_deleted(ledger: Ledger) -> None:
    """The bar that closes at this moment is the last that stays."""
    ledger.save_bars([msgspec.structs.replace(BAR, open_time_us=hour * HOUR_US) for hour in range(6, 20)])
    assert ledger.discard_future(NOW_US, trades_until_us=NOW_US) == Discarded(bars=10)
    last = ledger.last_bar(BTC, HOUR_US)
    assert last is not None
    assert last.close_time_us == NOW_US
    assert not ledger.discard_future(NOW_US, trades_until_us=NOW_US).anything


@pytest.mark.parametrize(
    "ahead",
    [
        {"last_time_us": NOW_US + 2},
        {"covered_from_us": NOW_US + 2},
        {"missing": (MissingIds(1, 2, NOW_US, NOW_US + 2),)},
        {"interruptions": (Interruption(NOW_US + 2),)},
        {"interruptions": (Interruption(NOW_US, NOW_US + 2, given_up=True),)},
    ],
    ids=lambda ahead: next(iter(ahead)),
)
def test_a_sequence_of_the_future_starts_again(ledger: Ledger, ahead: dict[str, object]) -> None:
    """Whatever part of its state lies ahead; the other instrument's sequence stays."""
    good = SequenceState(last_id=5, last_time_us=NOW_US + 1, covered_from_us=0, interruptions=(Interruption(3),))
    ledger.save_trades(ETH, [], good)
    ledger.save_trades(BTC, [], msgspec.structs.replace(good, **ahead))
    assert ledger.discard_future(NOW_US, trades_until_us=NOW_US + 1) == Discarded(sequences=1)
    assert ledger.sequence_state(BTC) is None
    assert ledger.sequence_state(ETH) == good


def test_forecasts_and_scores_of_the_future_are_deleted(ledger: Ledger) -> None:
    """A forecast for a close that has not happened, what waits for its scores, and scores made in the future."""
    for hour in (9, 10, 11):
        ledger.save_forecast(
            StoredForecast(
                id=f"binance:BTC-USDT:{hour}",
                venue="binance",
                symbol="BTC-USDT",
                interval_us=HOUR_US,
                close_time_us=hour * HOUR_US,
                valid_until_us=(hour + 1) * HOUR_US,
                topic="forecast/BTC-USDT",
                payload=b"{}",
            ),
            pending_record=b"levels",
        )
    scores = [
        msgspec.structs.replace(SCORE, close_time_us=hour * HOUR_US, scored_at_us=scored * HOUR_US)
        for hour, scored in ((8, 9), (9, 10), (10, 11), (11, 12))
    ]
    ledger.save_scores(scores)
    assert ledger.discard_future(NOW_US, trades_until_us=NOW_US) == Discarded(forecasts=1, scores=2)
    assert [each.close_time_us for each in ledger.latest_forecasts()] == [NOW_US]
    assert [each.id for each in ledger.pending()] == ["binance:BTC-USDT:9", "binance:BTC-USDT:10"]
    assert ledger.scores(0) == scores[:2]
