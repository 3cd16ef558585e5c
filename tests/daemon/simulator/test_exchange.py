"""The exchange as a whole: what the stream sends is what REST serves, and every fault does what it says."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daemon.clock import ManualClock, ScaledClock, SystemClock
from daemon.simulator.exchange import SimulatedExchange
from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import Timeline
from tests.daemon.simulator.bars import HOUR_US, small_market
from tests.daemon.simulator.running_exchange import LIVE_US, Venue, receive, receive_all
from tests.limits import LIMIT_S

BTC = "/ws/btcusdt@aggTrade"
BOTH = "/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade"


def ids(frames: list[Any]) -> list[int]:
    return [frame["a"] for frame in frames]


async def receive_an_hour(venue: Venue, connection: ClientConnection) -> list[Any]:
    """Every frame sent while the clock jumps over the first live hour."""
    venue.clock.set(LIVE_US + HOUR_US - 1)
    return await receive_all(connection)


async def closing_code(connection: ClientConnection) -> int:
    """The code with which the exchange closes; 1006 where it sent none."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                await connection.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


async def test_rest_serves_exactly_what_the_stream_sent(venue: Venue) -> None:
    """Ids, prices, sizes, times and sides are the same by both ways, in one order, for every symbol."""
    async with venue.connect(BOTH) as connection:
        frames = [frame["data"] for frame in await receive_an_hour(venue, connection)]
    assert [frame["T"] for frame in frames] == sorted(frame["T"] for frame in frames)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        sent = [frame for frame in frames if frame["s"] == symbol]
        _, served = await venue.get("aggTrades", symbol=symbol, fromId=sent[0]["a"], limit=1_000)
        assert [{key: frame[key] for key in served[0]} for frame in sent] == served
        assert ids(sent) == list(range(121, 161))


async def test_trades_come_when_the_clock_reaches_them(venue: Venue) -> None:
    """A trade is not sent a millisecond early."""
    trade = venue.exchange.tape.bar("BTCUSDT", 3)[0]
    async with venue.connect(BTC) as connection:
        venue.clock.set(trade.time_ms * 1000 - 1)
        assert await receive_all(connection) == []
        venue.clock.set(trade.time_ms * 1000)
        assert (await receive(connection))["a"] == trade.id


async def test_nothing_from_before_the_start_is_sent(venue: Venue) -> None:
    """History is for REST: the first frame is the first trade of the live hour."""
    async with venue.connect(BTC) as connection:
        assert (await receive_an_hour(venue, connection))[0]["a"] == 121


async def test_the_end_of_the_data_is_announced(venue: Venue) -> None:
    """``ended`` is set when the clock passes the last bar, not before."""
    venue.clock.set(LIVE_US + 3 * HOUR_US - 1)
    await asyncio.sleep(0.15)
    assert not venue.exchange.ended.is_set()
    venue.clock.set(LIVE_US + 3 * HOUR_US)
    async with asyncio.timeout(LIMIT_S):
        await venue.exchange.ended.wait()


async def test_five_second_bars_on_the_system_clock() -> None:
    """Hours are played as five real seconds, with one-second candles of history behind them."""
    data, clock = small_market(bars=400, trades=20), SystemClock()
    timeline = Timeline.retimed(interval_us=5_000_000, live_index=300, live_from_us=clock.market_us() - 5_000_000)
    exchange = SimulatedExchange(data, clock=clock, timeline=timeline)
    venue = Venue(exchange, ManualClock(), await exchange.start())
    try:
        async with venue.connect(BTC) as connection:
            frame = await receive(connection)
        assert abs(frame["T"] - time.time() * 1000) < 2_000
        _, rows = await venue.get("klines", symbol="BTCUSDT", interval="1s", limit=1_000)
        assert len(rows) == 1_000
        assert rows[-1][6] < time.time() * 1000
        assert {later[0] - earlier[0] for earlier, later in pairwise(rows)} == {1_000}
        assert (await venue.get("klines", symbol="BTCUSDT", interval="1h"))[1] == []
    finally:
        await venue.close()


async def test_dropped_connections_can_come_back(venue: Venue) -> None:
    """A close with a code, and a cut without one."""
    async with venue.connect(BTC) as connection:
        await venue.exchange.drop_connections(1001)
        assert await closing_code(connection) == 1001
    async with venue.connect(BTC) as connection:
        await venue.exchange.drop_connections(1006)
        assert await closing_code(connection) == 1006
    async with venue.connect(BTC) as connection:
        assert (await receive_an_hour(venue, connection))[0]["a"] == 121


async def test_refused_connections(venue: Venue) -> None:
    """New connections get a 503 while refusing; an open one stays."""
    async with venue.connect(BTC) as connection:
        venue.exchange.refuse_connections()
        with pytest.raises(InvalidStatus) as refused:
            async with venue.connect(BTC):
                pass
        assert refused.value.response.status_code == 503
        assert len(await receive_an_hour(venue, connection)) == 40
    venue.exchange.refuse_connections(False)
    async with venue.connect(BTC):
        pass


