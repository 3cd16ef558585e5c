"""Bybit spot and linear: publicTrade with several trades a message, pings by message, and REST of the newest trades.

Ids prove nothing: on spot they ascend with holes, on linear they are UUIDs. A candle opens at the close before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
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
    trimmed_candle,
)
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.number_format import trimmed
from daemon.simulator.reconstruct import BarFigures
from daemon.simulator.tape import TapeTrade
from daemon.simulator.truth import TradeIds

_TOPIC = "publicTrade."
_TRADES_PER_FRAME = 1_024
_CONN_ID = "2324d924-aa4d-45b0-a858-7b8be29ab52b"
_FIRST_ID = 2_280_000_000_000_000_000
_INTERVALS = {str(minutes): minutes * 60_000_000 for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)}
_INTERVALS["D"] = 86_400_000_000
_DEFAULT_CANDLES, _LARGEST_CANDLES = 200, 1_000


class BybitSession(StreamSession):
    """A request is acknowledged once; one wrong topic refuses the whole request."""

    def __init__(self, dialect: Bybit) -> None:
        super().__init__()
        self._dialect = dialect

    def answer(self, text: str | bytes) -> Sequence[str]:
        request = parsed(text)
        if request is None:
            return (self._result("", {}, success=False, message="error:Invalid JSON"),)
        op = request.get("op")
        if op == "ping":
            return (self._result("ping", request, success=True, message="pong"),)
        if op not in {"subscribe", "unsubscribe"}:
            return (self._result(str(op), request, success=False, message=f"error:unknown op {op}"),)
        topics = strings(request.get("args"))
        if problem := self._problem(topics):
            return (self._result(op, request, success=False, message=problem),)
        for topic in topics or ():
            self.update(self._dialect.symbols[topic.removeprefix(_TOPIC)], subscribed=op == "subscribe")
        return (self._result(op, request, success=True, message=op if self._dialect.repeats_ids else ""),)

    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        """One message for each symbol, in the order of its trades."""
        found: dict[str, list[str]] = {}
        for record in records:
            found.setdefault(record.symbol, []).append(record.text)
        now_ms = self._dialect.market.now_us() // 1000
        for symbol, texts in found.items():
            for at in range(0, len(texts), _TRADES_PER_FRAME):
                data = ",".join(texts[at : at + _TRADES_PER_FRAME])
                topic = _TOPIC + self._dialect.natives[symbol]
                yield f'{{"topic":"{topic}","type":"snapshot","ts":{now_ms},"data":[{data}]}}'

    def _problem(self, topics: list[str] | None) -> str | None:
        if not topics:
            return "error:args is empty"
        if self._dialect.most_topics is not None and len(topics) > self._dialect.most_topics:
            return f"args size >{self._dialect.most_topics}"
        for topic in topics:
            if not topic.startswith(_TOPIC) or self._dialect.find(topic.removeprefix(_TOPIC)) is None:
                return f"Invalid topic: {topic}"
        return None

    def _result(self, op: str, request: Mapping[str, Any], *, success: bool, message: str) -> str:
        """Spot repeats the request's id where it succeeds, linear never."""
        result: dict[str, object] = {"success": success, "ret_msg": message, "conn_id": _CONN_ID}
        if not self._dialect.repeats_ids:
            result["req_id"] = ""
        elif success and "req_id" in request:
            result["req_id"] = str(request["req_id"])
        return encoded(result | {"op": op})


