"""Kraken: WebSocket v2 with heartbeats, and REST, whose errors have HTTP status 200.

One message carries trades of several symbols, numbers are JSON numbers, and every symbol of a request is acknowledged
separately. REST spells bitcoin XBT and names pairs differently from the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate
from itertools import islice
from typing import Any, ClassVar

from aiohttp import web

from daemon.simulator.candles import SimulatedCandle
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
from daemon.simulator.number_format import fixed, rfc3339
from daemon.simulator.tape import TapeTrade

_SNAPSHOT_TRADES = 50
_SYMBOLS_PER_SNAPSHOT = 10
_LARGEST_TRADES = 1_000
_NEWEST_CANDLES = 720
_MINUTES = (1, 5, 15, 30, 60, 240, 1440)
_REST_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_NATIONAL = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD")
_HEARTBEAT = '{"channel":"heartbeat"}'


class KrakenSession(StreamSession):
    """Heartbeats are sent in seconds without other frames, once there is a subscription."""

    def __init__(self, dialect: Kraken) -> None:
        super().__init__()
        self._dialect = dialect
        self._quiet = False

    def opened(self) -> Sequence[str]:
        about = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": 16389994220698793191}
        return (encoded({"channel": "status", "type": "update", "data": [about]}),)

    def answer(self, text: str | bytes) -> Sequence[str]:
        request = parsed(text)
        if request is None:
            return (encoded({"error": "Malformed JSON", "success": False, **self._times()}),)
        method = request.get("method")
        echo = {"req_id": request["req_id"]} if isinstance(request.get("req_id"), int) else {}
        if method == "ping":
            return (encoded({"method": "pong", **self._times(), **echo}),)
        params = request.get("params")
        if method not in {"subscribe", "unsubscribe"} or not isinstance(params, dict):
            return (
                encoded({"error": "Method not found", "method": method, "success": False, **self._times(), **echo}),
            )
        return self._subscribe(method, params, echo)

    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        self._quiet = False
        return (_trades("update", [record.text for record in records]),)

    def each_second(self) -> Sequence[str]:
        quiet, self._quiet = self._quiet, True
        return (_HEARTBEAT,) if quiet and self.symbols else ()

    def _subscribe(self, method: str, params: dict[str, Any], echo: dict[str, int]) -> list[str]:
        pairs = strings(params.get("symbol"))
        if params.get("channel") != "trade" or pairs is None:
            message = "Channel not supported" if pairs is not None else "Symbol(s) not provided"
            return [encoded({"error": message, "method": method, "success": False, **self._times(), **echo})]
        answers, joined = [], []
        for pair in pairs:
            symbol = self._dialect.find(pair)
            if symbol is None:
                message = f"Currency pair not supported {pair}"
                refused = {"error": message, "method": method, **echo, "success": False, "symbol": pair}
                answers.append(encoded({**refused, **self._times()}))
                continue
            result: dict[str, object] = {"channel": "trade", "snapshot": params.get("snapshot") is True, "symbol": pair}
            answers.append(encoded({"method": method, "result": result, "success": True, **self._times(), **echo}))
            self.update(symbol, subscribed=method == "subscribe")
            if method == "subscribe":
                joined.append(symbol)
        return answers + (self._snapshots(joined) if params.get("snapshot") is True else [])

    def _snapshots(self, symbols: list[str]) -> list[str]:
        """A few symbols a message, each with its newest trades, oldest first."""
        market, record = self._dialect.market, self._dialect.record
        parts = [symbols[at : at + _SYMBOLS_PER_SNAPSHOT] for at in range(0, len(symbols), _SYMBOLS_PER_SNAPSHOT)]
        texts = [
            [record(symbol, trade) for symbol in part for trade in market.last_sent(symbol, _SNAPSHOT_TRADES)]
            for part in parts
        ]
        return [_trades("snapshot", each) for each in texts if each]

    def _times(self) -> dict[str, str]:
        now = rfc3339(self._dialect.market.now_us())
        return {"time_in": now, "time_out": now}


class Kraken(Dialect):
    """See ``Dialect``."""

    name: ClassVar[str] = "kraken"
    listing_path: ClassVar[str] = "/0/public/AssetPairs"
    symbol_parameter: ClassVar[str] = "pair"
    id_field: ClassVar[str | None] = "trade_id"
    paths: ClassVar[tuple[str, ...]] = ("/v2",)
    idle_timeout: ClassVar[IdleTimeout | None] = IdleTimeout(60.0, 1000)

    @staticmethod
    def native(series: RecordedSeries) -> str:
        return f"{series.base}/{series.quote}"

    def new_session(self) -> StreamSession:
        return KrakenSession(self)

    def record(self, symbol: str, trade: TapeTrade) -> str:
        series = self.market.series(symbol)
        price, size = fixed(trade.price, series.price_decimals, 1), fixed(trade.size, series.size_decimals)
        side, order = ("sell", "market") if trade.buyer_is_maker else ("buy", "limit")
        return (
            f'{{"symbol":"{self.natives[symbol]}","side":"{side}","price":{price},"qty":{size},"ord_type":"{order}",'
            f'"trade_id":{trade.id},"timestamp":"{rfc3339(_time_us(trade))}"}}'
        )

    @staticmethod
    def make_quota() -> Quota:
        return Quota(12, 10.0)  # about 1 a second

    def admit(self, request: web.Request) -> Mapping[str, str]:
        """Counted per pair."""
        if not self.quota.spend(key=request.query.get("pair", request.path)):
            raise Refusal(self.rate_limit_reply())
        return {}

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/0/public/Time": self._server_time,
            self.listing_path: self._asset_pairs,
            "/0/public/Trades": self._trades,
            "/0/public/OHLC": self._ohlc,
        }

    def rate_limit_reply(self) -> Reply:
        return _refusal("EGeneral:Too many requests")

    def unknown(self) -> Reply:
        return _refusal("EGeneral:Unknown method")

    def _server_time(self, _: web.Request) -> Reply:
        seconds = self.market.server_time_us() // 1_000_000
        return _answer({"unixtime": seconds, "rfc1123": formatdate(seconds, usegmt=True)})

    def _asset_pairs(self, request: web.Request) -> Reply:
        wanted = [self._symbol(Params(request, _invalid))] if "pair" in request.query else self.market.listed
        return _answer({_key(self.market.series(symbol)): self._listing(symbol) for symbol in wanted})

    def _trades(self, request: web.Request) -> Reply:
        """Trades after ``since`` (ns), oldest first; without it the newest."""
        params = Params(request, _invalid)
        symbol, since_ns = self._symbol(params), params.number("since")
        count = params.limit("count", default=_LARGEST_TRADES, largest=_LARGEST_TRADES)
        tape, now_us = self.market.tape, self.market.happened_us()
        if since_ns is None:
            found = tape.latest(symbol, count, now_us)
        else:
            upwards = tape.upwards(symbol, since_ns // 1_000_000, now_us)
            found = list(islice((trade for trade in upwards if _time_us(trade) * 1000 > since_ns), count))
        series = self.market.series(symbol)
        last_ns = _time_us(found[-1]) * 1000 if found else since_ns or 0
        return _answer({_key(series): [_row(series, trade) for trade in found], "last": str(last_ns)})

    def _ohlc(self, request: web.Request) -> Reply:
        """The newest 720 and the running one, oldest first; ``since`` only drops older ones."""
        params = Params(request, _invalid)
        symbol, minutes = self._symbol(params), params.number("interval") or 1
        interval_us = minutes * 60_000_000
        if minutes not in _MINUTES or not self.market.candles.serves(interval_us):
            raise Refusal(_invalid("interval"))
        since_s = params.number("since")
        candles = self.market.candles.newest(
            symbol,
            interval_us,
            start_us=None,
            end_us=None,
            limit=_NEWEST_CANDLES + 1,
            now_us=self.market.happened_us(),
            running=True,
        )
        series = self.market.series(symbol)
        rows = [
            _ohlc_row(series, candle) for candle in candles if since_s is None or candle.open_us // 1_000_000 > since_s
        ]
        closed = [candle.open_us // 1_000_000 for candle in candles if candle.closed]
        return _answer({_key(series): rows, "last": closed[-1] if closed else 0})

    def symbol_of(self, request: web.Request) -> str | None:
        return self._find_pair(request.query.get("pair", ""))

    def _symbol(self, params: Params) -> str:
        symbol = self._find_pair(params.text("pair"))
        if symbol is None:
            raise Refusal(_refusal("EQuery:Unknown asset pair"))
        return symbol

    def _find_pair(self, pair: str) -> str | None:
        """By the pair's own key, its other name or its name with a slash."""
        for symbol, native in self.natives.items():
            series = self.market.series(symbol)
            if symbol in self.market and pair in {native, _key(series), _altname(series)}:
                return symbol
        return None

    def _listing(self, symbol: str) -> dict[str, object]:
        series = self.market.series(symbol)
        base, quote = _rest_name(series.base), _rest_name(series.quote)
        return {
            "altname": _altname(series),
            "wsname": f"{base}/{quote}",
            "aclass_base": "currency",
            "base": _asset(base),
            "aclass_quote": "currency",
            "quote": _asset(quote),
            "pair_decimals": series.price_decimals,
            "lot_decimals": 8,
            "ordermin": fixed(1, series.size_decimals),
            "tick_size": fixed(1, series.price_decimals, 1),
            "status": "online",
        }


