"""Kraken: trades from the second websocket interface, trades and candles from REST.

Trade ids have no holes per pair. One frame may hold trades of several symbols, and every symbol of a request is
acknowledged separately. Bitcoin and dogecoin are XBT and XDG in REST, BTC and DOGE on the websocket. Trades are paged
by time in nanoseconds, back to the first trade; only the newest 720 candles are served.
Source: docs.kraken.com, websocket-v2 and rest-api.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

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
from daemon.exchanges.batches import merge_messages, sort_by_id
from daemon.exchanges.candles import Reject, accepted_rows, finished_bars, refuse
from daemon.exchanges.decoding import MALFORMED, as_microseconds, decode_body, set_times
from daemon.exchanges.kraken_wire import (
    AnswerStatus,
    AssetPairsAnswer,
    CandleRow,
    CandlesAnswer,
    Envelope,
    StreamTrade,
    Subscribed,
    TimeAnswer,
    TradesAnswer,
    TradesFrame,
)
from daemon.exchanges.record_decoder import RecordDecoder
from daemon.exchanges.symbol_map import SymbolMap
from features.market import Bar, Trade
from features.symbols import is_symbol

_STREAM_PATH = "/v2"
_CHANNEL = "trade"
_OTHER_CHANNELS = frozenset(
    {"status", "heartbeat", "ticker", "book", "level3", "ohlc", "instrument", "balances", "executions"}
)
_REST_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_NAMES = {rest: name for name, rest in _REST_NAMES.items()}

_MINUTE_US = 60_000_000
_INTERVALS_MIN = (1, 5, 15, 30, 60, 240, 1440)
_TRADES_PER_PAGE = 1000
# REST times are rounded, and it is not documented whether ``since`` is inclusive.
_MARGIN_US = 1000

_RATE_LIMITED = ("EAPI:Rate limit exceeded", "EGeneral:Too many requests", "EService:Throttled")
_TRANSIENT = ("EService:", "EGeneral:Internal error", "EGeneral:Temporary lockout")

_HEARTBEAT = Heartbeat()

_decode_trades = msgspec.json.Decoder(TradesFrame).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode


class Kraken(RecordDecoder):
    """Kraken's implementation of ``Venue``. Raises ConfigError for symbols that are not BASE-QUOTE or spelt alike."""

    name = "kraken"
    default_ws_url = "wss://ws.kraken.com"
    default_rest_url = "https://api.kraken.com"
    limits = Limits(
        streams_per_connection=200,
        symbols_per_request=25,
        messages_per_second=2,  # undocumented; about 50 at once were refused
        connection_lifetime_s=inf,
        connections_per_5_minutes=60,  # 150 in 10 minutes
        rest_burst=1,  # about 1 a second, of trades and candles for each pair
        rest_per_s=0.9,
        candles_per_page=720,
        candles_reach=720,
    )
    ids = Ids.CONTIGUOUS
    newest_first = False
    decimals = 8
    time_resolution_us = 1_000_000
    opens_at_previous_close = False
    keep_alive: KeepAlive | None = KeepAlive('{"method":"ping"}', 20)  # it closes after a minute of silence
    to_record_time = staticmethod(as_microseconds)

    def __init__(self, symbols: Sequence[str] | None) -> None:
        self._symbol_map = SymbolMap(self.name, symbols, native=lambda base, quote: f"{base}/{quote}", spell=_spell)
        self._find = self._symbol_map.find

    def native(self, symbol: str) -> str:
        base, slash, quote = self._symbol_map.native(symbol).partition("/")
        return _REST_NAMES.get(base, base) + _REST_NAMES.get(quote, quote) if slash else base

    def stream_url(self, ws_url: str) -> str:
        return f"{ws_url.rstrip('/').removesuffix(_STREAM_PATH)}{_STREAM_PATH}"

    def opening(self) -> Sequence[str]:
        return ()

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        """With a snapshot of 50 trades, which closes short gaps; its documented default differs between pages."""
        pairs = [self._symbol_map.native(symbol) for symbol in symbols]
        parameters = {"channel": _CHANNEL, "symbol": pairs, "snapshot": True}
        return msgspec.json.encode({"method": "subscribe", "params": parameters, "req_id": request_id}).decode()

    def list_subscriptions(self, request_id: int) -> None:
        """None: Kraken has no such request; it acknowledges every symbol."""

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Tries trades first, as nearly every frame holds them; one typed pass detects and decodes them."""
        try:
            records = _decode_trades(frame).data
        except MALFORMED:
            return self._read_other(frame)
        if not records:
            return _HEARTBEAT
        set_times(records)
        pair = records[0].symbol
        if len(records) > 1:
            for record in records:
                if record.symbol != pair:
                    return self._split_by_pair(records)
            sort_by_id(records)
        return TradesMessage(self._find(pair) or self._symbol_map.require(pair), records)

    def _split_by_pair(self, records: Sequence[StreamTrade]) -> ParsedFrame:
        """Messages of a frame with trades of several pairs, which is rare."""
        found: dict[str, list[StreamTrade]] = {}
        for record in records:
            found.setdefault(record.symbol, []).append(record)
        for pair_records in found.values():
            sort_by_id(pair_records)
        return merge_messages([TradesMessage(self._symbol_map.require(pair), found[pair]) for pair in found])

    @staticmethod
    def to_trades(records: Sequence[StreamTrade]) -> list[Trade]:
        return [Trade(each.trade_id, each.time, each.price, each.qty, each.side == "buy") for each in records]

    def _read_other(self, frame: bytes | str) -> ParsedFrame:
        try:
            return self._classify(frame, _decode_envelope(frame))
        except MALFORMED as error:
            raise DataFault(f"kraken frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        if envelope.channel == _CHANNEL:
            _decode_trades(frame)  # raises the error of the frame
        if envelope.channel in _OTHER_CHANNELS or envelope.method in {"ping", "pong", "unsubscribe"}:
            return _HEARTBEAT
        if envelope.error is not None or envelope.success is False:
            symbols = () if envelope.symbol is None else self._symbol_map.watched([envelope.symbol])
            return Refused(envelope.req_id, envelope.error or "no reason given", symbols)
        if envelope.method == "subscribe" and envelope.success and envelope.result is not None:
            return self._acknowledged(envelope.req_id, envelope.result)
        raise DataFault("kraken frame is neither a channel's nor an answer")

    def _acknowledged(self, request_id: int | None, subscribed: Subscribed) -> ParsedFrame:
        """An acknowledgement of another channel or of a symbol that is not watched is ignored."""
        symbols = self._symbol_map.watched([subscribed.symbol])
        if subscribed.channel != _CHANNEL or not symbols:
            return _HEARTBEAT
        return Acknowledged(request_id, symbols)

    def trades(self, wanted: TradesWanted) -> RestRequest:
        return self._trades(wanted.symbol, max(wanted.from_time_us - _MARGIN_US, 0) * 1000)

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """Each page begins with the last trade of the page before, whether ``since`` is inclusive or not."""
        answer = decode_body(self.name, body, TradesAnswer)
        trades = [row.to_trade() for row in answer.rows]
        if any(left.trade_id >= right.trade_id for left, right in pairwise(trades)):
            raise DataFault("kraken answered with trades out of order")
        last_id = trades[-1].trade_id if trades else None
        if last_id is not None and wanted.until_id is not None and last_id >= wanted.until_id:
            return TradesPage(trades)
        if len(trades) >= _TRADES_PER_PAGE:
            return TradesPage(trades, self._following(answer.last_ns - 1, wanted, request))
        if last_id is not None and wanted.from_id is not None and last_id < wanted.from_id - 1:
            # An outdated answer would wrongly prove that nothing was traded since.
            raise DataFault(f"kraken calls {last_id} the newest {wanted.symbol}; {wanted.from_id - 1} is known")
        return TradesPage(trades)

    def _following(self, since_ns: int, wanted: TradesWanted, request: RestRequest) -> RestRequest:
        if since_ns <= int(request.query.get("since", -1)):
            raise DataFault(f"kraken's trades of {wanted.symbol} do not advance beyond {since_ns} ns")
        return self._trades(wanted.symbol, since_ns)

    def latest_trade(self, symbol: str) -> RestRequest:
        """Without a time Kraken returns the newest page."""
        native = self.native(symbol)
        return RestRequest("/0/public/Trades", {"pair": native}, pace=native)

    def last_trade_before(self, symbol: str, time_us: int) -> None:
        """None: ids are contiguous, so that the first trade from a time on gives the id before it."""

    def _trades(self, symbol: str, since_ns: int) -> RestRequest:
        native = self.native(symbol)
        query: dict[str, str | int] = {"pair": native, "since": since_ns, "count": _TRADES_PER_PAGE}
        return RestRequest("/0/public/Trades", query, pace=native)

    def candle_interval(self, interval_us: int) -> int | None:
        lengths = (minutes * _MINUTE_US for minutes in _INTERVALS_MIN)
        return max((length for length in lengths if interval_us % length == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:  # noqa: ARG002  # Kraken takes no end
        """The candles from the one before the first wanted candle up to the newest, beyond ``end_us``."""
        native = self.native(symbol)
        since_s = max(start_us - interval_us, 0) // 1_000_000
        query: dict[str, str | int] = {"pair": native, "interval": interval_us // _MINUTE_US, "since": since_s}
        return RestRequest("/0/public/OHLC", query, pace=native)

    def decode_candles(
        self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int, reject: Reject = refuse
    ) -> list[Bar]:
        """The last row is of the running interval; ``finished_bars`` skips it."""
        rows = decode_body(self.name, body, CandlesAnswer).rows
        candles = accepted_rows(rows, CandleRow, CandleRow.to_candle, venue=self.name, reject=reject)
        return finished_bars(
            candles, venue=self.name, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us, reject=reject
        )

    def instruments(self) -> RestRequest:
        return RestRequest("/0/public/AssetPairs", {})

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        pairs = decode_body(self.name, body, AssetPairsAnswer).result.values()
        states = {_spell(pair.wsname): "TRADING" if pair.status == "online" else pair.status for pair in pairs}
        return {symbol: state for symbol, state in states.items() if symbol is not None}

    def server_time(self) -> RestRequest:
        return RestRequest("/0/public/Time", {})

    def decode_server_time(self, body: bytes, date: str) -> int:  # noqa: ARG002  # the body is as precise
        """The middle of the second in the answer."""
        return decode_body(self.name, body, TimeAnswer).result.unixtime * 1_000_000 + 500_000

    def check_answer(self, body: bytes) -> None:
        """Kraken reports errors with HTTP 200; texts that begin with a W are warnings."""
        errors = [text for text in decode_body(self.name, body, AnswerStatus).error if not text.startswith("W")]
        if not errors:
            return
        text = f"kraken: {', '.join(errors)}"
        if any(error.startswith(_RATE_LIMITED) for error in errors):
            raise RateLimited(text, retry_after_s=5)
        if any(error.startswith(_TRANSIENT) for error in errors):
            raise Retryable(text)
        raise DataFault(text)


def _spell(native: str) -> str | None:
    """``BTC/USD``, or the ``XBT/USD`` of REST, as ``BTC-USD``; None for names of tokenised stocks."""
    symbol = "-".join(_NAMES.get(part, part) for part in native.split("/"))
    return symbol if is_symbol(symbol) else None
