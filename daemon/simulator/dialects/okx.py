"""OKX: trades merged by taker order and price on the websocket, the single ones on REST, and pings as plain text.

An id on the websocket is the last of ``count`` trades. A fixed pattern decides how many trades each record merges, so
that every id is known without counting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice, takewhile
from typing import Any, ClassVar, NamedTuple

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
    trimmed_candle,
)
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.number_format import trimmed
from daemon.simulator.tape import TapeTrade
from daemon.simulator.truth import TradeIds

_CONN_ID = "a4d3ae55"
# Trades in the first record, the second, and so on; the pattern repeats.
_COUNTS = (1, 3, 1, 2, 1, 1, 5, 1)
_LAST_IDS = tuple(accumulate(_COUNTS))
_IDS_PER_ROUND = _LAST_IDS[-1]
_BARS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1H": 60, "2H": 120, "4H": 240}
# Without the suffix these begin by the clock of Hong Kong, and are not simulated.
_BARS |= {"6Hutc": 360, "12Hutc": 720, "1Dutc": 1440}
_NEWEST_CANDLES = 1_440
_DEFAULT_PAGE = 100
_LARGEST_NEWEST, _LARGEST_OLDER, _LARGEST_CANDLES = 500, 100, 300
_HISTORY_US = 92 * 86_400_000_000


class SingleTrade(NamedTuple):
    """One of the trades that a record merges; size in units of ``10**-size_decimals``."""

    id: int
    size: int
    size_decimals: int
    merged: TapeTrade


class OkxSession(StreamSession):
    """Every argument is acknowledged separately, then the instrument's last trade is repeated."""

    def __init__(self, dialect: Okx) -> None:
        super().__init__()
        self._dialect = dialect

    def answer(self, text: str | bytes) -> Sequence[str]:
        if text in {"ping", b"ping"}:
            return ("pong",)
        request = parsed(text)
        op, args = (request.get("op"), request.get("args")) if request is not None else (None, None)
        if op not in {"subscribe", "unsubscribe"} or not isinstance(args, list) or request is None:
            return (self._error({}, "60012", f"Invalid request: {text!s}"),)
        echo = {"id": request["id"]} if isinstance(request.get("id"), str) else {}
        return [frame for arg in args for frame in self._perform(op, arg, echo)]

    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        return (self._push(record.symbol, record.text) for record in records)

    def shutdown_frames(self) -> Sequence[str]:
        message = "The connection will soon be closed for a service upgrade. Please reconnect."
        return (encoded({"event": "notice", "code": "64008", "msg": message, "connId": _CONN_ID}),)

    def _perform(self, op: str, arg: Any, echo: dict[str, str]) -> Iterator[str]:
        instrument = arg.get("instId") if isinstance(arg, dict) else None
        symbol = self._dialect.find(instrument) if isinstance(instrument, str) else None
        if symbol is None or arg.get("channel") != "trades":
            channel = arg.get("channel") if isinstance(arg, dict) else arg
            message = (
                f"Wrong URL or channel:{channel},instId:{instrument} doesn't exist. Please use the correct URL, "
                "channel and parameters referring to API document."
            )
            yield self._error(echo, "60018", message)
            return
        yield encoded({**echo, "event": op, "arg": {"channel": "trades", "instId": instrument}, "connId": _CONN_ID})
        self.update(symbol, subscribed=op == "subscribe")
        if op == "unsubscribe":
            return
        for trade in self._dialect.market.last_sent(symbol, 1):
            yield self._push(symbol, self._dialect.record(symbol, trade))

    def _push(self, symbol: str, text: str) -> str:
        return f'{{"arg":{{"channel":"trades","instId":"{self._dialect.natives[symbol]}"}},"data":[{text}]}}'

    @staticmethod
    def _error(echo: dict[str, str], code: str, message: str) -> str:
        return encoded({**echo, "event": "error", "code": code, "msg": message, "connId": _CONN_ID})


