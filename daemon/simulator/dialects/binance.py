"""Binance spot: the combined and the bare stream, aggregate trades, klines with taker-buy volume."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from daemon.simulator.dialects.base import (
    CloseConnection,
    Dialect,
    Handler,
    Quota,
    Refusal,
    Reply,
    SentTrade,
    StreamSession,
    strings,
)
from daemon.simulator.dialects.binance_rest import BinanceRest, refusal, trade_fields
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.tape import TapeTrade
from daemon.simulator.truth import TradeIds

MAX_STREAMS = 1_024
MESSAGES_PER_SECOND = 5
WEIGHT_PER_MINUTE = 6_000
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_TRADES = "@aggTrade"


class _Refused(Exception):
    """A request that Binance would answer with an error frame."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class BinanceSession(StreamSession):
    """The subscriptions of a connection, and whether its frames are wrapped with the stream's name."""

    def __init__(self, dialect: Binance, *, combined: bool, streams: Sequence[str]) -> None:
        super().__init__()
        self.combined = combined
        self.streams: dict[str, None] = {}
        self._dialect = dialect
        self._asked_s: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)
        self._set_streams(dict.fromkeys(streams))

    def answer(self, text: str | bytes) -> Sequence[str]:
        if self._over_message_limit():
            raise CloseConnection(1008, "Too many requests")
        request_id: object = None
        try:
            request = _parsed(text)
            request_id = request.get("id")
            reply: dict[str, object] = {"result": self._perform(request), "id": request_id}
        except _Refused as refused:
            reply = {"code": refused.code, "msg": str(refused)}
            reply |= {} if request_id is None else {"id": request_id}
        return (msgspec.json.encode(reply).decode(),)

    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        if self.combined:
            return [f'{{"stream":"{record.symbol.lower()}{_TRADES}","data":{record.text}}}' for record in records]
        return [record.text for record in records]

    def shutdown_frames(self) -> Sequence[str]:
        event = f'{{"e":"serverShutdown","E":{self._dialect.market.now_us() // 1000}}}'
        return (f'{{"stream":"!serverShutdown","data":{event}}}' if self.combined else event,)

    def _over_message_limit(self) -> bool:
        """Whether this is more than the fifth message within one second."""
        now_s = time.monotonic()
        full = len(self._asked_s) == MESSAGES_PER_SECOND and now_s - self._asked_s[0] < 1.0
        self._asked_s.append(now_s)
        return full

    def _perform(self, request: dict[str, Any]) -> object:
        method, params = request["method"], request.get("params", [])
        match method:
            case "LIST_SUBSCRIPTIONS":
                return list(self.streams)
            case "SUBSCRIBE":
                self._subscribe(_stream_names(params))
            case "UNSUBSCRIBE":
                leaving = set(_stream_names(params))
                self._set_streams({name: None for name in self.streams if name not in leaving})
            case "GET_PROPERTY":
                _combined_property(params, 1)
                return self.combined
            case "SET_PROPERTY":
                self.combined = _combined_property(params, 2)
        return None

    def _subscribe(self, names: list[str]) -> None:
        wanted = self.streams | dict.fromkeys(names)
        if len(wanted) > MAX_STREAMS:
            raise _Refused(2, f"Invalid request: too many streams, at most {MAX_STREAMS} a connection")
        self._set_streams(wanted)

    def _set_streams(self, streams: dict[str, None]) -> None:
        self.streams = streams
        natives = [name.removesuffix(_TRADES) for name in streams if name.endswith(_TRADES)]
        # Stream names are in lower case: others are acknowledged and silent.
        subscribed = [native.upper() for native in natives if native == native.lower()]
        self.symbols = {symbol: None for symbol in subscribed if symbol in self._dialect.market}


class Binance(Dialect):
    """See ``Dialect``."""

    name: ClassVar[str] = "binance"
    listing_path: ClassVar[str] = "/api/v3/exchangeInfo"
    symbol_parameter: ClassVar[str] = "symbol"
    id_field: ClassVar[str | None] = "a"
    ping_every_s: ClassVar[float | None] = 20.0
    pong_within_s: ClassVar[float | None] = 60.0

    @staticmethod
    def native(series: RecordedSeries) -> str:
        return series.symbol

    def trade_ids(self, symbol: str, trade: TapeTrade) -> TradeIds:  # noqa: ARG002  # ids are the tape's
        return TradeIds(trade.id, trade.id, trade.last_id - trade.first_id + 1)

    def open_session(self, path: str, query: str) -> StreamSession | None:
        """``/stream?streams=a/b`` and ``/ws/a/b``."""
        if path.rstrip("/") == "/stream":
            names = parse_qs(query).get("streams", [""])[0].split("/")
        elif path.rstrip("/") == "/ws" or path.startswith("/ws/"):
            names = path.removeprefix("/ws").split("/")
        else:
            return None
        return BinanceSession(self, combined=path.startswith("/stream"), streams=[name for name in names if name])

    def new_session(self) -> StreamSession:
        return BinanceSession(self, combined=True, streams=())

    def record(self, symbol: str, trade: TapeTrade) -> str:
        event = {"e": "aggTrade", "E": trade.time_ms, "s": symbol, **trade_fields(self.market.series(symbol), trade)}
        return msgspec.json.encode(event).decode()

    @staticmethod
    def make_quota() -> Quota:
        return Quota(WEIGHT_PER_MINUTE, 60.0)

    def routes(self) -> Mapping[str, Handler]:
        return BinanceRest(self.market, WEIGHT_PER_MINUTE).routes()

    def admit(self, request: web.Request) -> Mapping[str, str]:
        if not self.quota.spend(BinanceRest.weights.get(request.path, 1)):
            raise Refusal(self.rate_limit_reply())
        used = f"{self.quota.used():g}"
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    def rate_limit_reply(self) -> Reply:
        text = f"Too much request weight used; current limit is {self.quota.limit:g} request weight per 1 MINUTE."
        return refusal(-1003, text, status=429, headers={"Retry-After": str(self.quota.seconds_left())})

    def region_reply(self, status: int) -> Reply:
        text = "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use."
        return refusal(0, text, status=status)

    def unknown(self) -> Reply:
        return Reply(b"<html><body><h2>404 Not found</h2></body></html>", 404, {"Content-Type": "text/html"})


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Refused(3, "Invalid JSON: expected value at line 1 column 1") from error
    if not isinstance(request, dict) or "method" not in request:
        raise _Refused(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    if request["method"] not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Refused(2, f"Invalid request: unknown variant `{request['method']}`, expected one of {expected}")
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str | None):
        raise _Refused(2, "Invalid request: request ID must be an unsigned integer")
    return request


def _stream_names(params: object) -> list[str]:
    names = strings(params)
    if names is None:
        raise _Refused(2, "Invalid request: params must be a list of stream names")
    return names


def _combined_property(params: object, length: int) -> bool:
    if not isinstance(params, list) or len(params) != length:
        raise _Refused(2, "Invalid request: too many parameters")
    if params[0] != "combined":
        raise _Refused(0, "Unknown property")
    if not isinstance(params[-1], bool | str):
        raise _Refused(1, "Invalid value type: expected Boolean")
    return params[-1] is True
