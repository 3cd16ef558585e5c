"""Coinbase: market_trades and heartbeats of Advanced Trade, and the Exchange's REST.

REST and snapshots are newest first, and ``side`` is the maker's. Trades are sent in batches of a quarter of a second,
all products together; a subscription begins with the last hundred trades of each product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar

from aiohttp import web

from daemon.simulator.dialects.base import (
    Dialect,
    Handler,
    IdleTimeout,
    Params,
    Quota,
    Refusal,
    Reply,
    SentTrade,
    StreamSession,
    encoded,
    parsed,
    strings,
)
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.number_format import fixed, rfc3339, rfc3339_trimmed
from daemon.simulator.tape import TapeTrade

_CHANNELS = ("market_trades", "heartbeats")
_SNAPSHOT_TRADES = 100
_DEFAULT_TRADES, _LARGEST_TRADES = 100, 1_000
_LARGEST_CANDLES = 300
_GRANULARITIES_S = (60, 300, 900, 3600, 21_600, 86_400)


class CoinbaseSession(StreamSession):
    """``sequence_num`` counts every message of the connection."""

    def __init__(self, dialect: Coinbase) -> None:
        super().__init__()
        self._dialect = dialect
        self._sequence = 0
        self._beats: int | None = None

    def answer(self, text: str | bytes) -> Sequence[str]:
        request = parsed(text)
        if request is None or request.get("type") not in {"subscribe", "unsubscribe"}:
            return (_error("failure to parse the message"),)
        if request.get("channel") not in _CHANNELS:
            return (_error(f"failure to subscribe: unknown channel {request.get('channel')}"),)
        joins = request["type"] == "subscribe"
        if request["channel"] == "heartbeats":
            self._beats = 0 if joins else None
            return (self._subscriptions(),)
        return self._products(request, joins=joins)

    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        return (self._trades("update", [record.text for record in records]),)

    def each_second(self) -> Sequence[str]:
        if self._beats is None:
            return ()
        self._beats += 1
        now_us = self._dialect.market.now_us()
        current = f"{rfc3339(now_us).replace('T', ' ').removesuffix('Z')} +0000 UTC m=+{self._beats}.000000000"
        return (self._message("heartbeats", f'{{"current_time":"{current}","heartbeat_counter":"{self._beats}"}}'),)

    def _products(self, request: dict[str, Any], *, joins: bool) -> list[str]:
        products = strings(request.get("product_ids"))
        if not products:
            return [_error("failure to subscribe: product_ids is required")]
        if unknown := [product for product in products if self._dialect.find(product) is None]:
            return [_error(f"failure to subscribe: {', '.join(unknown)} is not a valid product")]
        symbols = [self._dialect.symbols[product] for product in products]
        for symbol in symbols:
            self.update(symbol, subscribed=joins)
        if not joins:
            return [self._subscriptions()]
        # The acknowledgement follows the snapshots.
        return [*(self._snapshot(symbol) for symbol in symbols), self._subscriptions()]

    def _snapshot(self, symbol: str) -> str:
        trades = self._dialect.market.last_sent(symbol, _SNAPSHOT_TRADES)
        return self._trades("snapshot", [self._dialect.record(symbol, trade) for trade in trades])

    def _trades(self, kind: str, texts: list[str]) -> str:
        return self._message("market_trades", f'{{"type":"{kind}","trades":[{",".join(reversed(texts))}]}}')

    def _subscriptions(self) -> str:
        channels: dict[str, list[str]] = {}
        if self.symbols:
            channels["market_trades"] = [self._dialect.natives[symbol] for symbol in self.symbols]
        if self._beats is not None:
            channels["heartbeats"] = ["heartbeats"]
        return self._message("subscriptions", encoded({"subscriptions": channels}))

    def _message(self, channel: str, event: str) -> str:
        number, self._sequence = self._sequence, self._sequence + 1
        stamp = rfc3339(self._dialect.market.now_us()).removesuffix("Z") + "000Z"
        return f'{{"channel":"{channel}","timestamp":"{stamp}","sequence_num":{number},"events":[{event}]}}'


class Coinbase(Dialect):
    """See ``Dialect``."""

    name: ClassVar[str] = "coinbase"
    listing_path: ClassVar[str] = "/products"
    symbol_parameter: ClassVar[str] = "product"
    id_field: ClassVar[str | None] = "trade_id"
    hold_us: ClassVar[int] = 250_000
    first_request_within_s: ClassVar[float | None] = 5.0
    idle_timeout: ClassVar[IdleTimeout | None] = IdleTimeout(75.0, 1000)

    @staticmethod
    def native(series: RecordedSeries) -> str:
        return f"{series.base}-{series.quote}"

    def new_session(self) -> StreamSession:
        return CoinbaseSession(self)

    def record(self, symbol: str, trade: TapeTrade) -> str:
        series = self.market.series(symbol)
        price, size = fixed(trade.price, series.price_decimals, 2), fixed(trade.size, series.size_decimals)
        maker = "BUY" if trade.buyer_is_maker else "SELL"
        return (
            f'{{"product_id":"{self.natives[symbol]}","trade_id":"{trade.id}","price":"{price}","size":"{size}",'
            f'"time":"{rfc3339_trimmed(trade.time_ms * 1000)}","side":"{maker}"}}'
        )

    @staticmethod
    def make_quota() -> Quota:
        return Quota(65, 5.0)  # 10 a second, 15 at once

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/time": self._time,
            self.listing_path: lambda _: Reply([self._listing(symbol) for symbol in self.market.listed]),
            "/products/{product}": lambda request: Reply(self._listing(self._symbol(request))),
            "/products/{product}/trades": self._trades,
            "/products/{product}/candles": self._candles,
        }

    def rate_limit_reply(self) -> Reply:
        return Reply({"message": "Public rate limit exceeded"}, 429)

    def unknown(self) -> Reply:
        return Reply({"message": "Route not found"}, 404)

    def _time(self, _: web.Request) -> Reply:
        now_us = self.market.server_time_us()
        return Reply({"iso": f"{rfc3339(now_us)[:23]}Z", "epoch": now_us // 1000 / 1000})

    def _trades(self, request: web.Request) -> Reply:
        symbol, params = self._symbol(request), Params(request, _invalid)
        limit = params.limit("limit", default=_DEFAULT_TRADES, largest=_LARGEST_TRADES)
        after, before = params.number("after"), params.number("before")
        found = self.market.tape.downwards(symbol, self.market.happened_us(), below_id=after)
        page = [trade for trade in islice(found, limit) if before is None or trade.id > before]
        ends = {"CB-BEFORE": str(page[0].id), "CB-AFTER": str(page[-1].id)} if page else {}
        return Reply([self._row(symbol, trade) for trade in page], headers=ends)

    def _row(self, symbol: str, trade: TapeTrade) -> dict[str, object]:
        series = self.market.series(symbol)
        return {
            "trade_id": trade.id,
            "side": "buy" if trade.buyer_is_maker else "sell",
            "size": fixed(trade.size, series.size_decimals),
            "price": fixed(trade.price, series.price_decimals),
            "time": rfc3339_trimmed(trade.time_ms * 1000),
        }

    def _candles(self, request: web.Request) -> Reply:
        """Newest first, ``[time, low, high, open, close, volume]``; hours without trades are left out."""
        symbol, params = self._symbol(request), Params(request, _invalid)
        granularity = params.number("granularity") or 60
        interval_us = granularity * 1_000_000
        if granularity not in _GRANULARITIES_S or not self.market.candles.serves(interval_us):
            raise Refusal(Reply({"message": "Unsupported granularity"}, 400))
        start_us, end_us = (_moment(request, name) for name in ("start", "end"))
        if start_us is not None and end_us is not None and (end_us - start_us) // interval_us >= _LARGEST_CANDLES:
            text = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"
            raise Refusal(Reply({"message": text}, 400))
        candles = self.market.candles.newest(
            symbol,
            interval_us,
            start_us=start_us,
            end_us=end_us,
            limit=_LARGEST_CANDLES,
            now_us=self.market.happened_us(),
            running=True,
        )
        series = self.market.series(symbol)
        price, size = 10**series.price_decimals, 10**series.size_decimals
        rows = [
            [candle.open_us // 1_000_000, *(ticks / price for ticks in ordered), candle.figures.volume / size]
            for candle in reversed(candles)
            if candle.records
            for ordered in [(candle.figures.low, candle.figures.high, candle.figures.open, candle.figures.close)]
        ]
        return Reply(rows)

    def _symbol(self, request: web.Request) -> str:
        symbol = self.find(request.match_info["product"])
        if symbol is None:
            raise Refusal(Reply({"message": "NotFound"}, 404))
        return symbol

    def _listing(self, symbol: str) -> dict[str, object]:
        series = self.market.series(symbol)
        return {
            "id": self.natives[symbol],
            "base_currency": series.base,
            "quote_currency": series.quote,
            "quote_increment": fixed(1, series.price_decimals, 2),
            "base_increment": fixed(1, series.size_decimals),
            "display_name": f"{series.base}/{series.quote}",
            "post_only": False,
            "limit_only": False,
            "cancel_only": False,
            "status": "online",
            "status_message": "",
            "trading_disabled": False,
            "auction_mode": False,
        }


def _error(message: str) -> str:
    return encoded({"type": "error", "message": message})


def _invalid(name: str) -> Reply:
    return Reply({"message": f"Invalid {name}"}, 400)


def _moment(request: web.Request, name: str) -> int | None:
    """Seconds, or a time as text, in us."""
    text = request.query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 11:
        return int(text) * 1_000_000
    try:
        moment = datetime.fromisoformat(text)
        return int(moment.timestamp()) * 1_000_000 + moment.microsecond
    except ValueError as error:
        raise Refusal(_invalid(name)) from error
