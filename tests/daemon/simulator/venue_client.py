"""A client of a simulated venue, with the daemon's own protocol code, and its check against the true bars."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

from daemon.exchanges import Venue as Protocol
from daemon.exchanges import venue as protocol_of
from daemon.exchanges.base import Acknowledged, Heartbeat, Ids, Message, RestRequest, TradesBatch, TradesMessage
from daemon.simulator.truth import Truth
from features.market import Trade
from tests.daemon.simulator.running_exchange import Venue
from tests.limits import LIMIT_S

SYMBOLS = ("BTC-USDT", "ETH-USDT")


class VenueClient:
    """A client of one simulated venue, through the daemon's own protocol code, with the trades it received."""

    def __init__(self, name: str, running: Venue) -> None:
        self.name = name
        self.protocol: Protocol = protocol_of(name, SYMBOLS)
        self.venue = running
        self.exchange = running.exchange
        self.clock = running.clock
        self.acknowledged: set[str] = set()
        self.received: dict[str, dict[int, Trade]] = {symbol: {} for symbol in SYMBOLS}
        self.others: list[Message] = []

    async def body(self, request: RestRequest) -> tuple[bytes, str]:
        address = self.venue.addresses.rest_url + request.path
        async with aiohttp.ClientSession() as session, session.get(address, params=dict(request.query)) as response:
            body = await response.read()
            assert response.status == 200, body
            self.protocol.check_answer(body)
            return body, response.headers["Date"]

    def connect(self) -> connect:
        return self.venue.connect(self.protocol.stream_url(""))

    async def subscribe(self, connection: ClientConnection, symbols: tuple[str, ...] = SYMBOLS) -> None:
        for frame in self.protocol.opening():
            await connection.send(frame)
        per_request = self.protocol.limits.symbols_per_request
        for at in range(0, len(symbols), per_request):
            asked = symbols[at : at + per_request]
            await connection.send(self.protocol.subscribe(asked, at + 1))
            async with asyncio.timeout(LIMIT_S):
                while not set(asked) <= self.acknowledged:
                    message = self.take(await connection.recv())
                    if isinstance(message, Acknowledged):
                        self.acknowledged |= set(message.symbols or asked)

    def take(self, frame: bytes | str) -> Message:
        message = self.protocol.decode(frame)
        if isinstance(message, TradesMessage | TradesBatch):
            for each in message.messages if isinstance(message, TradesBatch) else [message]:
                self.received[each.symbol].update({trade.trade_id: trade for trade in each.trades})
        else:
            self.others.append(message)
        return message

    async def receive_trades(self, connection: ClientConnection, *, quiet_s: float = 0.5) -> None:
        """Takes every frame until none has arrived for ``quiet_s``."""
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    message = self.take(await connection.recv())
            except TimeoutError:
                return
            if isinstance(message, Heartbeat):
                quiet_s -= 0.1

    def between(self, symbol: str, start_us: int, end_us: int) -> list[Trade]:
        trades = sorted(self.received[symbol].values(), key=lambda trade: trade.time_us)
        return [trade for trade in trades if start_us <= trade.time_us < end_us]

    def check(self, trades: list[Trade], symbol: str, open_us: int, interval_us: int) -> None:
        """These trades are that bar, digit for digit."""
        truth = self.exchange.truth(symbol, open_us, interval_us)
        assert_adds_up(trades, truth)
        if self.protocol.ids is Ids.CONTIGUOUS:
            trades = sorted(trades, key=lambda trade: trade.trade_id)
            assert trades[0].trade_id - trades[0].span + 1 == truth.first_id
            assert trades[-1].trade_id == truth.last_id
            assert sum(trade.span for trade in trades) == truth.last_id - truth.first_id + 1


def assert_adds_up(trades: list[Trade], truth: Truth) -> None:
    prices = [trade.price for trade in trades]
    assert (prices[0], max(prices), min(prices), prices[-1]) == (truth.open, truth.high, truth.low, truth.close)
    assert sum(trade.count for trade in trades) == truth.trades
    assert sum(trade.size for trade in trades) == pytest.approx(truth.volume, rel=1e-12)
    bought = [trade for trade in trades if trade.taker_buys]
    assert sum(trade.size for trade in bought) == pytest.approx(truth.taker_buy_volume, rel=1e-12)
    assert sum(trade.size * trade.price for trade in trades) == pytest.approx(truth.quote_volume, rel=1e-12)
