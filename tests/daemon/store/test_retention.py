"""Retention by age and by size: what goes first, what always stays, and what the steps report."""

from __future__ import annotations

from pathlib import Path

import msgspec

from daemon.forecasting.records import CalibrationState
from daemon.store.ledger import Ledger
from daemon.store.retention import Pruned, SizeFloor
from features.market import HOUR_US
from tests.daemon.store.builders import BTC, ETH, SCORE, bar, state, trade
from tests.daemon.store.test_forecasts import save

FOREVER = 10**16
DAY_US = 24 * HOUR_US


def floor(now_us: int, *, scores_since_us: int = 0, trades_since_us: int = 0) -> SizeFloor:
    return SizeFloor(now_us=now_us, scores_since_us=scores_since_us, trades_since_us=trades_since_us)


def shrunk(ledger: Ledger, max_bytes: int, limits: SizeFloor) -> Pruned:
    """The sum of all steps."""
    total = Pruned()
    while (step := ledger.shrink(max_bytes, limits)).more:
        total = total.plus(step)
    return total.plus(step)


def save_scores(ledger: Ledger, hours: range, *, horizons: int = 24) -> None:
    ledger.save_scores(
        msgspec.structs.replace(SCORE, close_time_us=hour * HOUR_US, horizon_bars=horizon)
        for hour in hours
        for horizon in range(1, horizons + 1)
    )


