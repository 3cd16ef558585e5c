"""Binance spot: aggregate trades from the combined stream, aggregate trades and klines from REST.

An aggregate trade holds the fills of one taker order at one price. Its id ``a`` has no holes per symbol, and ``f..l``
are the ids of its raw trades, so that completeness can be proven and raw trades counted.
Source: binance/binance-spot-api-docs, web-socket-streams.md and rest-api.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from daemon.errors import DataFault
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Ids,
    KeepAlive,
    Limits,
    Listed,
    ParsedFrame,
    Refused,
    RestRequest,
    TradesMessage,
    TradesPage,
    TradesWanted,
)
from daemon.exchanges.binance_wire import (
    MOST_FILLS,
    AggregateTrade,
    CombinedTrade,
    Envelope,
    Event,
    ExchangeInfo,
    Kline,
    RawTrade,
    RestTrade,
    ServerTime,
)
from daemon.exchanges.candles import Reject, accepted_rows, refuse
from daemon.exchanges.decoding import MALFORMED, as_milliseconds, decode_body
from daemon.exchanges.record_decoder import RecordDecoder
from daemon.exchanges.symbol_map import SymbolMap
from daemon.intervals import parse_interval
from features.market import Bar, Completeness, Trade
from features.symbols import spell

# Up to a day: bar intervals divide a day.
_INTERVALS = {
    name: parse_interval(name)
    for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
}
_INTERVAL_NAMES = {length_us: name for name, length_us in _INTERVALS.items()}
_TRADES_PER_PAGE = 1000

_SERVER_SHUTDOWN = ClosingSoon("serverShutdown")
_HEARTBEAT = Heartbeat()

_decode_combined = msgspec.json.Decoder(CombinedTrade, strict=False).decode
_decode_raw = msgspec.json.Decoder(AggregateTrade, strict=False).decode
_decode_raw_trade = msgspec.json.Decoder(RawTrade, strict=False).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_event = msgspec.json.Decoder(Event).decode


class Binance(RecordDecoder):
    """Binance's implementation of ``Venue``. Raises ConfigError for symbols that are not BASE-QUOTE or spelt alike."""

    name = "binance"
    # The market-data-only hosts: no key, and they answer from regions that the trading hosts refuse.
    default_ws_url = "wss://data-stream.binance.vision"
    default_rest_url = "https://data-api.binance.vision"
    limits = Limits(
        streams_per_connection=1024,
        symbols_per_request=100,
        messages_per_second=5,
        connection_lifetime_s=24 * 3600,
        connections_per_5_minutes=300,
        rest_burst=3000,  # 6,000 of weight a minute
        rest_per_s=50,
        candles_per_page=1000,
    )
    ids = Ids.CONTIGUOUS
    newest_first = False
    decimals = 8
    opens_at_previous_close = False
    keep_alive: KeepAlive | None = None  # the server pings, and the websocket library answers
    to_record_time = staticmethod(as_milliseconds)

    def __init__(self, symbols: Sequence[str] | None) -> None:
        self._symbol_map = SymbolMap(self.name, symbols, native=lambda base, quote: base + quote, spell=spell)
        self._find = self._symbol_map.find

    def native(self, symbol: str) -> str:
        return self._symbol_map.native(symbol)

    def stream_url(self, ws_url: str) -> str:
        return f"{ws_url.rstrip('/').removesuffix('/stream')}/stream"

    def opening(self) -> Sequence[str]:
        return ()

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        streams = [f"{self.native(symbol).lower()}@aggTrade" for symbol in symbols]
        return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": request_id}).decode()

    def list_subscriptions(self, request_id: int) -> str:
        return msgspec.json.encode({"method": "LIST_SUBSCRIPTIONS", "id": request_id}).decode()

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Tries aggregate trades first, as nearly every frame holds one; one typed pass detects and decodes it."""
        try:
            trade = _decode_combined(frame).data
        except MALFORMED:
            return self._read_other(frame)
        symbol = self._find(trade.s)
        if symbol is None or not trade.f <= trade.l < trade.f + MOST_FILLS:
            return self._trades_message(trade)  # raises the error of the frame
        return TradesMessage(symbol, [trade])

    def _trades_message(self, trade: AggregateTrade) -> ParsedFrame:
        symbol = self._symbol_map.require(trade.s)
        if not trade.f <= trade.l < trade.f + MOST_FILLS:
            raise DataFault(f"binance aggTrade {trade.trade_id} holds raw trades {trade.f} to {trade.l}")
        return TradesMessage(symbol, [trade])

    @staticmethod
    def to_trades(records: Sequence[AggregateTrade]) -> list[Trade]:
        return [
            Trade(each.trade_id, each.time * 1000, each.p, each.q, not each.m, each.l - each.f + 1) for each in records
        ]

    def _read_other(self, frame: bytes | str) -> ParsedFrame:
        try:
            return self._classify(frame, _decode_envelope(frame))
        except MALFORMED as error:
            raise DataFault(f"binance frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        if envelope.stream is not None and envelope.data:
            return self._classify_stream(frame, envelope.stream, envelope.data)
        if envelope.e == "aggTrade":
            return self._trades_message(_decode_raw(frame))
        if envelope.e == "serverShutdown":
            return _SERVER_SHUTDOWN
        if envelope.e is not None or envelope.book is not None or envelope.ticker is not None:
            return _HEARTBEAT
        return self._classify_answer(envelope)

    def _classify_stream(self, frame: bytes | str, stream: str, data: msgspec.Raw) -> ParsedFrame:
        if stream.endswith("@aggTrade"):
            _decode_combined(frame)  # raises the error of the frame
        if stream == "!serverShutdown" and _decode_event(data).e == "serverShutdown":
            return _SERVER_SHUTDOWN
        return _HEARTBEAT

    def _classify_answer(self, envelope: Envelope) -> ParsedFrame:
        request_id = envelope.id if isinstance(envelope.id, int) else None
        if envelope.error is not None:
            return Refused(request_id, f"{envelope.error.msg} (code {envelope.error.code})")
        if envelope.code is not None:
            return Refused(request_id, f"{envelope.msg} (code {envelope.code})")
        if envelope.result is msgspec.UNSET or request_id is None:
            raise DataFault("binance frame is neither a stream's, nor an answer, nor an event")
        if envelope.result is None:
            return Acknowledged(request_id)
        natives = [stream.removesuffix("@aggTrade").upper() for stream in envelope.result]
        return Listed(request_id, self._symbol_map.watched(natives))

    def trades(self, wanted: TradesWanted) -> RestRequest:
        if wanted.from_id is not None:
            return self._aggregate_trades(wanted.symbol, fromId=wanted.from_id, limit=_TRADES_PER_PAGE)
        start_ms = -(-wanted.from_time_us // 1000)
        return self._aggregate_trades(wanted.symbol, startTime=start_ms, limit=_TRADES_PER_PAGE)

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """A record that Binance invalidated has a ``count`` and ``size`` of 0, see ``TradesPage``."""
        trades = [record.to_trade() for record in decode_body(self.name, body, list[RestTrade])]
        if any(left.trade_id >= right.trade_id for left, right in pairwise(trades)):
            raise DataFault("binance answered with aggTrades out of order")
        asked = request.query.get("fromId")
        if trades and isinstance(asked, int) and trades[0].trade_id < asked:
            raise DataFault(f"binance was asked for {wanted.symbol} from {asked}, not {trades[0].trade_id}")
        more = len(trades) == _TRADES_PER_PAGE and (wanted.until_id is None or trades[-1].trade_id < wanted.until_id)
        after = trades[-1].trade_id + 1 if trades else 0
        following = self._aggregate_trades(wanted.symbol, fromId=after, limit=_TRADES_PER_PAGE) if more else None
        return TradesPage(trades, following)

    def latest_trade(self, symbol: str) -> RestRequest:
        return self._aggregate_trades(symbol, limit=1)

    def last_trade_before(self, symbol: str, time_us: int) -> None:
        """None: ids are contiguous, so that the first trade from a time on gives the id before it."""

    def _aggregate_trades(self, symbol: str, **query: int) -> RestRequest:
        return RestRequest("/api/v3/aggTrades", {"symbol": self.native(symbol), **query}, weight=4)

    def candle_interval(self, interval_us: int) -> int | None:
        return max((length for length in _INTERVALS.values() if interval_us % length == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        query: dict[str, str | int] = {
            "symbol": self.native(symbol),
            "interval": _INTERVAL_NAMES[interval_us],
            "startTime": -(-start_us // 1000),
            "endTime": -(-end_us // 1000) - 1,  # both ends are inclusive at Binance
            "limit": self.limits.candles_per_page,
        }
        return RestRequest("/api/v3/klines", query, weight=2)

    def decode_candles(
        self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int, reject: Reject = refuse
    ) -> list[Bar]:
        """Skips klines off the interval grid: Binance has some from its outage of February 2018, off by 28 minutes."""

        def to_bar(kline: Kline) -> Bar | None:
            if not _is_on_grid(kline, interval_us) or kline.open_ms * 1000 + interval_us > known_at_us:
                return None
            return _to_bar(kline, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us)

        rows = decode_body(self.name, body, list[msgspec.Raw])
        bars = accepted_rows(rows, Kline, to_bar, venue=self.name, reject=reject)
        return [bar for bar in bars if bar is not None]

    def instruments(self) -> RestRequest:
        return RestRequest("/api/v3/exchangeInfo", {"showPermissionSets": "false"}, weight=20)

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        return {
            f"{symbol.base}-{symbol.quote}": symbol.status
            for symbol in decode_body(self.name, body, ExchangeInfo).symbols
        }

    def server_time(self) -> RestRequest:
        return RestRequest("/api/v3/time", {}, weight=1)

    def decode_server_time(self, body: bytes, date: str) -> int:  # noqa: ARG002  # the body has milliseconds
        return decode_body(self.name, body, ServerTime).time_ms * 1000

    def check_answer(self, body: bytes) -> None:
        """Does nothing: Binance reports errors with an HTTP status."""


class BinanceRawTrades(Binance):
    """Single fills, for recordings of the raw ``trade`` stream. Their ids have no holes, either.

    They are a different sequence from the aggregate ids: a recording is read as one of the two.
    """

    def read(self, frame: bytes | str) -> ParsedFrame:
        message = super().read(frame)
        if isinstance(message, TradesMessage):
            return _HEARTBEAT
        envelope = _decode_envelope(frame)
        is_trade = envelope.e == "trade" if envelope.stream is None else envelope.stream.endswith("@trade")
        if not is_trade:
            return message
        try:
            trade = _decode_raw_trade(frame if envelope.stream is None else envelope.data)
        except MALFORMED as error:
            raise DataFault(f"binance frame: {error}") from error
        return TradesMessage(self._symbol_map.require(trade.s), [trade])

    @staticmethod
    def to_trades(records: Sequence[RawTrade]) -> list[Trade]:  # type: ignore[override]  # records of another stream
        return [Trade(each.trade_id, each.time * 1000, each.p, each.q, not each.m) for each in records]


def _is_on_grid(kline: Kline, interval_us: int) -> bool:
    return kline.open_ms * 1000 % interval_us == 0 and (kline.close_ms - kline.open_ms + 1) * 1000 == interval_us


def _to_bar(kline: Kline, *, symbol: str, interval_us: int, known_at_us: int) -> Bar:
    """A kline without trades repeats the last close, which was not traded in its interval: the bar has no prices."""
    traded = kline.trades > 0
    if traded and kline.low <= 0:
        raise DataFault(f"binance kline of {symbol} at {kline.open_ms} ms has no price")
    return Bar(
        venue=Binance.name,
        symbol=symbol,
        interval_us=interval_us,
        open_time_us=kline.open_ms * 1000,
        open=kline.open if traded else None,
        high=kline.high if traded else None,
        low=kline.low if traded else None,
        close=kline.close if traded else None,
        volume=kline.volume,
        quote_volume=kline.quote_volume,
        trades=kline.trades,
        taker_buy_volume=kline.taker_buy_volume,
        taker_buy_quote_volume=kline.taker_buy_quote_volume,
        completeness=Completeness.VENUE_CANDLE,
        known_at_us=known_at_us,
    )