def _trades(kind: str, texts: list[str]) -> str:
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(texts)}]}}'


def _time_us(trade: TapeTrade) -> int:
    """Trades of one millisecond differ in their microseconds, because REST pages by time."""
    return trade.time_ms * 1000 + trade.place


def _answer(result: dict[str, object]) -> Reply:
    return Reply({"error": [], "result": result})


def _refusal(message: str) -> Reply:
    return Reply({"error": [message]})


def _invalid(name: str) -> Reply:
    return _refusal(f"EGeneral:Invalid arguments:{name}")


def _rest_name(currency: str) -> str:
    return _REST_NAMES.get(currency, currency)


def _asset(currency: str) -> str:
    """Kraken's oldest assets have a letter for their class."""
    if currency in _NATIONAL:
        return f"Z{currency}"
    return f"X{currency}" if currency in {"XBT", "ETH", "LTC", "XDG", "XRP"} else currency


def _altname(series: RecordedSeries) -> str:
    return _rest_name(series.base) + _rest_name(series.quote)


def _key(series: RecordedSeries) -> str:
    """The pair's key in an answer: ``XXBTZUSD``, but ``XBTUSDT``."""
    base, quote = _rest_name(series.base), _rest_name(series.quote)
    return _asset(base) + _asset(quote) if _asset(base) != base and _asset(quote) != quote else base + quote


def _row(series: RecordedSeries, trade: TapeTrade) -> list[object]:
    price, size = fixed(trade.price, series.price_decimals, 5), fixed(trade.size, series.size_decimals)
    side, order = ("s", "m") if trade.buyer_is_maker else ("b", "l")
    return [price, size, _time_us(trade) / 1_000_000, side, order, "", trade.id]


def _ohlc_row(series: RecordedSeries, candle: SimulatedCandle) -> list[object]:
    figures = candle.figures
    prices = [fixed(ticks, series.price_decimals, 1) for ticks in figures[:4]]
    average = fixed(figures.quote_volume // figures.volume, series.price_decimals, 1) if figures.volume else "0.0"
    volume = fixed(figures.volume, series.size_decimals)
    return [candle.open_us // 1_000_000, *prices, average, volume, candle.records]
