"""The daemon's own Binance code reads the sample of real bars from the simulator, to the last published digit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from daemon.clock import ManualClock
from daemon.exchanges.base import Acknowledged, ClosingSoon, Listed, RestRequest, TradesMessage
from daemon.exchanges.binance import Binance
from daemon.simulator.exchange import SimulatedExchange
from daemon.simulator.loading import load_sample
from features.market import HOUR_US, Trade
from tests.daemon.simulator.running_exchange import Venue, receive_all

SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
BINANCE = Binance(SYMBOLS)


@pytest.fixture
async def sample_venue() -> AsyncIterator[Venue]:
    """The sample at the start of its last thirty days; its clock does not run."""
    data = load_sample()
    clock = ManualClock(data.open_us(data.live_index(live_days=30)))
    exchange = SimulatedExchange(data, clock=clock)
    running = Venue(exchange, clock, await exchange.start())
    yield running
    await running.close()


async def body(venue: Venue, request: RestRequest) -> bytes:
    address = venue.addresses.rest_url + request.path
    async with aiohttp.ClientSession() as session, session.get(address, params=dict(request.query)) as response:
        assert response.status == 200
        return await response.read()


async def test_an_hour_of_frames_is_the_published_candle(sample_venue: Venue) -> None:
    """Subscribe, receive an hour, add the trades up: open to taker-buy quote volume equal the real bar."""
    venue, clock = sample_venue, sample_venue.clock
    live_us = clock.market_us()
    async with venue.connect(BINANCE.stream_url("")) as connection:
        await connection.send(BINANCE.subscribe(SYMBOLS, 1))
        assert BINANCE.decode(await connection.recv()) == Acknowledged(1)
        await connection.send(BINANCE.list_subscriptions(2))
        assert BINANCE.decode(await connection.recv()) == Listed(2, SYMBOLS)
        clock.set(live_us + HOUR_US)
        received: dict[str, list[Trade]] = {symbol: [] for symbol in SYMBOLS}
        for frame in await receive_all(connection, decode=BINANCE.decode):
            assert isinstance(frame, TradesMessage)
            received[frame.symbol] += frame.trades
    for symbol, trades in received.items():
        request = BINANCE.candles(symbol, HOUR_US, live_us, live_us + HOUR_US)
        (bar,) = BINANCE.decode_candles(
            await body(venue, request), symbol=symbol, interval_us=HOUR_US, known_at_us=clock.market_us()
        )
        prices = [trade.price for trade in trades]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (bar.open, bar.high, bar.low, bar.close)
        assert sum(trade.count for trade in trades) == bar.trades
        bought = [trade for trade in trades if trade.taker_buys]
        assert sum(trade.size for trade in trades) == pytest.approx(bar.volume, rel=1e-12)
        assert sum(trade.size for trade in bought) == pytest.approx(bar.taker_buy_volume, rel=1e-12)
        assert sum(trade.size * trade.price for trade in trades) == pytest.approx(bar.quote_volume, rel=1e-12)
        assert sum(trade.size * trade.price for trade in bought) == pytest.approx(bar.taker_buy_quote_volume, rel=1e-12)


async def test_the_announced_shutdown_is_understood(sample_venue: Venue) -> None:
    """The combined form of serverShutdown is what the daemon takes for a planned close."""
    async with sample_venue.connect() as connection:
        sample_venue.exchange.announce_shutdown(5.0)
        assert isinstance(BINANCE.decode(await connection.recv()), ClosingSoon)
