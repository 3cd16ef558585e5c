"""Every venue's dialect is read by the daemon's own code for that venue, and adds up to the one truth."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import aiohttp
import pytest

from daemon.clock import ManualClock
from daemon.exchanges import venue as protocol_of
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Ids,
    Message,
    Refused,
    RestRequest,
    TradesWanted,
)
from daemon.simulator.dialects import DIALECTS
from daemon.simulator.dialects.base import IdleTimeout
from daemon.simulator.exchange import SimulatedExchange
from daemon.simulator.market import Market
from features.market import Trade
from tests.daemon.simulator.bars import HOUR_US, small_market
from tests.daemon.simulator.running_exchange import LIVE_US, Venue
from tests.daemon.simulator.venue_client import SYMBOLS, VenueClient, assert_adds_up
from tests.limits import LIMIT_S

BTC, ETH = SYMBOLS
MINUTE_US = 60_000_000


async def test_an_hour_of_frames_is_the_truth(feed: VenueClient) -> None:
    """Subscribe, receive two hours, add the trades up: every figure of both bars, on every venue."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
        feed.clock.set(LIVE_US + 2 * HOUR_US)
        await feed.receive_trades(connection)
    for symbol in SYMBOLS:
        for open_us in (LIVE_US, LIVE_US + HOUR_US):
            feed.check(feed.between(symbol, open_us, open_us + HOUR_US), symbol, open_us, HOUR_US)


async def test_the_truth_is_the_same_everywhere(feed: VenueClient) -> None:
    """All but ids and counts is the same as on Binance."""
    reference = SimulatedExchange(small_market(bars=6, trades=40), clock=ManualClock(LIVE_US))
    for open_us in (LIVE_US, LIVE_US + HOUR_US):
        assert feed.exchange.truth(BTC, open_us, HOUR_US)[:8] == reference.truth(BTC, open_us, HOUR_US)[:8]


async def walked(feed: VenueClient, wanted: TradesWanted) -> tuple[list[Trade], bool]:
    """Every page of a walk, oldest first; whether all that is wanted is there."""
    request: RestRequest | None = feed.protocol.trades(wanted)
    found: dict[int, Trade] = {}
    whole = True
    for _ in range(40):
        if request is None:
            return sorted(found.values(), key=lambda trade: (trade.time_us, trade.trade_id)), whole
        page = feed.protocol.decode_trades((await feed.body(request))[0], wanted, request)
        found.update({trade.trade_id: trade for trade in page.trades})
        whole, request = page.complete, page.next
        await asyncio.sleep(0.15)
    raise AssertionError("the walk does not end")


async def test_trades_by_rest_are_the_truth_by_time(feed: VenueClient) -> None:
    """A walk from a time on brings the whole bar, or says that it does not."""
    feed.clock.set(LIVE_US + HOUR_US - 1)
    wanted = TradesWanted(
        symbol=BTC, from_id=None, from_time_us=LIVE_US, until_id=None, asked_at_us=LIVE_US + HOUR_US - 1
    )
    trades, whole = await walked(feed, wanted)
    assert whole
    assert_adds_up([trade for trade in trades if trade.time_us >= LIVE_US], feed.exchange.truth(BTC, LIVE_US, HOUR_US))


async def test_trades_by_rest_are_the_truth_by_id(feed: VenueClient) -> None:
    """Where ids are contiguous, a walk over several pages brings exactly the wanted ones."""
    if feed.protocol.ids is not Ids.CONTIGUOUS:
        assert feed.name in {"bybit", "bybit_linear", "bitstamp"}
        return
    feed.clock.set(LIVE_US + 3 * HOUR_US - 1)
    first, last = (feed.exchange.truth(BTC, LIVE_US + hours * HOUR_US, HOUR_US) for hours in (0, 2))
    assert first.first_id is not None
    assert last.first_id is not None
    wanted = TradesWanted(
        symbol=BTC,
        from_id=first.first_id,
        from_time_us=LIVE_US,
        until_id=last.first_id - 1,
        asked_at_us=feed.clock.market_us(),
    )
    trades, whole = await walked(feed, wanted)
    assert whole
    for open_us in (LIVE_US, LIVE_US + HOUR_US):
        of_bar = [trade for trade in trades if open_us <= trade.time_us < open_us + HOUR_US]
        feed.check(of_bar, BTC, open_us, HOUR_US)


