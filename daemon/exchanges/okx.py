"""OKX: trades from the public stream, trades and candles from REST.

Trade ids have no holes per instrument. The stream merges the fills of one taker order at one price into one
record; its ``tradeId`` is the last of ``count`` ids, so the record before it ends at ``tradeId - count``. REST returns
single trades. The first push after a subscription repeats the newest trade, however old.
Source: www.okx.com/docs-v5.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import attrgetter

import msgspec

from daemon.errors import DataFault, RateLimited, Retryable
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
from daemon.exchanges.batches import sort_by_id
from daemon.exchanges.candles import Reject, accepted_rows, finished_bars, refuse
from daemon.exchanges.decoding import MALFORMED, as_milliseconds, decode_body, request_number
from daemon.exchanges.okx_wire import (
    AnswerStatus,
    CandleRow,
    CandlesAnswer,
    Envelope,
    InstrumentsAnswer,
    Record,
    TimeAnswer,
    TradesAnswer,
    TradesPush,
)
from daemon.exchanges.record_decoder import RecordDecoder
from daemon.exchanges.symbol_map import SymbolMap
from daemon.intervals import parse_interval
from features.market import Bar, Trade
from features.symbols import spell

_STREAM_PATH = "/ws/v5/public"
_CHANNEL = "trades"
_TRADES_CHANNELS = frozenset({_CHANNEL, "trades-all"})
_CLOSING_SOON = "64008"  # a minute ahead of a service upgrade

# Without "utc" candles of six hours or more are aligned to Hong Kong time.
_BARS = {
    parse_interval(name.removesuffix("utc").lower()): name
    for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6Hutc", "12Hutc", "1Dutc")
}
_SECOND_US = 1_000_000

_NEWEST = "/api/v5/market/trades"
_OLDER = "/api/v5/market/history-trades"
_NEWEST_PER_PAGE, _OLDER_PER_PAGE = 500, 100
_BY_ID, _BY_TIME = 1, 2
# OKX serves three months of trades. An empty page within two months means that there are no older trades.
_SURELY_SERVED_US = 60 * 86_400 * _SECOND_US

_RATE_LIMITED = "50011"
_TRANSIENT = frozenset({"50001", "50004", "50013", "50026"})  # unavailable, timeout, busy, system error

_HEARTBEAT = Heartbeat()
_PONGS = ("pong", b"pong")

_decode_push = msgspec.json.Decoder(TradesPush, strict=False).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode


class Okx(RecordDecoder):
    """OKX's implementation of ``Venue``. Raises ConfigError for symbols that are not BASE-QUOTE or spelt alike.

    Recordings may hold swaps, futures and options: they keep OKX's name, and sizes in contracts.
    """

    name = "okx"
    default_ws_url = "wss://ws.okx.com:8443"
    default_rest_url = "https://www.okx.com"
    limits = Limits(
        streams_per_connection=400,
        symbols_per_request=100,  # far below the 64 KB that one request may have
        messages_per_second=3,  # 480 subscriptions an hour are allowed; one connection needs a few
        connection_lifetime_s=inf,
        connections_per_5_minutes=300,  # 3 a second
        rest_burst=2,  # 20 in 2 seconds, per endpoint
        rest_per_s=9,
        candles_per_page=300,
    )
    ids = Ids.CONTIGUOUS
    newest_first = True
    decimals = 8  # the finest lot of any spot pair
    opens_at_previous_close = False
    merges = True
    keep_alive: KeepAlive | None = KeepAlive("ping", 20)  # OKX closes a connection after 30 quiet seconds
    to_record_time = staticmethod(as_milliseconds)

    def __init__(self, symbols: Sequence[str] | None) -> None:
        self._symbol_map = SymbolMap(self.name, symbols, native=lambda base, quote: f"{base}-{quote}", spell=spell)
        self._find = self._symbol_map.find

    def native(self, symbol: str) -> str:
        return self._symbol_map.native(symbol)

    def stream_url(self, ws_url: str) -> str:
        return f"{ws_url.rstrip('/').removesuffix(_STREAM_PATH)}{_STREAM_PATH}"

    def opening(self) -> Sequence[str]:
        return ()

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        args = [{"channel": _CHANNEL, "instId": self.native(symbol)} for symbol in symbols]
        return msgspec.json.encode({"id": str(request_id), "op": "subscribe", "args": args}).decode()

    def list_subscriptions(self, request_id: int) -> None:
        """None: OKX has no such request; it acknowledges every symbol."""

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Tries trades first, as nearly every frame holds them; one typed pass detects and decodes them."""
        try:
            push = _decode_push(frame)
        except MALFORMED:
            return self._read_other(frame)
        instrument, records = push.arg.inst_id, push.data
        symbol = self._find(instrument) or self._symbol_map.require(instrument)
        for record in records:
            if record.inst_id != instrument:
                raise DataFault(f"okx sent a trade of {record.inst_id!r} among those of {instrument!r}")
        if len(records) > 1:
            sort_by_id(records)
        return TradesMessage(symbol, records)

    @staticmethod
    def to_trades(records: Sequence[Record]) -> list[Trade]:
        return [record.to_trade() for record in records]

    def _read_other(self, frame: bytes | str) -> ParsedFrame:
        if frame in _PONGS:
            return _HEARTBEAT
        try:
            return self._classify(frame, _decode_envelope(frame))
        except MALFORMED as error:
            raise DataFault(f"okx frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        if envelope.event == "subscribe":
            return self._acknowledged(envelope)
        if envelope.event == "error":
            return Refused(request_number(envelope.id), f"{envelope.msg} (code {envelope.code})")
        if envelope.event == "notice" and envelope.code == _CLOSING_SOON:
            return ClosingSoon(envelope.msg)
        if envelope.event is not None:
            return _HEARTBEAT
        if envelope.arg is None or not envelope.data:
            raise DataFault("okx frame is neither an event nor a channel's push")
        if envelope.arg.channel in _TRADES_CHANNELS:
            _decode_push(frame)  # raises the error of the frame
        return _HEARTBEAT

    def _acknowledged(self, envelope: Envelope) -> ParsedFrame:
        if envelope.arg is None:
            raise DataFault("okx acknowledged a subscription without a channel")
        symbols = self._symbol_map.watched([envelope.arg.inst_id])
        if envelope.arg.channel not in _TRADES_CHANNELS or not symbols:
            return _HEARTBEAT
        return Acknowledged(request_number(envelope.id), symbols)

    def trades(self, wanted: TradesWanted) -> RestRequest:
        if wanted.until_id is not None:
            return self._older(wanted.symbol, wanted.until_id + 1)
        return self._newest(wanted.symbol, _NEWEST_PER_PAGE)

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """Only an empty page shows that there are no older trades, as pages may be shorter than documented."""
        records = decode_body(self.name, body, TradesAnswer).data
        records.sort(key=attrgetter("trade_id"))
        self._check_trades(records, wanted, request)
        trades = self.to_trades(records)
        if not trades:
            return TradesPage([], complete=self._is_complete(wanted, request))
        if _reached(trades[0], wanted) or request.query.get("type") == _BY_TIME:
            return TradesPage(trades)
        return TradesPage(trades, self._older(wanted.symbol, trades[0].trade_id))

    def _check_trades(self, records: Sequence[Record], wanted: TradesWanted, request: RestRequest) -> None:
        """Raises DataFault for an outdated answer, which would wrongly prove that nothing was traded since."""
        native = self.native(wanted.symbol)
        if any(record.inst_id != native for record in records):
            raise DataFault(f"okx was asked for {native} and answered with another instrument")
        if not records:
            return
        newest_id = records[-1].trade_id
        after = request.query.get("after") if request.query.get("type") == _BY_ID else None
        if after is not None and newest_id >= int(after):
            raise DataFault(f"okx was asked for trades of {native} before {after}, not {newest_id}")
        if request.path == _NEWEST and wanted.from_id is not None and newest_id < wanted.from_id - 1:
            raise DataFault(f"okx calls {newest_id} the newest trade of {native}; {wanted.from_id - 1} is known")

    def _is_complete(self, wanted: TradesWanted, request: RestRequest) -> bool:
        """Whether an empty page means that no older trade exists."""
        if wanted.from_id is not None:
            return False
        return request.path == _NEWEST or wanted.asked_at_us - wanted.from_time_us <= _SURELY_SERVED_US

    def latest_trade(self, symbol: str) -> RestRequest:
        return self._newest(symbol, 1)

    def last_trade_before(self, symbol: str, time_us: int) -> RestRequest:
        return self._request(_OLDER, instId=self.native(symbol), type=_BY_TIME, after=-(-time_us // 1000), limit=1)

    def _newest(self, symbol: str, limit: int) -> RestRequest:
        return self._request(_NEWEST, instId=self.native(symbol), limit=limit)

    def _older(self, symbol: str, trade_id: int) -> RestRequest:
        native = self.native(symbol)
        return self._request(_OLDER, instId=native, type=_BY_ID, after=trade_id, limit=_OLDER_PER_PAGE)

    def _request(self, path: str, weight: float = 1.0, **query: str | int) -> RestRequest:
        return RestRequest(path, query, weight=weight, pace=path)

    def candle_interval(self, interval_us: int) -> int | None:
        return max((length for length in _BARS if interval_us % length == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        """A single candle is requested from the recent candles: it is usually the newest, which the history may lack.

        Recent candles reach back 1,440 intervals; there are none for candles of one second.
        """
        is_single = end_us - start_us <= interval_us and interval_us > _SECOND_US
        path = "/api/v5/market/candles" if is_single else "/api/v5/market/history-candles"
        return self._request(
            path,
            instId=self.native(symbol),
            bar=_BARS[interval_us],
            after=-(-end_us // 1000),  # both are exclusive: older than ``after``, newer than ``before``
            before=-(-start_us // 1000) - 1,
            limit=self.limits.candles_per_page,
        )

    def decode_candles(
        self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int, reject: Reject = refuse
    ) -> list[Bar]:
        """Skips candles that OKX has not confirmed: they are not final, even after their interval."""
        rows = decode_body(self.name, body, CandlesAnswer).data
        read = accepted_rows(rows, CandleRow, lambda row: row, venue=self.name, reject=reject)
        confirmed = [row.to_candle() for row in read if row.confirm == "1"]
        return finished_bars(
            confirmed, venue=self.name, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us, reject=reject
        )

    def instruments(self) -> RestRequest:
        return self._request("/api/v5/public/instruments", instType="SPOT")

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        return {
            f"{each.base}-{each.quote}": "TRADING" if each.state == "live" else each.state
            for each in decode_body(self.name, body, InstrumentsAnswer).data
        }

    def server_time(self) -> RestRequest:
        return self._request("/api/v5/public/time", weight=2)  # half of what other endpoints allow

    def decode_server_time(self, body: bytes, date: str) -> int:  # noqa: ARG002  # the body has milliseconds
        return decode_body(self.name, body, TimeAnswer).data[0].ts * 1000

    def check_answer(self, body: bytes) -> None:
        answer = decode_body(self.name, body, AnswerStatus)
        if answer.code == "0":
            return
        text = f"okx: {answer.msg} (code {answer.code})"
        if answer.code == _RATE_LIMITED:
            raise RateLimited(text, retry_after_s=2)
        if answer.code in _TRANSIENT:
            raise Retryable(text)
        raise DataFault(text)


def _reached(oldest: Trade, wanted: TradesWanted) -> bool:
    """Whether pages down to ``oldest`` hold all wanted trades."""
    if wanted.from_id is not None:
        return oldest.trade_id <= wanted.from_id
    return oldest.time_us < wanted.from_time_us