def hours_of(ledger: Ledger) -> tuple[list[int], list[int]]:
    """The hours of which forecasts and of which scores are stored."""
    forecasts = [each.close_time_us // HOUR_US for each in ledger.forecasts(0, FOREVER)]
    return forecasts, sorted({each.close_time_us // HOUR_US for each in ledger.scores(0)})


def test_bars_of_every_instrument_and_interval_go_by_age(ledger: Ledger) -> None:
    """Bars that opened before the limit are deleted, of every instrument and interval."""
    ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(10)])
    ledger.save_bars(
        [bar(symbol=ETH.symbol, open_time_us=hour * HOUR_US, interval_us=HOUR_US // 2) for hour in range(10)]
    )
    assert ledger.prune_bars(2 * HOUR_US) == 4
    assert len(ledger.bars(BTC, HOUR_US, 0, FOREVER)) == 8
    assert len(ledger.bars(ETH, HOUR_US // 2, 0, FOREVER)) == 8
    assert ledger.prune_bars(2 * HOUR_US) == 0


def test_forecasts_and_scores_go_by_age(ledger: Ledger) -> None:
    """Forecasts with their pending records, and scores, are deleted; the counts and the newest time are returned."""
    for hour in range(10):
        save(ledger, hour, record=b"s")
    save_scores(ledger, range(10), horizons=1)
    pruned = ledger.prune_forecasts(7 * HOUR_US)
    assert pruned == Pruned(forecasts=7, scores=7, until_us=6 * HOUR_US, more=True)
    assert not ledger.prune_forecasts(7 * HOUR_US).anything
    assert hours_of(ledger) == ([7, 8, 9], [7, 8, 9])
    assert len(ledger.pending()) == 3


def test_a_step_is_small(ledger: Ledger) -> None:
    """A shortened retention deletes a year in steps between which other writes have their turn."""
    for hour in range(900):
        save(ledger, hour)
    steps = [ledger.prune_forecasts(900 * HOUR_US)]
    while steps[-1].more:
        steps.append(ledger.prune_forecasts(900 * HOUR_US))
    assert len(steps) == 6
    assert max(each.forecasts for each in steps) == 200
    assert hours_of(ledger) == ([], [])


def test_the_oldest_forecasts_and_scores_go_together(ledger: Ledger, path: Path) -> None:
    """Too large a file loses its oldest hours, forecasts and scores alike, and is smaller afterwards."""
    ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(100)])
    for hour in range(600):
        save(ledger, hour, payload=bytes(4_000))
    save_scores(ledger, range(600))
    limit_bytes = ledger.used_bytes() - 1_000_000
    pruned = shrunk(ledger, limit_bytes, floor(FOREVER, scores_since_us=FOREVER))
    assert not pruned.too_large
    forecasts, scores = hours_of(ledger)
    assert 100 < len(forecasts) < 600
    assert forecasts == scores == list(range(600 - len(forecasts), 600))
    assert pruned.until_us == (600 - len(forecasts) - 1) * HOUR_US
    assert pruned.forecasts == 600 - len(forecasts)
    assert len(ledger.bars(BTC, HOUR_US, 0, FOREVER)) == 100
    assert path.stat().st_size <= limit_bytes


def test_scores_that_fill_the_file_do_not_cost_every_forecast(ledger: Ledger) -> None:
    """Where scores are most of the file, old scores go, and recent forecasts stay."""
    for hour in range(200, 400):
        save(ledger, hour)
    save_scores(ledger, range(400), horizons=100)
    limit_bytes = ledger.used_bytes() * 6 // 10
    pruned = shrunk(ledger, limit_bytes, floor(FOREVER, scores_since_us=390 * HOUR_US))
    assert not pruned.too_large
    assert ledger.used_bytes() <= limit_bytes
    forecasts, scores = hours_of(ledger)
    assert len(forecasts) > 150
    assert scores == list(range(scores[0], 400))


def test_what_skill_and_calibration_need_stays(ledger: Ledger) -> None:
    """Recent scores, pending and valid forecasts, bars and calibration stay, and the caller gets the reason."""
    ledger.save_bars([bar(open_time_us=hour * HOUR_US) for hour in range(100)])
    save(ledger, 1)
    save(ledger, 2, record=b"pending")
    save(ledger, 50)
    save_scores(ledger, range(40), horizons=2)
    kept = CalibrationState(venue="binance", symbol="BTC-USDT", interval_us=HOUR_US, kind="har", state="{}")
    ledger.save_scores([], calibrations=[kept])
    pruned = shrunk(ledger, 1, floor(50 * HOUR_US, scores_since_us=30 * HOUR_US))
    assert pruned.too_large
    assert (pruned.forecasts, pruned.scores, pruned.until_us) == (1, 60, 29 * HOUR_US)
    assert hours_of(ledger) == ([2, 50], list(range(30, 40)))
    assert ledger.calibrations(HOUR_US) == [kept]
    assert len(ledger.bars(BTC, HOUR_US, 0, FOREVER)) == 100


def test_trades_of_closed_bars_go_first(ledger: Ledger) -> None:
    """Trades that only late revisions need go before any forecast; those of the open bars stay."""
    save(ledger, 1)
    for number in range(50):
        times = range(number * HOUR_US, number * HOUR_US + 1_000)
        ledger.save_trades(BTC, [trade(1_000 * number + index, each) for index, each in enumerate(times)], state(1))
    limits = floor(FOREVER, scores_since_us=FOREVER, trades_since_us=49 * HOUR_US)
    pruned = shrunk(ledger, ledger.used_bytes() - 100_000, limits)
    assert pruned == Pruned(trade_chunks=49)
    assert len(ledger.open_trades(BTC, 0)) == 1_000
    assert len(ledger.forecasts(0, FOREVER)) == 1


def test_below_the_limit_nothing_goes(ledger: Ledger) -> None:
    """A file below its limit loses nothing."""
    save(ledger, 1)
    assert ledger.shrink(10**9, floor(FOREVER, scores_since_us=FOREVER, trades_since_us=FOREVER)) == Pruned()


def test_two_years_of_many_symbols_end_below_the_limit(ledger: Ledger) -> None:
    """Days of 20 symbols at six horizons: the file meets the limit with a month of scores and forecasts left."""
    for hour in range(0, 90 * 24, 24):
        ledger.save_scores(
            msgspec.structs.replace(SCORE, symbol=f"S{symbol}-USDT", close_time_us=hour * HOUR_US, horizon_bars=bars)
            for symbol in range(20)
            for bars in (1, 2, 3, 6, 12, 24)
        )
        save(ledger, hour, payload=bytes(2_000))
    limit_bytes = ledger.used_bytes() // 2
    since_us = 90 * DAY_US - 30 * DAY_US
    pruned = shrunk(ledger, limit_bytes, floor(90 * DAY_US, scores_since_us=since_us))
    assert not pruned.too_large
    assert ledger.used_bytes() <= limit_bytes
    forecasts, scores = hours_of(ledger)
    assert min(len(forecasts), len(scores)) >= 30