class Okx(Dialect):
    """See ``Dialect``."""

    name: ClassVar[str] = "okx"
    listing_path: ClassVar[str] = "/api/v5/public/instruments"
    symbol_parameter: ClassVar[str] = "instId"
    id_field: ClassVar[str | None] = "tradeId"
    paths: ClassVar[tuple[str, ...]] = ("/ws/v5/public",)
    idle_timeout: ClassVar[IdleTimeout | None] = IdleTimeout(30.0, 4004)

    @staticmethod
    def native(series: RecordedSeries) -> str:
        return f"{series.base}-{series.quote}"

    def trade_ids(self, symbol: str, trade: TapeTrade) -> TradeIds:  # noqa: ARG002  # every instrument counts alike
        last, count = _last_id(trade.id), _count(trade.id)
        return TradeIds(last - count + 1, last, count)

    def new_session(self) -> StreamSession:
        return OkxSession(self)

    def record(self, symbol: str, trade: TapeTrade) -> str:
        series = self.market.series(symbol)
        price, size = trimmed(trade.price, series.price_decimals), trimmed(trade.size, series.size_decimals)
        return (
            f'{{"instId":"{self.natives[symbol]}","tradeId":"{_last_id(trade.id)}","px":"{price}","sz":"{size}",'
            f'"side":"{_side(trade)}","ts":"{trade.time_ms}","count":"{_count(trade.id)}","source":"0",'
            f'"seqId":{trade.id}}}'
        )

    @staticmethod
    def make_quota() -> Quota:
        return Quota(20, 2.0)

    def admit(self, request: web.Request) -> Mapping[str, str]:
        """Counted per endpoint; the newest trades have a larger allowance."""
        weight = 0.2 if request.path == "/api/v5/market/trades" else 1
        if not self.quota.spend(weight, request.path):
            raise Refusal(self.rate_limit_reply())
        return {}

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/api/v5/public/time": lambda _: _answer([{"ts": str(self.market.server_time_us() // 1000)}]),
            self.listing_path: self._instruments,
            "/api/v5/market/trades": self._newest_trades,
            "/api/v5/market/history-trades": self._older_trades,
            "/api/v5/market/candles": self._candles,
            "/api/v5/market/history-candles": self._older_candles,
        }

    def rate_limit_reply(self) -> Reply:
        return _refusal("50011", "Too Many Requests", 429)

    def unknown(self) -> Reply:
        return _refusal("50404", "Not Found", 404)

    def _instruments(self, request: web.Request) -> Reply:
        params = Params(request, _invalid)
        if params.text("instType") != "SPOT":
            return _answer([])
        wanted = [self._symbol(params)] if "instId" in request.query else self.market.listed
        return _answer([self._listing(symbol) for symbol in wanted])

    def _newest_trades(self, request: web.Request) -> Reply:
        params = Params(request, _invalid)
        symbol, limit = self._symbol(params), params.limit("limit", default=_DEFAULT_PAGE, largest=_LARGEST_NEWEST)
        return self._page(symbol, islice(self._singles(symbol, None), limit))

    def _older_trades(self, request: web.Request) -> Reply:
        """Newest first: below an id, or before a time."""
        params = Params(request, _invalid)
        symbol, limit = self._symbol(params), params.limit("limit", default=_DEFAULT_PAGE, largest=_LARGEST_OLDER)
        after, before = params.number("after"), params.number("before")
        kind = params.number("type") or 1
        if kind == 2:
            found = (
                single
                for single in self._singles(symbol, None, after)
                if after is None or single.merged.time_ms < after
            )
        elif kind == 1:
            found = (single for single in self._singles(symbol, after) if before is None or single.id > before)
        else:
            raise Refusal(_invalid("type"))
        return self._page(symbol, islice(found, limit))

    def _singles(self, symbol: str, below_id: int | None, before_ms: int | None = None) -> Iterator[SingleTrade]:
        """Single trades with an id below ``below_id``, newest first, three months back."""
        now_us = self.market.happened_us()
        below = None if below_id is None else _merged_id(below_id - 1) + 1
        until_us = now_us if before_ms is None else min(now_us, before_ms * 1000)
        merged = self.market.tape.downwards(symbol, until_us, below_id=below)
        decimals = self.market.series(symbol).size_decimals
        for trade in takewhile(lambda trade: trade.time_ms * 1000 >= now_us - _HISTORY_US, merged):
            for single in _split(trade, decimals):
                if below_id is None or single.id < below_id:
                    yield single

    def _page(self, symbol: str, found: Iterable[SingleTrade]) -> Reply:
        decimals, native = self.market.series(symbol).price_decimals, self.natives[symbol]
        rows: list[object] = [
            {
                "instId": native,
                "side": _side(single.merged),
                "sz": trimmed(single.size, single.size_decimals),
                "px": trimmed(single.merged.price, decimals),
                "source": "0",
                "tradeId": str(single.id),
                "ts": str(single.merged.time_ms),
            }
            for single in found
        ]
        return _answer(rows)

    def _candles(self, request: web.Request) -> Reply:
        return self._candle_rows(request, newest=True)

    def _older_candles(self, request: web.Request) -> Reply:
        return self._candle_rows(request, newest=False)

    def _candle_rows(self, request: web.Request, *, newest: bool) -> Reply:
        """Newest first, opened before ``after`` and later than ``before``; only the newest hold the running one."""
        params = Params(request, _invalid)
        symbol, interval_us = self._symbol(params), _BARS.get(request.query.get("bar", "1m"), 0) * 60_000_000
        if not interval_us or not self.market.candles.serves(interval_us):
            raise Refusal(_invalid("bar"))
        after, before = params.number("after"), params.number("before")
        now_us = self.market.happened_us()
        start_us = 0 if before is None else before * 1000 + 1
        if newest:
            start_us = max(start_us, now_us - _NEWEST_CANDLES * interval_us)
        candles = self.market.candles.newest(
            symbol,
            interval_us,
            start_us=start_us,
            end_us=None if after is None else after * 1000 - 1,
            limit=params.limit("limit", default=_DEFAULT_PAGE, largest=_LARGEST_CANDLES),
            now_us=now_us,
            running=newest,
        )
        series = self.market.series(symbol)
        return _answer([_row(series, candle) for candle in reversed(candles)])

    def _symbol(self, params: Params) -> str:
        symbol = self.find(params.text("instId"))
        if symbol is None:
            raise Refusal(_refusal("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.", 200))
        return symbol

    def _listing(self, symbol: str) -> dict[str, str]:
        series = self.market.series(symbol)
        return {
            "instType": "SPOT",
            "instId": self.natives[symbol],
            "baseCcy": series.base,
            "quoteCcy": series.quote,
            "tickSz": trimmed(1, series.price_decimals),
            "lotSz": trimmed(1, series.size_decimals),
            "minSz": trimmed(1, series.size_decimals),
            "ctVal": "",
            "state": "live",
        }