async def test_a_muted_symbol_is_silent_on_the_stream_only(venue: Venue) -> None:
    """The other symbol continues, REST serves both, and after ``resume`` later trades are sent."""
    venue.exchange.silence("BTCUSDT")
    async with venue.connect(BOTH) as connection:
        frames = await receive_an_hour(venue, connection)
        assert {frame["data"]["s"] for frame in frames} == {"ETHUSDT"}
        assert (await venue.get("aggTrades", symbol="BTCUSDT", limit=1))[1][0]["a"] == 160
        venue.exchange.resume("BTCUSDT")
        venue.clock.set(LIVE_US + HOUR_US + HOUR_US // 2)
        resumed = [frame["data"] for frame in await receive_all(connection) if frame["data"]["s"] == "BTCUSDT"]
    assert resumed[0]["a"] == 161


async def test_skipped_trades_leave_a_gap_that_rest_can_fill(venue: Venue) -> None:
    """The next three trades are withheld from the stream, and are there by id."""
    venue.exchange.skip("BTCUSDT", 3)
    async with venue.connect(BTC) as connection:
        assert ids(await receive_an_hour(venue, connection)) == list(range(124, 161))
    assert ids((await venue.get("aggTrades", symbol="BTCUSDT", fromId=121, limit=3))[1]) == [121, 122, 123]


async def test_duplicated_trades_come_twice(venue: Venue) -> None:
    """The next two trades are sent twice, the third once."""
    venue.exchange.duplicate("BTCUSDT", 2)
    async with venue.connect(BTC) as connection:
        assert ids(await receive_an_hour(venue, connection))[:5] == [121, 121, 122, 122, 123]


async def test_any_text_can_be_sent(venue: Venue) -> None:
    """Malformed frames reach every client as they are."""
    async with venue.connect(BTC) as connection:
        venue.exchange.send_raw('{"e":"aggTra')
        async with asyncio.timeout(LIMIT_S):
            assert await connection.recv() == '{"e":"aggTra'


async def test_an_announced_shutdown(venue: Venue) -> None:
    """Both forms of the announcement come, then the close; connections made after it stay."""
    async with venue.connect("/stream") as combined, venue.connect(BTC) as raw:
        venue.exchange.announce_shutdown(0.2)
        event = {"e": "serverShutdown", "E": LIVE_US // 1000}
        assert await receive(combined) == {"stream": "!serverShutdown", "data": event}
        assert await receive(raw) == event
        async with venue.connect(BTC) as newer:
            assert await closing_code(combined) == await closing_code(raw) == 1001
            assert len(await receive_an_hour(venue, newer)) == 40


async def test_a_stalled_connection_is_half_open(venue: Venue) -> None:
    """It gets no frame and no pong, yet is not closed; a new connection works."""
    async with venue.connect(BTC, ping_interval=None, close_timeout=0.1) as stalled:
        assert await asyncio.wait_for(await stalled.ping(), LIMIT_S) >= 0
        venue.exchange.stall()
        async with venue.connect(BTC) as fresh:
            assert len(await receive_an_hour(venue, fresh)) == 40
        pong = await stalled.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pong, 0.3)
        assert await receive_all(stalled) == []
        assert venue.exchange.connections == 1


async def test_a_halted_symbol_has_an_empty_hour(venue: Venue) -> None:
    """The running hour ends as it is, the next has no trade, and ids go on without a hole."""
    venue.clock.set(LIVE_US + HOUR_US // 2)
    assert venue.exchange.halt("BTCUSDT") == range(4, 5)
    async with venue.connect(BTC) as connection:
        venue.clock.set(LIVE_US + 3 * HOUR_US)
        frames = await receive_all(connection)
    opens = {frame["T"] * 1000 // HOUR_US * HOUR_US for frame in frames}
    assert opens == {LIVE_US, LIVE_US + 2 * HOUR_US}
    assert ids(frames) == list(range(ids(frames)[0], 201))
    _, rows = await venue.get("klines", symbol="BTCUSDT", interval="1h")
    assert rows[4][1:6] == [rows[3][4]] * 4 + ["0.00000000"]
    assert rows[4][8] == 0


async def test_a_slow_client_is_cut_off() -> None:
    """One that does not read is closed when its backlog passes the bound; one that reads gets everything."""
    clock = ManualClock(LIVE_US)
    exchange = SimulatedExchange(small_market(), clock=clock, largest_backlog_bytes=200_000)
    venue = Venue(exchange, clock, await exchange.start())
    try:
        async with venue.connect(BTC) as reading, venue.connect(BTC, close_timeout=0.1) as sleeping:
            sleeping.transport.pause_reading()
            # The kernel takes several megabytes before the backlog grows in the exchange.
            for _ in range(400):
                exchange.send_raw("x" * 50_000)
                await reading.recv()
            assert exchange.connections == 1
            sleeping.transport.resume_reading()
            assert await closing_code(sleeping) == 1006
            assert len(await receive_an_hour(venue, reading)) == 40
    finally:
        await venue.close()


async def test_a_fault_of_an_unknown_symbol_is_refused(venue: Venue) -> None:
    """The call raises ValueError, so that a misspelled symbol in a test is found."""
    for fault in (venue.exchange.silence, venue.exchange.halt):
        with pytest.raises(ValueError, match="NOPE-USDT is not simulated"):
            fault("NOPE-USDT")


async def test_the_sample_at_demo_speed_costs_little() -> None:
    """Three symbols at 360 times speed come in time, at a few percent of one core."""
    data = load_sample()
    clock = ScaledClock(start_us=data.open_us(14_000) + HOUR_US // 2, speed=360)
    exchange = SimulatedExchange(data, clock=clock)
    addresses = await exchange.start()
    venue = Venue(exchange, ManualClock(), addresses)
    try:
        streams = "/".join(f"{symbol.lower()}@aggTrade" for symbol in data.symbols)
        async with venue.connect(f"/stream?streams={streams}") as connection:
            before_s = time.process_time()
            late_ms = []
            async with asyncio.timeout(LIMIT_S):
                for _ in range(200):
                    frame = await receive(connection)
                    late_ms.append((clock.market_us() // 1000 - frame["data"]["T"]) / 360)
            spent_s = time.process_time() - before_s
    finally:
        await venue.close()
    assert sorted(late_ms)[len(late_ms) // 2] < 300
    # 2.8 s of wall time, this test's own reading included: far above what it takes, far below a busy loop.
    assert spent_s < 1.0
