"""Tests of the ledger: named values, pruning, and the limit on the file."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from daemon.store.ledger import Ledger, Pruned
from features.market import HOUR_US
from tests.daemon.store.builders import BAR, BTC, SCORE, bar, state, trade
from tests.daemon.store.test_forecasts import save

FOREVER = 10**16


def test_named_values(ledger: Ledger) -> None:
    """A value is kept under its name until it is replaced."""
    assert ledger.meta("champion") is None
    ledger.set_meta("champion", "a")
    ledger.set_meta("champion", "b")
    assert ledger.meta("champion") == "b"


def test_prune_drops_what_is_too_old_and_says_so(ledger: Ledger) -> None:
    """Bars by their age, forecasts with pending and scores by theirs, and the numbers are returned."""
    ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(10)])
    for hour in range(10):
        save(ledger, hour, record=b"s")
    ledger.save_scores([msgspec.structs.replace(SCORE, close_time_us=hour * HOUR_US) for hour in range(10)])
    pruned = ledger.prune(10 * HOUR_US, keep_bars_us=8 * HOUR_US, keep_forecasts_us=3 * HOUR_US)
    assert pruned == Pruned(bars=2, forecasts=7, scores=7, forecasts_until_us=7 * HOUR_US)
    assert pruned.anything
    assert len(ledger.bars(BTC, HOUR_US, 0, FOREVER)) == 8
    assert [each.close_time_us // HOUR_US for each in ledger.forecasts(0, FOREVER)] == [7, 8, 9]
    assert len(ledger.pending()) == 3
    assert len(ledger.scores(0)) == 3


def test_prune_of_nothing(ledger: Ledger) -> None:
    """Nothing old, nothing dropped, nothing to announce."""
    ledger.save_bars([BAR])
    assert not ledger.prune(HOUR_US, keep_bars_us=HOUR_US, keep_forecasts_us=HOUR_US).anything


def test_shrink_drops_the_oldest_forecasts_only(ledger: Ledger, path: Path) -> None:
    """Over the limit the oldest forecasts go, the file gets smaller, bars and newer forecasts stay."""
    ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(100)])
    for hour in range(600):
        save(ledger, hour, payload=bytes(4_000))
    before_bytes = ledger.used_bytes()
    pruned = ledger.shrink(before_bytes - 500_000, now_us=FOREVER)
    assert not pruned.too_large
    assert 0 < pruned.forecasts < 600
    kept = [each.close_time_us // HOUR_US for each in ledger.forecasts(0, FOREVER)]
    assert kept == list(range(pruned.forecasts, 600))
    assert pruned.forecasts_until_us == (pruned.forecasts - 1) * HOUR_US
    assert len(ledger.bars(BTC, HOUR_US, 0, FOREVER)) == 100
    assert path.stat().st_size <= before_bytes - 500_000


def test_shrink_says_when_forecasts_are_not_enough(ledger: Ledger) -> None:
    """A forecast that is still valid stays, bars stay, and the caller learns that the limit is not met."""
    ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(100)])
    save(ledger, 1)
    save(ledger, 5)
    pruned = ledger.shrink(1, now_us=4 * HOUR_US)
    assert pruned == Pruned(forecasts=1, forecasts_until_us=HOUR_US, too_large=True)
    assert len(ledger.forecasts(0, FOREVER)) == 1


def test_shrink_below_the_limit_does_nothing(ledger: Ledger) -> None:
    """A file below its limit loses nothing."""
    save(ledger, 1)
    assert ledger.shrink(10**9, now_us=FOREVER) == Pruned()


def test_the_connection_moves_to_another_thread(ledger: Ledger) -> None:
    """Opened here, used by the store's own thread."""
    worker = threading.Thread(target=ledger.save_trades, args=(BTC, [trade(1)], state(1)))
    worker.start()
    worker.join(5)
    assert ledger.sequence_state(BTC) == state(1)


def test_close_is_final(path: Path) -> None:
    """After close the file holds everything in itself: no log is left beside it."""
    with Ledger(path) as ledger:
        ledger.save_bars([BAR])
    assert [each.name for each in path.parent.iterdir()] == ["ledger.db"]
    with pytest.raises(Exception, match="closed"):
        ledger.meta("x")