def _count(merged_id: int) -> int:
    """The number of trades in the record with this number, from 1."""
    return _COUNTS[(merged_id - 1) % len(_COUNTS)]


def _last_id(merged_id: int) -> int:
    rounds, place = divmod(merged_id - 1, len(_COUNTS))
    return rounds * _IDS_PER_ROUND + _LAST_IDS[place]


def _merged_id(single_id: int) -> int:
    """The record that holds a trade."""
    rounds, rest = divmod(single_id - 1, _IDS_PER_ROUND)
    return rounds * len(_COUNTS) + bisect_left(_LAST_IDS, rest + 1) + 1


def _split(trade: TapeTrade, size_decimals: int) -> list[SingleTrade]:
    """A record's trades, newest first; their sizes add up to its own, with one more decimal where needed."""
    count, last = _count(trade.id), _last_id(trade.id)
    finer = int(trade.size < count)
    size = trade.size * 10**finer
    share = size // count
    sizes = [size - share * (count - 1), *[share] * (count - 1)]
    return [SingleTrade(last - at, sizes[at], size_decimals + finer, trade) for at in range(count)]


def _side(trade: TapeTrade) -> str:
    return "sell" if trade.buyer_is_maker else "buy"


def _row(series: RecordedSeries, candle: SimulatedCandle) -> list[str]:
    row = trimmed_candle(series, candle)
    return [*row, row[-1], str(int(candle.closed))]


def _answer(data: Sequence[object]) -> Reply:
    return Reply({"code": "0", "msg": "", "data": data})


def _refusal(code: str, message: str, status: int) -> Reply:
    return Reply({"code": code, "msg": message, "data": []}, status)


def _invalid(name: str) -> Reply:
    return _refusal("51000", f"Parameter {name} error", 400)