async def test_bybit_says_when_it_has_no_more() -> None:
    """Spot gives sixty trades and no way to older ones, linear a thousand."""
    for name, whole in (("bybit", False), ("bybit_linear", True)):
        clock = ManualClock(LIVE_US + 3 * HOUR_US - 1)
        exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=clock, venue=name)
        feed = VenueClient(name, Venue(exchange, clock, await exchange.start()))
        try:
            wanted = TradesWanted(
                symbol=BTC, from_id=None, from_time_us=LIVE_US, until_id=None, asked_at_us=clock.market_us()
            )
            trades, complete = await walked(feed, wanted)
            assert (len(trades), complete) == ((60, False) if not whole else (240, True))
        finally:
            await feed.venue.close()


async def test_bitstamp_ids_ascend_over_all_pairs() -> None:
    """Sorted by id, the trades of both pairs are sorted by time, and those of one pair have holes between."""
    exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=ManualClock(LIVE_US), venue="bitstamp")
    tape, number = exchange.tape, DIALECTS["bitstamp"](Market(exchange.tape, ManualClock(LIVE_US))).trade_ids
    trades = [(number(symbol, trade).last_id, trade) for symbol in exchange.symbols for trade in tape.bar(symbol, 3)]
    times = [trade.time_ms for _, trade in sorted(trades)]
    assert times == sorted(times)
    assert len({trade_id for trade_id, _ in trades}) == len(trades)


async def test_kraken_has_720_candles_and_the_running_one() -> None:
    """Its last row is unfinished, and older ones are not served, whatever ``since`` says."""
    clock = ManualClock(LIVE_US + 30 * MINUTE_US + 1)
    exchange = SimulatedExchange(small_market(bars=20, trades=40), clock=clock, venue="kraken", live_from_us=LIVE_US)
    venue = Venue(exchange, clock, await exchange.start())
    try:
        clock.set(LIVE_US + 15 * HOUR_US + 1)
        address = f"{venue.addresses.rest_url}/0/public/OHLC"
        query = {"pair": "XBTUSDT", "interval": "1", "since": "0"}
        async with aiohttp.ClientSession() as session, session.get(address, params=query) as response:
            rows = (await response.json())["result"]["XBTUSDT"]
        assert len(rows) == 721
        assert rows[-1][0] * 1_000_000 == LIVE_US + 15 * HOUR_US
        assert rows[-1][7] in {0, 1}
    finally:
        await venue.close()


async def test_a_silent_connection_is_closed(feed: VenueClient) -> None:
    """With the venue's code, when nothing went either way for long enough."""
    feed.exchange._dialect.idle_timeout = IdleTimeout(0.5, 4004)  # type: ignore[misc]  # of this exchange only
    async with feed.venue.connect(feed.protocol.stream_url("")) as connection:
        async with asyncio.timeout(LIMIT_S):
            await connection.wait_closed()
        assert connection.close_code == 4004