class Bybit(Dialect):
    """Spot; see ``Dialect``. most_topics: in one request. repeats_ids: whether answers repeat the request id."""

    name: ClassVar[str] = "bybit"
    listing_path: ClassVar[str] = "/v5/market/instruments-info"
    symbol_parameter: ClassVar[str] = "symbol"
    id_field: ClassVar[str | None] = "i"
    category: ClassVar[str] = "spot"
    paths: ClassVar[tuple[str, ...]] = ("/v5/public/spot",)
    idle_timeout: ClassVar[IdleTimeout | None] = IdleTimeout(600.0, 1000)
    most_topics: ClassVar[int | None] = 10
    repeats_ids: ClassVar[bool] = True
    _default_trades: ClassVar[int] = 60
    _largest_trades: ClassVar[int] = 60

    @staticmethod
    def native(series: RecordedSeries) -> str:
        return series.symbol

    def trade_ids(self, symbol: str, trade: TapeTrade) -> TradeIds:
        number = int(self.trade_id(symbol, trade))
        return TradeIds(number, number)

    def trade_id(self, symbol: str, trade: TapeTrade) -> str:  # noqa: ARG002  # linear's need it
        """Ascending in steps of 1 to 13."""
        return str(_FIRST_ID + 7 * trade.id + trade.id * 2_654_435_761 % 4_294_967_296 % 7)

    def new_session(self) -> StreamSession:
        return BybitSession(self)

    def record(self, symbol: str, trade: TapeTrade) -> str:
        series = self.market.series(symbol)
        price, size = trimmed(trade.price, series.price_decimals), trimmed(trade.size, series.size_decimals)
        return (
            f'{{"i":"{self.trade_id(symbol, trade)}","T":{trade.time_ms},"p":"{price}","v":"{size}",'
            f'"S":"{_side(trade)}","seq":{trade.id},"s":"{self.natives[symbol]}","BT":false,"RPI":false}}'
        )

    @staticmethod
    def make_quota() -> Quota:
        return Quota(600, 5.0)

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/v5/market/time": self._time,
            self.listing_path: self._instruments,
            "/v5/market/recent-trade": self._recent_trades,
            "/v5/market/kline": self._klines,
        }

    def rate_limit_reply(self) -> Reply:
        return self._refusal(10006, "Too many visits. Exceeded the API Rate Limit.")

    def unknown(self) -> Reply:
        return Reply(b"404 page not found", 404, {"Content-Type": "text/plain"})

    def _time(self, _: web.Request) -> Reply:
        now_us = self.market.server_time_us()
        return self._answer({"timeSecond": str(now_us // 1_000_000), "timeNano": str(now_us * 1000)})

    def _instruments(self, request: web.Request) -> Reply:
        """All on one page."""
        params = Params(request, self._invalid)
        self._check_category(params)
        wanted = [self._symbol(params)] if "symbol" in request.query else self.market.listed
        listed = [self._listing(symbol) for symbol in wanted]
        return self._answer({"category": self.category, "list": listed, "nextPageCursor": ""})

    def _recent_trades(self, request: web.Request) -> Reply:
        params = Params(request, self._invalid)
        self._check_category(params)
        symbol = self._symbol(params)
        limit = params.limit("limit", default=self._default_trades, largest=self._largest_trades)
        series = self.market.series(symbol)
        rows = [
            {
                "execId": self.trade_id(symbol, trade),
                "symbol": self.natives[symbol],
                "price": trimmed(trade.price, series.price_decimals),
                "size": trimmed(trade.size, series.size_decimals),
                "side": _side(trade),
                "time": str(trade.time_ms),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(trade.id),
            }
            for trade in islice(self.market.tape.downwards(symbol, self.market.happened_us()), limit)
        ]
        return self._answer({"category": self.category, "list": rows})

    def _klines(self, request: web.Request) -> Reply:
        """Newest first, the running one included."""
        params = Params(request, self._invalid)
        self._check_category(params)
        symbol, interval_us = self._symbol(params), _INTERVALS.get(params.text("interval"))
        if interval_us is None or not self.market.candles.serves(interval_us):
            raise Refusal(self._invalid("interval"))
        start_ms, end_ms = params.number("start"), params.number("end")
        limit = params.limit("limit", default=_DEFAULT_CANDLES, largest=_LARGEST_CANDLES)
        candles = self.market.candles.newest(
            symbol,
            interval_us,
            # One more candle: the first result opens at its close.
            start_us=None if start_ms is None else start_ms * 1000 - interval_us,
            end_us=None if end_ms is None else end_ms * 1000,
            limit=limit + 1,
            now_us=self.market.happened_us(),
            running=True,
        )
        wanted_us = 0 if start_ms is None else start_ms * 1000
        linked = [candle for candle in _linked(candles) if candle.open_us >= wanted_us][-limit:]
        series = self.market.series(symbol)
        rows = [trimmed_candle(series, candle) for candle in reversed(linked)]
        return self._answer({"category": self.category, "symbol": self.natives[symbol], "list": rows})

    def _check_category(self, params: Params) -> None:
        if params.text("category") != self.category:
            raise Refusal(self._invalid("category"))

    def _symbol(self, params: Params) -> str:
        symbol = self.find(params.text("symbol"))
        if symbol is None:
            raise Refusal(self._refusal(10001, "params error: Symbol Invalid"))
        return symbol

    def _listing(self, symbol: str) -> dict[str, object]:
        series = self.market.series(symbol)
        return {
            "symbol": self.natives[symbol],
            "baseCoin": series.base,
            "quoteCoin": series.quote,
            "status": "Trading",
            "lotSizeFilter": {"basePrecision": trimmed(1, series.size_decimals)},
            "priceFilter": {"tickSize": trimmed(1, series.price_decimals)},
        }

    def _answer(self, result: dict[str, object]) -> Reply:
        return self._reply(0, "OK", result)

    def _refusal(self, code: int, message: str) -> Reply:
        """Errors have HTTP status 200."""
        return self._reply(code, message, {})

    def _invalid(self, name: str) -> Reply:
        return self._refusal(10001, f"params error: {name} invalid")

    def _reply(self, code: int, message: str, result: dict[str, object]) -> Reply:
        stamp = self.market.server_time_us() // 1000
        return Reply({"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": stamp})


class BybitLinear(Bybit):
    """Linear contracts; sizes are in the base currency."""

    name: ClassVar[str] = "bybit_linear"
    category: ClassVar[str] = "linear"
    paths: ClassVar[tuple[str, ...]] = ("/v5/public/linear",)
    id_field: ClassVar[str | None] = None
    most_topics: ClassVar[int | None] = None
    repeats_ids: ClassVar[bool] = False
    _default_trades: ClassVar[int] = 500
    _largest_trades: ClassVar[int] = 1_000

    def trade_ids(self, symbol: str, trade: TapeTrade) -> TradeIds:  # noqa: ARG002  # UUIDs are no numbers
        return TradeIds(None, None)

    def trade_id(self, symbol: str, trade: TapeTrade) -> str:
        digits = blake2b(f"{symbol} {trade.id}".encode(), digest_size=16).hexdigest()
        return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def _listing(self, symbol: str) -> dict[str, object]:
        extra = {"contractType": "LinearPerpetual", "settleCoin": self.market.series(symbol).quote}
        return super()._listing(symbol) | extra


def _side(trade: TapeTrade) -> str:
    return "Sell" if trade.buyer_is_maker else "Buy"


def _linked(candles: Sequence[SimulatedCandle]) -> Iterator[SimulatedCandle]:
    """Candles opened at the previous close, which their high and low include; the first one unchanged."""
    before: int | None = None
    for candle in candles:
        figures: BarFigures = candle.figures
        before = figures.open if before is None else before
        high, low = max(figures.high, before), min(figures.low, before)
        yield candle._replace(figures=figures._replace(open=before, high=high, low=low))
        before = figures.close
