"""Bitstamp: live trades from the stream, transactions and candles from REST.

Trade ids ascend over all pairs together, so those of one pair have holes and cannot prove completeness. REST returns
the transactions of the last minute, hour or day, with times in whole seconds. Bitstamp acknowledges subscriptions to
unknown pairs: check ``instruments`` first.
Source: www.bitstamp.net/websocket/v2 and /api.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
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
from daemon.exchanges.bitstamp_wire import (
    CandleRow,
    CandlesAnswer,
    Envelope,
    ErrorAnswer,
    ErrorFrame,
    LiveTrade,
    Pair,
    TradeFrame,
    Transaction,
)
from daemon.exchanges.candles import Reject, accepted_rows, finished_bars, refuse
from daemon.exchanges.decoding import MALFORMED, as_microseconds, decode_body, microseconds
from daemon.exchanges.record_decoder import RecordDecoder
from daemon.exchanges.symbol_map import SymbolMap
from features.market import Bar, Trade
from features.symbols import is_symbol, spell

_CHANNEL = "live_trades_"

_SECOND_US = 1_000_000
_STEPS_S = (60, 180, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_WINDOWS_US = {"minute": 60 * _SECOND_US, "hour": 3600 * _SECOND_US, "day": 86_400 * _SECOND_US}
# Allows for the round trip, the clock skew and times in whole seconds.
_MARGIN_US = 10 * _SECOND_US

_HEARTBEAT = Heartbeat()

_decode_trade = msgspec.json.Decoder(TradeFrame, strict=False).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_error = msgspec.json.Decoder(ErrorFrame).decode


def _native(base: str, quote: str) -> str:
    return (base + quote).lower()


class Bitstamp(RecordDecoder):
    """Bitstamp's implementation of ``Venue``. Raises ConfigError for symbols that are not BASE-QUOTE or spelt alike."""

    name = "bitstamp"
    default_ws_url = "wss://ws.bitstamp.net"
    default_rest_url = "https://www.bitstamp.net"
    limits = Limits(
        streams_per_connection=1024,
        symbols_per_request=1,
        messages_per_second=20,  # undocumented; recorders send as many at once
        connection_lifetime_s=90 * 86_400,
        connections_per_5_minutes=60,  # undocumented
        rest_burst=100,  # 400 a second, and 10,000 in 10 minutes
        rest_per_s=15,
        candles_per_page=1000,
    )
    ids = Ids.ORDERED
    newest_first = True
    decimals = 8
    time_resolution_us = 1_000_000
    opens_at_previous_close = False
    keep_alive: KeepAlive | None = KeepAlive('{"event":"bts:heartbeat"}', 20)
    to_record_time = staticmethod(as_microseconds)

    def __init__(self, symbols: Sequence[str] | None) -> None:
        self._symbol_map = SymbolMap(self.name, symbols, native=_native, spell=spell)
        self._channels: dict[str, str] = {}  # the symbol of each received channel

    def native(self, symbol: str) -> str:
        return self._symbol_map.native(symbol)

    def stream_url(self, ws_url: str) -> str:
        return ws_url.rstrip("/")

    def opening(self) -> Sequence[str]:
        return ()

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:  # noqa: ARG002  # Bitstamp repeats no request ids
        """One channel for each frame: Bitstamp rejects frames of 512 bytes or more."""
        (symbol,) = symbols
        data = {"channel": _CHANNEL + self.native(symbol)}
        return msgspec.json.encode({"event": "bts:subscribe", "data": data}).decode()

    def list_subscriptions(self, request_id: int) -> None:
        """None: Bitstamp has no such request."""

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Tries trades first, as nearly every frame holds them; one typed pass detects and decodes them."""
        try:
            push = _decode_trade(frame)
        except MALFORMED:
            return self._read_other(frame)
        symbol = self._channels.get(push.channel)
        if symbol is None:
            if not push.channel.startswith(_CHANNEL):
                return _HEARTBEAT
            symbol = self._channels[push.channel] = self._symbol_map.require(push.channel[len(_CHANNEL) :])
        return TradesMessage(symbol, [push.data])

    @staticmethod
    def to_trades(records: Sequence[LiveTrade]) -> list[Trade]:
        return [Trade(each.trade_id, each.time, each.price_str, each.amount_str, each.type == 0) for each in records]

    def _read_other(self, frame: bytes | str) -> ParsedFrame:
        try:
            return self._classify(frame, _decode_envelope(frame))
        except MALFORMED as error:
            raise DataFault(f"bitstamp frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        """Events other than trades: ``data`` and ``order_*`` are of order books and orders."""
        match envelope.event:
            case "bts:subscription_succeeded":
                symbols = self._symbols(envelope.channel)
                return Acknowledged(None, symbols) if symbols else _HEARTBEAT
            case "bts:error":
                return Refused(None, _decode_error(frame).reason, self._symbols(envelope.channel))
            case "bts:request_reconnect":
                return ClosingSoon("bts:request_reconnect")
            case "bts:heartbeat" | "bts:unsubscription_succeeded":
                return _HEARTBEAT
        if not envelope.channel:
            raise DataFault(f"bitstamp event {envelope.event!r} belongs to no channel")
        if envelope.event == "trade" and envelope.channel.startswith(_CHANNEL):
            _decode_trade(frame)  # raises the error of the frame
        return _HEARTBEAT

    def _symbols(self, channel: str) -> tuple[str, ...]:
        native = channel.removeprefix(_CHANNEL)
        return self._symbol_map.watched([native]) if native != channel else ()

    def trades(self, wanted: TradesWanted) -> RestRequest:
        """The shortest window that certainly holds the wanted trades, or the longest window."""
        age_us = wanted.asked_at_us - wanted.from_time_us + _MARGIN_US
        window = next((name for name, length_us in _WINDOWS_US.items() if age_us <= length_us), "day")
        return self._transactions(wanted.symbol, window)

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """A transaction's time is the start of its second, unless the wanted range begins within that second."""
        transactions = decode_body(self.name, body, list[Transaction])
        transactions.sort(key=attrgetter("date", "tid"))
        window_us = _WINDOWS_US[str(request.query["time"])]
        begins_us = wanted.asked_at_us + _MARGIN_US - window_us
        trades = [_to_trade(each, wanted.from_time_us) for each in transactions]
        older_seen = bool(trades) and trades[0].time_us < wanted.from_time_us
        return TradesPage(trades, complete=older_seen or begins_us <= wanted.from_time_us)

    def latest_trade(self, symbol: str) -> RestRequest:
        """The last hour: a day is a large answer. The page is empty for a pair without trades in this hour."""
        return self._transactions(symbol, "hour")

    def last_trade_before(self, symbol: str, time_us: int) -> None:
        """None: Bitstamp has no such request."""

    def _transactions(self, symbol: str, window: str) -> RestRequest:
        return RestRequest(f"/api/v2/transactions/{self.native(symbol)}/", {"time": window})

    def candle_interval(self, interval_us: int) -> int | None:
        lengths_us = (step_s * _SECOND_US for step_s in _STEPS_S)
        return max((length_us for length_us in lengths_us if interval_us % length_us == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        """Bitstamp gives ``end`` precedence over ``start``; with this limit both select the same candles."""
        first_s, count = -(-start_us // _SECOND_US), max(1, (end_us - start_us) // interval_us)
        step_s = interval_us // _SECOND_US
        query: dict[str, str | int] = {
            "step": step_s,
            "limit": count,
            "start": first_s,
            "end": first_s + (count - 1) * step_s,
            "exclude_current_candle": "true",
        }
        return RestRequest(f"/api/v2/ohlc/{self.native(symbol)}/", query)

    def decode_candles(
        self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int, reject: Reject = refuse
    ) -> list[Bar]:
        rows = decode_body(self.name, body, CandlesAnswer).data.ohlc
        candles = accepted_rows(rows, CandleRow, CandleRow.to_candle, venue=self.name, reject=reject)
        return finished_bars(
            candles, venue=self.name, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us, reject=reject
        )

    def instruments(self) -> RestRequest:
        return RestRequest("/api/v2/trading-pairs-info/", {})

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        """Skips perpetuals, whose names are not BASE/QUOTE."""
        pairs = {pair.name.replace("/", "-"): pair for pair in decode_body(self.name, body, list[Pair])}
        return {
            symbol: "TRADING" if pair.trading == "Enabled" else pair.trading
            for symbol, pair in pairs.items()
            if is_symbol(symbol) and _native(*symbol.split("-")) == pair.url_symbol
        }

    def server_time(self) -> RestRequest:
        """Any small request: only the Date header of the answer is used."""
        return RestRequest("/api/v2/ticker/btcusd/", {})

    def decode_server_time(self, body: bytes, date: str) -> int:  # noqa: ARG002  # no body has the time
        """The middle of the second in the Date header."""
        try:
            second = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        except ValueError as error:
            raise DataFault(f"bitstamp answered without a readable Date: {error}") from error
        return microseconds(second) + _SECOND_US // 2

    def check_answer(self, body: bytes) -> None:
        """Lists are good answers; an object may be an error, although most errors have an HTTP status."""
        if not body.lstrip().startswith(b"{"):
            return
        answer = decode_body(self.name, body, ErrorAnswer)
        if answer.status == "error" or answer.error:
            reason = bytes(answer.reason or answer.error).decode(errors="replace")
            raise DataFault(f"bitstamp: {reason} {answer.code}".rstrip())


def _to_trade(transaction: Transaction, from_time_us: int) -> Trade:
    second_us = transaction.date * _SECOND_US
    # The trade happened within this second: if the wanted range begins within it, the trade may belong to it.
    time_us = from_time_us if second_us < from_time_us < second_us + _SECOND_US else second_us
    return Trade(transaction.tid, time_us, transaction.price, transaction.amount, transaction.type == 0)
