"""Bybit spot and linear (USDT and USDC perpetuals): trades from the public stream, trades and candles from REST.

Trade ids cannot prove completeness: on spot they ascend with holes, on linear they are UUIDs. REST returns only the
newest 60 trades of a spot pair and the newest 1,000 of a contract. A candle opens at the close of the one before.

Block trades and trades against retail price improvement orders, which the stream marks, are counted like any other.
Whether candles include them is not documented; without such trades, stream and candles agreed exactly.
Source: bybit-exchange/docs, docs/v5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from operator import attrgetter
from typing import Any
from zlib import crc32

import msgspec

from daemon.errors import DataFault, RateLimited, Retryable
from daemon.exchanges.base import (
    Acknowledged,
    Heartbeat,
    Ids,
    KeepAlive,
    Limits,
    ParsedFrame,
    Refused,
    RestRequest,
    TradesMessage,
    TradesPage,
    TradesWanted,
)
from daemon.exchanges.bybit_wire import (
    AnswerStatus,
    CandleRow,
    CandlesAnswer,
    Envelope,
    InstrumentsAnswer,
    Record,
    TimeAnswer,
    TradesAnswer,
    TradesPush,
    Uuid,
)
from daemon.exchanges.candles import Reject, accepted_rows, finished_bars, refuse
from daemon.exchanges.decoding import MALFORMED, Id, as_milliseconds, decode_body, request_number
from daemon.exchanges.record_decoder import RecordDecoder
from daemon.exchanges.symbol_map import SymbolMap
from features.market import Bar, Trade
from features.symbols import spell

_TOPIC = "publicTrade."
_STREAM_PATH = "/v5/public/"

_MINUTE_US = 60_000_000
_INTERVALS = {minutes * _MINUTE_US: str(minutes) for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)}
_INTERVALS[1440 * _MINUTE_US] = "D"

_RATE_LIMITED = frozenset({10006, 10018})
_TRANSIENT = frozenset({10000, 10016})  # timeout, internal error

_HEARTBEAT = Heartbeat()
_by_time = attrgetter("time")

_decode_envelope = msgspec.json.Decoder(Envelope).decode


def _limits(symbols_per_request: int) -> Limits:
    return Limits(
        streams_per_connection=500,  # 21,000 characters of topics, of which the longest have about 40
        symbols_per_request=symbols_per_request,
        messages_per_second=5,
        connection_lifetime_s=inf,
        connections_per_5_minutes=500,
        rest_burst=100,  # 600 requests in 5 seconds
        rest_per_s=90,
        candles_per_page=1000,
    )


class Bybit(RecordDecoder):
    """Bybit's implementation of ``Venue`` for spot. Raises ConfigError as ``SymbolMap`` does."""

    name = "bybit"
    category = "spot"
    default_ws_url = "wss://stream.bybit.com"
    default_rest_url = "https://api.bybit.com"
    limits = _limits(symbols_per_request=10)
    ids = Ids.ORDERED
    newest_first = True
    decimals = 8  # turnovers have eight digits, sizes fewer
    opens_at_previous_close = True
    keep_alive: KeepAlive | None = KeepAlive('{"op":"ping"}', 20)
    to_record_time = staticmethod(as_milliseconds)

    _trades_per_page = 60
    _decode_push: Callable[[bytes | str], TradesPush[Any]] = msgspec.json.Decoder(TradesPush[Id], strict=False).decode
    _trades_answer: type[TradesAnswer[Any]] = TradesAnswer[Id]

    def __init__(self, symbols: Sequence[str] | None) -> None:
        self._symbol_map = SymbolMap(self.name, symbols, native=lambda base, quote: base + quote, spell=spell)
        self._topics: dict[str, tuple[str, str]] = {}  # native name and symbol of each received topic

    @staticmethod
    def to_trades(records: Sequence[Record[Any]]) -> list[Trade]:
        return [Trade(each.trade_id, each.time * 1000, each.p, each.v, each.S == "Buy") for each in records]

    @staticmethod
    def _number(trade_id: Any) -> int:
        """A trade id as a number below 2**63."""
        return int(trade_id)

    def native(self, symbol: str) -> str:
        return self._symbol_map.native(symbol)

    def stream_url(self, ws_url: str) -> str:
        path = _STREAM_PATH + self.category
        return f"{ws_url.rstrip('/').removesuffix(path)}{path}"

    def opening(self) -> Sequence[str]:
        return ()

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        topics = [_TOPIC + self.native(symbol) for symbol in symbols]
        return msgspec.json.encode({"req_id": str(request_id), "op": "subscribe", "args": topics}).decode()

    def list_subscriptions(self, request_id: int) -> None:
        """None: Bybit has no such request."""

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Tries trades first, as nearly every frame holds them. The type "snapshot" of a push has no meaning."""
        try:
            push = self._decode_push(frame)
        except MALFORMED:
            return self._read_other(frame)
        known, records = self._topics.get(push.topic), push.data
        if known is None:
            if not push.topic.startswith(_TOPIC):
                return _HEARTBEAT
            native = push.topic[len(_TOPIC) :]
            known = self._topics[push.topic] = native, self._symbol_map.require(native)
        native, symbol = known
        first_time, is_one_time = records[0].time, True
        for record in records:
            if record.s != native:
                raise DataFault(f"{self.name} sent a trade of {record.s!r} among those of {native!r}")
            if record.time != first_time:
                is_one_time = False
        if not is_one_time:
            records.sort(key=_by_time)
        return TradesMessage(symbol, records)

    def _read_other(self, frame: bytes | str) -> ParsedFrame:
        try:
            return self._classify(frame, _decode_envelope(frame))
        except MALFORMED as error:
            raise DataFault(f"{self.name} frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        if envelope.topic is not None:
            if envelope.topic.startswith(_TOPIC):
                self._decode_push(frame)  # raises the error of the frame
            return _HEARTBEAT
        if envelope.op is None or envelope.success is None:
            raise DataFault(f"{self.name} frame is neither a topic's push nor an answer")
        if envelope.op != "subscribe":
            return _HEARTBEAT
        # Linear repeats no request id.
        request_id = request_number(envelope.req_id)
        if envelope.success:
            return Acknowledged(request_id)
        return Refused(request_id, envelope.ret_msg)

    def trades(self, wanted: TradesWanted) -> RestRequest:
        """The newest trades, as Bybit serves no other range."""
        return self._recent_trades(wanted.symbol, self._trades_per_page)

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """Complete only if the page reaches a trade before the wanted range, or holds all trades of the pair."""
        records = decode_body(self.name, body, self._trades_answer).result.records
        native = self.native(wanted.symbol)
        if any(record.symbol != native for record in records):
            raise DataFault(f"{self.name} was asked for {native} and answered with another symbol")
        # The order is not documented. It is newest first in practice, which orders equal times and sequences.
        if records and records[0].time >= records[-1].time:
            records.reverse()
        records.sort(key=attrgetter("time", "seq"))
        trades = [
            Trade(self._number(each.exec_id), each.time * 1000, each.price, each.size, each.side == "Buy")
            for each in records
        ]
        holds_all_trades = len(trades) < int(request.query["limit"])
        return TradesPage(trades, complete=holds_all_trades or trades[0].time_us < wanted.from_time_us)

    def latest_trade(self, symbol: str) -> RestRequest:
        return self._recent_trades(symbol, 1)

    def last_trade_before(self, symbol: str, time_us: int) -> None:
        """None: Bybit has no such request."""

    def _recent_trades(self, symbol: str, limit: int) -> RestRequest:
        query: dict[str, str | int] = {"category": self.category, "symbol": self.native(symbol), "limit": limit}
        return RestRequest("/v5/market/recent-trade", query)

    def candle_interval(self, interval_us: int) -> int | None:
        return max((length for length in _INTERVALS if interval_us % length == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        query: dict[str, str | int] = {
            "category": self.category,
            "symbol": self.native(symbol),
            "interval": _INTERVALS[interval_us],
            "start": -(-start_us // 1000),
            "end": -(-end_us // 1000) - 1,  # both ends are inclusive
            "limit": self.limits.candles_per_page,
        }
        return RestRequest("/v5/market/kline", query)

    def decode_candles(
        self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int, reject: Reject = refuse
    ) -> list[Bar]:
        """High and low include the open, which is the previous close and may not have been traded."""
        rows = decode_body(self.name, body, CandlesAnswer).result.rows
        candles = accepted_rows(rows, CandleRow, CandleRow.to_candle, venue=self.name, reject=reject)
        return finished_bars(
            candles, venue=self.name, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us, reject=reject
        )

    def instruments(self) -> RestRequest:
        return RestRequest("/v5/market/instruments-info", {"category": self.category, "limit": 1000})

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        """Skips contracts with a delivery date, which share base and quote with the perpetual, but not its name."""
        return {
            f"{each.base}-{each.quote}": "TRADING" if each.status == "Trading" else each.status
            for each in decode_body(self.name, body, InstrumentsAnswer).result.instruments
            if each.symbol == each.base + each.quote
        }

    def server_time(self) -> RestRequest:
        return RestRequest("/v5/market/time", {})

    def decode_server_time(self, body: bytes, date: str) -> int:  # noqa: ARG002  # the body has nanoseconds
        return decode_body(self.name, body, TimeAnswer).result.time_ns // 1000

    def check_answer(self, body: bytes) -> None:
        answer = decode_body(self.name, body, AnswerStatus)
        if answer.code == 0:
            return
        text = f"{self.name}: {answer.message} (code {answer.code})"
        if answer.code in _RATE_LIMITED:
            raise RateLimited(text, retry_after_s=5)
        if answer.code in _TRANSIENT:
            raise Retryable(text)
        raise DataFault(text)


class BybitLinear(Bybit):
    """Bybit's linear contracts; sizes are in the base currency."""

    name = "bybit_linear"
    category = "linear"
    limits = _limits(symbols_per_request=100)
    ids = Ids.IDENTITY

    _trades_per_page = 1000
    _decode_push = msgspec.json.Decoder(TradesPush[Uuid], strict=False).decode
    _trades_answer = TradesAnswer[Uuid]

    @staticmethod
    def to_trades(records: Sequence[Record[Any]]) -> list[Trade]:
        return [Trade(_identity(each.trade_id), each.time * 1000, each.p, each.v, each.S == "Buy") for each in records]

    @staticmethod
    def _number(trade_id: Any) -> int:
        return _identity(trade_id)


def _identity(text: str) -> int:
    """The first 63 bits of a UUID, which distinguish trades; any other text of its length is hashed to 63 bits."""
    try:
        number = int(text.replace("-", "")[:16], 16)
    except ValueError:
        octets = text.encode(errors="surrogatepass")
        number = crc32(octets[:16]) << 32 | crc32(octets[16:])
    return number >> 1