async def test_candles_are_the_truth(feed: VenueClient) -> None:
    """Closed candles hold what the bars were, and the running one is not taken for closed."""
    feed.clock.set(LIVE_US + 2 * HOUR_US + HOUR_US // 2)
    request = feed.protocol.candles(BTC, HOUR_US, LIVE_US, LIVE_US + 3 * HOUR_US)
    bars = feed.protocol.decode_candles(
        (await feed.body(request))[0], symbol=BTC, interval_us=HOUR_US, known_at_us=feed.clock.market_us()
    )
    bars = [bar for bar in bars if bar.open_time_us >= LIVE_US]
    assert [bar.open_time_us for bar in bars] == [LIVE_US, LIVE_US + HOUR_US]
    previous = feed.exchange.truth(BTC, LIVE_US - HOUR_US, HOUR_US).close
    for bar in bars:
        truth = feed.exchange.truth(BTC, bar.open_time_us, HOUR_US)
        opened = previous if feed.protocol.opens_at_previous_close else truth.open
        assert opened is not None
        assert truth.high is not None
        assert truth.low is not None
        assert (bar.open, bar.close, bar.volume) == (opened, truth.close, truth.volume)
        assert (bar.high, bar.low) == (max(truth.high, opened), min(truth.low, opened))
        assert bar.trades in {None, truth.trades}
        previous = truth.close


async def test_a_minute_played_from_an_hour_has_candles_too(feed: VenueClient) -> None:
    """Minutes cut from the hours add up to them."""
    feed.clock.set(LIVE_US + HOUR_US)
    opened, closed = LIVE_US, LIVE_US + HOUR_US
    request = feed.protocol.candles(BTC, MINUTE_US, opened, closed)
    bars = feed.protocol.decode_candles(
        (await feed.body(request))[0], symbol=BTC, interval_us=MINUTE_US, known_at_us=feed.clock.market_us()
    )
    bars = [bar for bar in bars if opened <= bar.open_time_us < closed]
    truth = feed.exchange.truth(BTC, opened, HOUR_US)
    assert sum(bar.volume for bar in bars) == pytest.approx(truth.volume, rel=1e-12)
    assert [bar.close for bar in bars if bar.close is not None][-1] == truth.close
    assert len(bars) == 60 if feed.name != "coinbase" else 0 < len(bars) < 60


async def test_instruments_and_time(feed: VenueClient) -> None:
    """Both symbols trade, and the time is the market's, to the second at the least."""
    listed = feed.protocol.decode_instruments((await feed.body(feed.protocol.instruments()))[0])
    assert {symbol: listed[symbol] for symbol in SYMBOLS} == dict.fromkeys(SYMBOLS, "TRADING")
    server_us = feed.protocol.decode_server_time(*(await feed.body(feed.protocol.server_time())))
    assert abs(server_us - LIVE_US) <= 500_000
    feed.exchange.set_skew(7_000)
    server_us = feed.protocol.decode_server_time(*(await feed.body(feed.protocol.server_time())))
    assert abs(server_us - LIVE_US - 7_000_000) <= 500_000


async def test_the_newest_trade_is_returned(feed: VenueClient) -> None:
    """The request that finds a silent subscription returns the last trade."""
    feed.clock.set(LIVE_US + HOUR_US)
    request = feed.protocol.latest_trade(BTC)
    wanted = TradesWanted(symbol=BTC, from_id=None, from_time_us=LIVE_US, until_id=None, asked_at_us=LIVE_US + HOUR_US)
    page = feed.protocol.decode_trades((await feed.body(request))[0], wanted, request)
    truth = feed.exchange.truth(BTC, LIVE_US, HOUR_US)
    assert page.trades[-1].price == truth.close
    if truth.last_id is not None:
        assert page.trades[-1].trade_id == truth.last_id


async def test_a_subscription_replays_what_the_venue_replays(feed: VenueClient) -> None:
    """Nothing, the last trade, or a snapshot that joins the first live trade without hole or overlap."""
    replayed = {"coinbase": 100, "kraken": 50, "okx": 1}.get(feed.name, 0)
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        await feed.receive_trades(connection, quiet_s=0.3)
        assert {symbol: len(trades) for symbol, trades in feed.received.items()} == dict.fromkeys(SYMBOLS, replayed)
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
    if replayed:
        ids = sorted(feed.received[BTC].values(), key=lambda trade: trade.trade_id)
        assert all(later.trade_id - later.span == earlier.trade_id for earlier, later in pairwise(ids))


async def test_an_unknown_symbol(feed: VenueClient) -> None:
    """Refused in the venue's format, or acknowledged without trades where the venue does that."""
    protocol = protocol_of(feed.name, ("NOPE-USDT",))
    async with feed.venue.connect(protocol.stream_url("")) as connection:
        await connection.send(protocol.subscribe(("NOPE-USDT",), 1))
        async with asyncio.timeout(LIMIT_S):
            message: Message = Heartbeat()
            while isinstance(message, Heartbeat):
                message = protocol.decode(await connection.recv())
    assert isinstance(message, Acknowledged if feed.name in {"binance", "bitstamp"} else Refused)


async def test_a_planned_close_is_announced_where_it_is(feed: VenueClient) -> None:
    """Binance, OKX and Bitstamp say so first; all close with 1001."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.exchange.announce_shutdown(0.2)
        await connection.wait_closed()
        assert connection.close_code == 1001
        async for frame in connection:
            feed.take(frame)
    announced = any(isinstance(message, ClosingSoon) for message in feed.others)
    assert announced == (feed.name in {"binance", "okx", "bitstamp"})


async def test_the_client_keeps_the_connection_alive(feed: VenueClient) -> None:
    """The venue's pings are answered, and heartbeats come where they were subscribed."""
    keep_alive = feed.protocol.keep_alive
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        before = len([message for message in feed.others if isinstance(message, Heartbeat)])
        if keep_alive is not None:
            await connection.send(keep_alive.text)
        await asyncio.sleep(1.2 if feed.name in {"coinbase", "kraken"} else 0)
        await feed.receive_trades(connection, quiet_s=0.3)
    received = len([message for message in feed.others if isinstance(message, Heartbeat)]) - before
    assert (received > 0) == (feed.name != "binance")
