"""Binance spot: aggregate trades from the combined stream, aggregate trades and klines from REST.

An aggregate trade is what one taker order filled at one price. Its id ``a`` has no holes per symbol, and ``f..l``
are the raw trades in it, so completeness can be proven and raw trades counted.
Source: binance/binance-spot-api-docs, web-socket-streams.md and rest-api.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec

from daemon.errors import ConfigError, DataFault
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Limits,
    Listed,
    Message,
    Refused,
    RestRequest,
    TradesMessage,
)
from daemon.exchanges.binance_wire import (
    MOST_FILLS,
    AggregateTrade,
    CombinedTrade,
    Envelope,
    Event,
    ExchangeInfo,
    Kline,
    RestTrade,
    ServerTime,
)
from features.market import Bar, Completeness, Trade

T = TypeVar("T")

_INTERVALS = {
    "1s": 1_000_000,
    "1m": 60_000_000,
    "3m": 180_000_000,
    "5m": 300_000_000,
    "15m": 900_000_000,
    "30m": 1_800_000_000,
    "1h": 3_600_000_000,
    "2h": 7_200_000_000,
    "4h": 14_400_000_000,
    "6h": 21_600_000_000,
    "8h": 28_800_000_000,
    "12h": 43_200_000_000,
    "1d": 86_400_000_000,
}
_INTERVAL_NAMES = {length_us: name for name, length_us in _INTERVALS.items()}


_SERVER_SHUTDOWN = ClosingSoon("serverShutdown")
_HEARTBEAT = Heartbeat()
_MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)

_decode_combined = msgspec.json.Decoder(CombinedTrade, strict=False).decode
_decode_raw = msgspec.json.Decoder(AggregateTrade, strict=False).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_event = msgspec.json.Decoder(Event).decode


class Binance:
    """Binance's wire knowledge for the given BASE-QUOTE symbols; raises ConfigError for symbols it cannot spell."""

    name = "binance"
    # The market-data-only hosts: no key, and they answer from regions that the trading hosts refuse.
    default_ws_url = "wss://data-stream.binance.vision"
    default_rest_url = "https://data-api.binance.vision"
    limits = Limits(
        streams_per_connection=1024,
        messages_per_second=5,
        connection_lifetime_s=24 * 3600,
        connections_per_5_minutes=300,
        rest_weight_per_minute=6000,
        trades_per_page=1000,
        candles_per_page=1000,
    )

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = {_native(symbol): symbol for symbol in symbols}
        if len(self._symbols) < len(set(symbols)):
            raise ConfigError([f"binance spells two of these symbols alike: {', '.join(sorted(symbols))}"])

    def native(self, symbol: str) -> str:
        return _native(symbol)

    def stream_url(self, ws_url: str) -> str:
        return f"{ws_url.rstrip('/').removesuffix('/stream')}/stream"

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:
        streams = [f"{_native(symbol).lower()}@aggTrade" for symbol in symbols]
        return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": request_id}).decode()

    def list_subscriptions(self, request_id: int) -> str:
        return msgspec.json.encode({"method": "LIST_SUBSCRIPTIONS", "id": request_id}).decode()

    def decode(self, frame: bytes | str) -> Message:
        """Aggregate trades first: they are nearly every frame, and one typed pass decides and converts."""
        try:
            trade = _decode_combined(frame).data
        except _MALFORMED:
            return self._decode_other(frame)
        count = trade.l - trade.f + 1
        if 0 < count <= MOST_FILLS and (symbol := self._symbols.get(trade.s)) is not None:
            return TradesMessage(symbol, [Trade(trade.a, trade.T * 1000, trade.p, trade.q, not trade.m, count)])
        return self._trades_message(trade)  # raises what is wrong with it

    def _trades_message(self, trade: AggregateTrade) -> TradesMessage:
        count = trade.l - trade.f + 1
        symbol = self._symbols.get(trade.s)
        if symbol is None:
            raise DataFault(f"binance sent trades of {trade.s!r}, which nobody asked for")
        if not 0 < count <= MOST_FILLS:
            raise DataFault(f"binance aggTrade {trade.a} holds raw trades {trade.f} to {trade.l}")
        return TradesMessage(symbol, [Trade(trade.a, trade.T * 1000, trade.p, trade.q, not trade.m, count)])

    def _decode_other(self, frame: bytes | str) -> Message:
        try:
            return self._classify(frame, _decode_envelope(frame))
        except _MALFORMED as error:
            raise DataFault(f"binance frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> Message:
        if envelope.stream is not None and envelope.data:
            return self._classify_stream(frame, envelope.stream, envelope.data)
        if envelope.e == "aggTrade":
            return self._trades_message(_decode_raw(frame))
        if envelope.e == "serverShutdown":
            return _SERVER_SHUTDOWN
        if envelope.e is not None:
            return _HEARTBEAT
        return self._classify_answer(envelope)

    def _classify_stream(self, frame: bytes | str, stream: str, data: msgspec.Raw) -> Message:
        if stream.endswith("@aggTrade"):
            _decode_combined(frame)  # raises what is wrong with it
        if stream == "!serverShutdown" and _decode_event(data).e == "serverShutdown":
            return _SERVER_SHUTDOWN
        return _HEARTBEAT

    def _classify_answer(self, envelope: Envelope) -> Message:
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
        return Listed(request_id, tuple(self._symbols[native] for native in natives if native in self._symbols))

    def trades_from_id(self, symbol: str, from_id: int) -> RestRequest:
        return self._aggregate_trades(symbol, fromId=from_id, limit=self.limits.trades_per_page)

    def trades_from_time(self, symbol: str, from_time_us: int) -> RestRequest:
        start_ms = -(-from_time_us // 1000)
        return self._aggregate_trades(symbol, startTime=start_ms, limit=self.limits.trades_per_page)

    def latest_trade(self, symbol: str) -> RestRequest:
        return self._aggregate_trades(symbol, limit=1)

    def _aggregate_trades(self, symbol: str, **query: int) -> RestRequest:
        return RestRequest("/api/v3/aggTrades", {"symbol": _native(symbol), **query}, weight=4)

    def decode_trades(self, body: bytes) -> list[Trade]:
        """Oldest first; a record that Binance invalidated has ``count`` and ``size`` 0 (see ``Venue``)."""
        trades = [record.to_trade() for record in _decode_body(body, list[RestTrade])]
        if any(left.trade_id >= right.trade_id for left, right in pairwise(trades)):
            raise DataFault("binance answered with aggTrades out of order")
        return trades

    def candle_interval(self, interval_us: int) -> int | None:
        return max((length for length in _INTERVALS.values() if interval_us % length == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        query: dict[str, str | int] = {
            "symbol": _native(symbol),
            "interval": _INTERVAL_NAMES[interval_us],
            "startTime": -(-start_us // 1000),
            "endTime": -(-end_us // 1000) - 1,  # both ends are inclusive at Binance
            "limit": self.limits.candles_per_page,
        }
        return RestRequest("/api/v3/klines", query, weight=2)

    def decode_candles(self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int) -> list[Bar]:
        """Klines off the grid are left out: Binance has some from its outage of February 2018, 28 minutes askew."""
        try:
            return [
                _to_bar(kline, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us)
                for kline in _decode_body(body, list[Kline])
                if _is_whole(kline, interval_us) and kline.open_ms * 1000 + interval_us <= known_at_us
            ]
        except ValueError as error:  # Bar refuses prices that contradict one another
            raise DataFault(f"binance kline: {error}") from error

    def instruments(self) -> RestRequest:
        return RestRequest("/api/v3/exchangeInfo", {"showPermissionSets": "false"}, weight=20)

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        return {f"{symbol.base}-{symbol.quote}": symbol.status for symbol in _decode_body(body, ExchangeInfo).symbols}

    def server_time(self) -> RestRequest:
        return RestRequest("/api/v3/time", {}, weight=1)

    def decode_server_time(self, body: bytes) -> int:
        return _decode_body(body, ServerTime).time_ms * 1000


def _native(symbol: str) -> str:
    base, dash, quote = symbol.partition("-")
    if not (dash and base.isalnum() and quote.isalnum() and symbol == symbol.upper()):
        raise ConfigError([f"symbol was {symbol!r}; write BASE-QUOTE in capitals, e.g. BTC-USDT"])
    return base + quote


def _decode_body(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except _MALFORMED as error:
        raise DataFault(f"binance answer: {error}") from error


def _is_whole(kline: Kline, interval_us: int) -> bool:
    return kline.open_ms * 1000 % interval_us == 0 and (kline.close_ms - kline.open_ms + 1) * 1000 == interval_us


def _to_bar(kline: Kline, *, symbol: str, interval_us: int, known_at_us: int) -> Bar:
    """A kline without trades repeats the last close: its prices are nobody's, so the bar has none."""
    traded = kline.trades > 0
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
