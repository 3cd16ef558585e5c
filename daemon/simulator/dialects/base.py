"""The port of a venue's dialect: the messages of a connection, the frames of trades, and the REST answers.

A dialect does no I/O: ``sockets.py`` and ``rest.py`` hold the connections.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
from aiohttp import web

from daemon.simulator.candles import SimulatedCandle
from daemon.simulator.market import Market
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.number_format import trimmed
from daemon.simulator.tape import TapeTrade
from daemon.simulator.truth import TradeIds


class SentTrade(NamedTuple):
    """A trade that is sent: ``text`` is the venue's JSON object for it."""

    symbol: str
    trade: TapeTrade
    text: str


class CloseConnection(Exception):
    """The exchange closes the connection with this code instead of answering."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class StreamSession(ABC):
    """The protocol state of one connection. ``symbols``: its subscriptions, in Binance's spelling."""

    def __init__(self) -> None:
        self.symbols: dict[str, None] = {}

    def update(self, symbol: str, *, subscribed: bool) -> None:
        """Adds or removes a subscription."""
        if subscribed:
            self.symbols[symbol] = None
        else:
            self.symbols.pop(symbol, None)

    def opened(self) -> Sequence[str]:
        """The frames that are sent before any request."""
        return ()

    @abstractmethod
    def answer(self, text: str | bytes) -> Sequence[str]:
        """The frames that answer one frame of the client; raises CloseConnection."""

    @abstractmethod
    def frames(self, records: Sequence[SentTrade]) -> Iterable[str]:
        """The frames that carry these trades, all of them of ``symbols``."""

    def each_second(self) -> Sequence[str]:
        """Heartbeats, where the venue has them; called once a wall second."""
        return ()

    def shutdown_frames(self) -> Sequence[str]:
        """The announcement of a planned close; none where the venue closes without one."""
        return ()


class IdleTimeout(NamedTuple):
    """A connection without any frame for ``after_s`` wall seconds is closed with ``code``."""

    after_s: float
    code: int


class Reply(NamedTuple):
    """``body`` is encoded as JSON; bytes are sent unchanged."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """A REST request is refused with ``reply``, in the venue's format."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply.body))
        self.reply = reply


Handler = Callable[[web.Request], Reply]


class Params:
    """A request's query; ``invalid`` makes the refusal of an invalid parameter from its name."""

    def __init__(self, request: web.Request, invalid: Callable[[str], Reply]) -> None:
        self._query = request.query
        self._invalid = invalid

    def text(self, name: str) -> str:
        """A required parameter."""
        if not (value := self._query.get(name, "")):
            raise Refusal(self._invalid(name))
        return value

    def number(self, name: str) -> int | None:
        try:
            return number(self._query.get(name))
        except ValueError as error:
            raise Refusal(self._invalid(name)) from error

    def limit(self, name: str, *, default: int, largest: int) -> int:
        """The number of rows, at most ``largest``."""
        value = self.number(name)
        if value == 0:
            raise Refusal(self._invalid(name))
        return default if value is None else min(value, largest)


