"""Bitstamp: live_trades, one trade a message, and REST with transactions of the last minute, hour or day.

Ids ascend over all pairs together. REST has times in whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import ClassVar

from aiohttp import web

from daemon.simulator.candles import SimulatedCandle
from daemon.simulator.dialects.base import (
    CloseConnection,
    Dialect,
    Handler,
    Params,
    Quota,
    Refusal,
    Reply,
    SentTrade,
    StreamSession,
    encoded,
    parsed,
)
from daemon.simulator.market import Market
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.number_format import fixed, trimmed
from daemon.simulator.reconstruct import MAX_RECORDS
from daemon.simulator.tape import TapeTrade
from daemon.simulator.truth import TradeIds

_CHANNEL = "live_trades_"
_LARGEST_FRAME_BYTES = 512
_MAX_CHANNELS = 1_024
_WINDOWS_S = {"minute": 60, "hour": 3_600, "day": 86_400}
_STEPS_S = (60, 180, 300, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)
_DEFAULT_CANDLES, _LARGEST_CANDLES = 100, 1_000


class BitstampSession(StreamSession):
    """One channel for each request; a valid but unknown channel is acknowledged and silent."""

    def __init__(self, dialect: Bitstamp) -> None:
        super().__init__()
        self._dialect = dialect
        self._channels: set[str] = set()

    def answer(self, text: str | bytes) -> Sequence[str]:
        if len(text) >= _LARGEST_FRAME_BYTES:
            raise CloseConnection(1009, "message too big")
        request = parsed(text)
        event = request.get("event") if request is not None else None
        if request is None or event is None:
            return (_error("Incorrect JSON format."),)
        if event == "bts:heartbeat":
            return (encoded({"event": "bts:heartbeat", "channel": "", "data": {"status": "success"}}),)
        data = request.get("data")
        channel = data.get("channel") if isinstance(data, dict) else None
        if event not in {"bts:subscribe", "bts:unsubscribe"}:
            return (_error("Bad subscription string."),)
        if not isinstance(channel, str) or not channel.startswith(_CHANNEL) or channel != channel.lower():
            return (_error("Invalid channel provided."),)
        return (self._subscribe(channel) if event == "bts:subscribe" else self._unsubscribe(channel),)

    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        return (
            f'{{"data":{record.text},"channel":"{_CHANNEL}{self._dialect.natives[record.symbol]}","event":"trade"}}'
            for record in records
        )

    def shutdown_frames(self) -> Sequence[str]:
        return ('{"event":"bts:request_reconnect","channel":"","data":""}',)

    def _subscribe(self, channel: str) -> str:
        if len(self._channels) >= _MAX_CHANNELS:
            return _error("Maximum number of channels reached.", 4009)
        self._channels.add(channel)
        if symbol := self._dialect.find(channel.removeprefix(_CHANNEL)):
            self.update(symbol, subscribed=True)
        return encoded({"event": "bts:subscription_succeeded", "channel": channel, "data": {}})

    def _unsubscribe(self, channel: str) -> str:
        self._channels.discard(channel)
        if symbol := self._dialect.find(channel.removeprefix(_CHANNEL)):
            self.update(symbol, subscribed=False)
        return encoded({"event": "bts:unsubscription_succeeded", "channel": channel, "data": {}})


class Bitstamp(Dialect):
    """See ``Dialect``."""

    name: ClassVar[str] = "bitstamp"
    listing_path: ClassVar[str] = "/api/v2/trading-pairs-info/"
    symbol_parameter: ClassVar[str] = "pair"
    id_field: ClassVar[str | None] = "id"
    ping_every_s: ClassVar[float | None] = 54.0
    pong_within_s: ClassVar[float | None] = 60.0

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._order = {symbol: number for number, symbol in enumerate(market.symbols)}

    @staticmethod
    def native(series: RecordedSeries) -> str:
        return (series.base + series.quote).lower()

    def trade_ids(self, symbol: str, trade: TapeTrade) -> TradeIds:
        number = self._id(symbol, trade)
        return TradeIds(number, number)

    def new_session(self) -> StreamSession:
        return BitstampSession(self)

    def record(self, symbol: str, trade: TapeTrade) -> str:
        series, number = self.market.series(symbol), self._id(symbol, trade)
        price, amount = fixed(trade.price, series.price_decimals, 2), fixed(trade.size, series.size_decimals)
        # The taker's order is the later one.
        sell, buy = (2 * number + 1, 2 * number) if trade.buyer_is_maker else (2 * number, 2 * number + 1)
        return (
            f'{{"id":{number},"timestamp":"{trade.time_ms // 1000}",'
            f'"amount":{trimmed(trade.size, series.size_decimals)},"amount_str":"{amount}",'
            f'"price":{trimmed(trade.price, series.price_decimals)},"price_str":"{price}",'
            f'"type":{int(trade.buyer_is_maker)},"microtimestamp":"{trade.time_ms * 1000}",'
            f'"buy_order_id":{buy},"sell_order_id":{sell}}}'
        )

    @staticmethod
    def make_quota() -> Quota:
        return Quota(10_000, 600.0)

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/api/v2/ticker/{pair}/": self._ticker,
            self.listing_path: lambda _: Reply([self._listing(symbol) for symbol in self.market.listed]),
            "/api/v2/transactions/{pair}/": self._transactions,
            "/api/v2/ohlc/{pair}/": self._ohlc,
        }

    def rate_limit_reply(self) -> Reply:
        return Reply({"status": "error", "reason": "Rate limit exceeded", "code": "400.002"}, 429)

    def unknown(self) -> Reply:
        return Reply(b"<html><body>404</body></html>", 404, {"Content-Type": "text/html"})

    def _id(self, symbol: str, trade: TapeTrade) -> int:
        """Ascending with time over all pairs, and computed without the trades of the others."""
        since_ms = trade.time_ms - self.market.tape.timeline.start_us // 1000
        return 1 + (since_ms * len(self._order) + self._order[symbol]) * (MAX_RECORDS + 1) + trade.place

    def _ticker(self, request: web.Request) -> Reply:
        """The ticker of any pair, simulated or not: clients use it for the time."""
        found = self.find(request.match_info["pair"]) or self.market.symbols[0]
        newest = self.market.tape.latest(found, 1, self.market.happened_us())
        last = fixed(newest[0].price, self.market.series(found).price_decimals, 2) if newest else "0.00"
        return Reply({"timestamp": str(self.market.server_time_us() // 1_000_000), "last": last, "open": last})

    def _transactions(self, request: web.Request) -> Reply:
        symbol = self._symbol(request)
        window_s = _WINDOWS_S.get(request.query.get("time", "hour"))
        if window_s is None:
            raise Refusal(_invalid("time"))
        now_us, series = self.market.happened_us(), self.market.series(symbol)
        since_ms = now_us // 1000 - window_s * 1000
        found = takewhile(lambda trade: trade.time_ms >= since_ms, self.market.tape.downwards(symbol, now_us))
        rows = [
            {
                "date": str(trade.time_ms // 1000),
                "tid": str(self._id(symbol, trade)),
                "amount": fixed(trade.size, series.size_decimals),
                "type": str(int(trade.buyer_is_maker)),
                "price": fixed(trade.price, series.price_decimals, 2),
            }
            for trade in found
        ]
        return Reply(rows)

    def _ohlc(self, request: web.Request) -> Reply:
        """Oldest first; where ``start`` and ``end`` are given, the last rows up to ``end``."""
        symbol, params = self._symbol(request), Params(request, _invalid)
        step_s = params.number("step")
        if step_s not in _STEPS_S or not self.market.candles.serves(step_s * 1_000_000):
            raise Refusal(_invalid("step"))
        start_s, end_s = params.number("start"), params.number("end")
        limit = params.limit("limit", default=_DEFAULT_CANDLES, largest=_LARGEST_CANDLES)
        now_us = self.market.happened_us()
        if start_s is not None and end_s is None:
            candles = self.market.candles.closed(
                symbol, step_s * 1_000_000, start_us=start_s * 1_000_000, end_us=None, limit=limit, now_us=now_us
            )
        else:
            candles = self.market.candles.newest(
                symbol,
                step_s * 1_000_000,
                start_us=None,
                end_us=None if end_s is None else end_s * 1_000_000,
                limit=limit,
                now_us=now_us,
                running=request.query.get("exclude_current_candle") != "true",
            )
        series = self.market.series(symbol)
        rows = [_candle(series, candle) for candle in candles]
        return Reply({"data": {"pair": f"{series.base}/{series.quote}", "ohlc": rows}})

    def _symbol(self, request: web.Request) -> str:
        symbol = self.find(request.match_info["pair"])
        if symbol is None:
            raise Refusal(self.unknown())
        return symbol

    def _listing(self, symbol: str) -> dict[str, object]:
        series = self.market.series(symbol)
        return {
            "name": f"{series.base}/{series.quote}",
            "url_symbol": self.natives[symbol],
            "base_decimals": series.size_decimals,
            "counter_decimals": series.price_decimals,
            "minimum_order": f"10.0 {series.quote}",
            "trading": "Enabled",
            "instant_and_market_orders": "Enabled",
            "description": f"{series.base} / {series.quote}",
        }


def _error(message: str, code: int | None = None) -> str:
    return encoded({"event": "bts:error", "channel": "", "data": {"code": code, "message": message}})


def _invalid(name: str) -> Reply:
    return Reply({"status": "error", "reason": {name: ["Invalid value."]}, "code": "API0005"}, 400)


def _candle(series: RecordedSeries, candle: SimulatedCandle) -> dict[str, str]:
    figures = candle.figures
    prices = zip(("open", "high", "low", "close"), figures[:4], strict=True)
    return {
        "timestamp": str(candle.open_us // 1_000_000),
        **{name: fixed(ticks, series.price_decimals, 2) for name, ticks in prices},
        "volume": fixed(figures.volume, series.size_decimals),
    }
