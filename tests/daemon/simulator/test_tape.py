"""Trades by id and by time, contiguous over all bars."""

from __future__ import annotations

from itertools import pairwise

import pytest

from daemon.simulator import tape as tape_module
from daemon.simulator.market_data import MarketData, Timeline
from daemon.simulator.tape import Tape
from tests.daemon.simulator.bars import HOUR_US, START_US, small_market

FOREVER_US = START_US + 1_000 * HOUR_US


@pytest.fixture
def data() -> MarketData:
    return small_market(bars=6, trades=40)


@pytest.fixture
def tape(data: MarketData) -> Tape:
    return Tape(data, Timeline.as_recorded(data))


def test_ids_run_on_across_bars(tape: Tape) -> None:
    """Aggregate ids and raw ids have no gap and no overlap from the first bar to the last."""
    trades = [trade for index in range(6) for trade in tape.bar("BTCUSDT", index)]
    assert [trade.id for trade in trades] == list(range(1, len(trades) + 1))
    assert trades[0].first_id == 1
    assert all(later.first_id == earlier.last_id + 1 for earlier, later in pairwise(trades))
    assert trades[-1].last_id == tape.data.series["BTCUSDT"].trades.sum()


def test_times_lie_inside_the_bar_and_never_go_back(tape: Tape) -> None:
    """The first trade follows the open within a second, none reaches the close."""
    trades = tape.bar("ETHUSDT", 3)
    open_ms = tape.timeline.open_us(3) // 1000
    times = [trade.time_ms for trade in trades]
    assert times == sorted(times)
    assert open_ms <= times[0] < open_ms + 1_000
    assert times[-1] < open_ms + 3_600_000


def test_any_id_is_found_alone_and_in_any_order(data: MarketData, tape: Tape) -> None:
    """A trade is the same whether the tape starts there or walked to it."""
    walked = tape.from_id("BTCUSDT", 1, 10_000, FOREVER_US)
    for wanted in (200, 1, 37, 40, 41, 240):
        fresh = Tape(data, Timeline.as_recorded(data))
        assert fresh.from_id("BTCUSDT", wanted, 1, FOREVER_US) == [walked[wanted - 1]]
    assert tape.from_id("BTCUSDT", len(walked) + 1, 5, FOREVER_US) == []


def test_nothing_is_known_before_it_happens(tape: Tape) -> None:
    """Every query finds only trades up to the time of the request."""
    moment_us = START_US + 2 * HOUR_US + HOUR_US // 3
    happened = tape.from_id("BTCUSDT", 0, 10_000, moment_us)
    assert 80 < len(happened) < 120
    assert happened[-1].time_ms * 1000 <= moment_us
    assert tape.between("BTCUSDT", START_US // 1000, FOREVER_US // 1000, 10_000, moment_us) == happened
    assert tape.latest("BTCUSDT", 10_000, moment_us) == happened
    assert tape.from_id("BTCUSDT", 0, 10_000, START_US - 1) == []
    assert tape.latest("BTCUSDT", 5, START_US - 1) == []


def test_a_span_of_time_includes_both_ends(tape: Tape) -> None:
    """Trades at the very start and end milliseconds belong to the answer."""
    trades = tape.bar("BTCUSDT", 1)
    chosen = tape.between("BTCUSDT", trades[4].time_ms, trades[9].time_ms, 1_000, FOREVER_US)
    assert chosen == list(trades[4:10])


def test_a_retimed_bar_makes_the_same_trades(data: MarketData, tape: Tape) -> None:
    """Playing an hour in five seconds changes times and nothing else."""
    timeline = Timeline.retimed(interval_us=5_000_000, live_index=2, live_from_us=START_US)
    quick = Tape(data, timeline).bar("BTCUSDT", 2)
    assert [trade._replace(time_ms=0) for trade in quick] == [
        trade._replace(time_ms=0) for trade in tape.bar("BTCUSDT", 2)
    ]
    assert all(timeline.index_at(trade.time_ms * 1000) == 2 for trade in quick)


def test_an_emptied_bar_moves_later_ids_up(tape: Tape) -> None:
    """Ids stay contiguous over an hour without trades."""
    tape.empty("BTCUSDT", 3)
    assert tape.bar("BTCUSDT", 3) == ()
    assert tape.bar("BTCUSDT", 4)[0].id == tape.bar("BTCUSDT", 2)[-1].id + 1
    assert tape.bar("ETHUSDT", 3)


def test_the_cache_is_bounded(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used bar is dropped and reconstructed identically."""
    monkeypatch.setattr(tape_module, "_CACHED_BARS", 2)
    first = tape.bar("BTCUSDT", 0)
    for index in range(1, 5):
        tape.bar("BTCUSDT", index)
    assert len(tape._bars) == 2
    assert tape.bar("BTCUSDT", 0) == first