class Quota:
    """The request quota in each window of wall time, per key; all clients share one address."""

    def __init__(self, limit: float, window_s: float) -> None:
        self.limit = limit
        self._window_s = window_s
        self._window = -1
        self._used: dict[str, float] = {}

    def spend(self, weight: float = 1, key: str = "") -> bool:
        """Whether the request is within the limit; refused requests count, too."""
        window = int(time.monotonic() // self._window_s)
        if window != self._window:
            self._window, self._used = window, {}
        self._used[key] = self._used.get(key, 0) + weight
        return self._used[key] <= self.limit

    def used(self, key: str = "") -> float:
        return self._used.get(key, 0)

    def seconds_left(self) -> int:
        """Whole seconds until the window is over, at least one."""
        return int(self._window_s - time.monotonic() % self._window_s) + 1


class Dialect(ABC):
    """One venue's protocol over a market.

    paths: of the websocket; hold_us: market time for which the venue gathers trades before it sends them.
    ping_every_s, pong_within_s: protocol pings of the server, None for none. first_request_within_s: a connection
    without a request is closed after this time. idle_timeout: when a connection without frames is closed.
    listing_path: of the symbol list by REST. symbol_parameter: the parameter, in the path or the query, that names the
    symbol of a REST request. id_field: of the stream's trade, None where ids are no numbers.
    """

    name: ClassVar[str]
    listing_path: ClassVar[str]
    symbol_parameter: ClassVar[str]
    id_field: ClassVar[str | None]
    paths: ClassVar[tuple[str, ...]] = ("/",)
    hold_us: ClassVar[int] = 0
    ping_every_s: ClassVar[float | None] = None
    pong_within_s: ClassVar[float | None] = None
    first_request_within_s: ClassVar[float | None] = None
    idle_timeout: ClassVar[IdleTimeout | None] = None

    def __init__(self, market: Market) -> None:
        self.market = market
        self.natives = {symbol: self.native(market.series(symbol)) for symbol in market.symbols}
        self.symbols = {native: symbol for symbol, native in self.natives.items()}
        self.quota = self.make_quota()

    # Names and numbers

    @staticmethod
    @abstractmethod
    def native(series: RecordedSeries) -> str:
        """The symbol as the venue's websocket spells it."""

    def find(self, native: str) -> str | None:
        """The symbol with this native name; None for one that the venue does not have."""
        symbol = self.symbols.get(native)
        return symbol if symbol in self.market else None

    def trade_ids(self, symbol: str, trade: TapeTrade) -> TradeIds:
        """The venue's ids of a trade, and the number of trades that it counts; by default the tape's id for one."""
        del symbol
        return TradeIds(trade.id, trade.id)

    # The stream

    def open_session(self, path: str, query: str) -> StreamSession | None:
        """A session for the opened address; None for an unknown one."""
        del query
        return self.new_session() if path.rstrip("/") in {known.rstrip("/") for known in ("/", *self.paths)} else None

    @abstractmethod
    def new_session(self) -> StreamSession:
        """A session without subscriptions."""

    @abstractmethod
    def record(self, symbol: str, trade: TapeTrade) -> str:
        """A trade in the stream's format, without its envelope."""

    # REST

    @staticmethod
    @abstractmethod
    def make_quota() -> Quota: ...

    @abstractmethod
    def routes(self) -> Mapping[str, Handler]:
        """The handlers by path; ``{name}`` in a path is a parameter."""

    def symbol_of(self, request: web.Request) -> str | None:
        """The symbol that a REST request is about."""
        name = self.symbol_parameter
        return self.find(request.match_info.get(name) or request.query.get(name, ""))

    def admit(self, request: web.Request) -> Mapping[str, str]:
        """Counts a request; headers for its answer. Raises Refusal past the limit."""
        del request
        if not self.quota.spend():
            raise Refusal(self.rate_limit_reply())
        return {}

    @abstractmethod
    def rate_limit_reply(self) -> Reply:
        """The venue's error for too many requests."""

    def region_reply(self, status: int) -> Reply:
        """The answer to a client in a region that the venue does not serve."""
        body = b"<html><body><h1>Access denied</h1>This service is not available in your country.</body></html>"
        return Reply(body, status, {"Content-Type": "text/html"})

    @abstractmethod
    def unknown(self) -> Reply:
        """The answer to a path that does not exist."""


def trimmed_candle(series: RecordedSeries, candle: SimulatedCandle) -> list[str]:
    """Open time in milliseconds, open, high, low, close, volume and quote volume, as Bybit and OKX write them."""
    figures = candle.figures
    prices = [trimmed(ticks, series.price_decimals) for ticks in figures[:4]]
    volume, quote = trimmed(figures.volume, series.size_decimals), trimmed(figures.quote_volume, series.quote_decimals)
    return [str(candle.open_us // 1000), *prices, volume, quote]


def parsed(text: str | bytes) -> Any:
    """A client's frame as JSON; None where it is no JSON object."""
    try:
        request = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return request if isinstance(request, dict) else None


def encoded(message: object) -> str:
    return msgspec.json.encode(message).decode()


def strings(value: object) -> list[str] | None:
    """A list of texts, None for anything else."""
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else None


def number(text: str | None) -> int | None:
    """A query parameter as a whole number; None where it is missing. Raises ValueError for anything else."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise ValueError(text)
    return int(text)
