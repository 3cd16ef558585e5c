"""Coinbase: trades from the Advanced Trade feed, trades and candles from the Exchange's REST.

Both use the same trade ids, without holes per product. ``side`` is always the maker's, messages and pages are newest
first, and a subscription begins with the last 100 trades of each product. Frames of the Exchange feed are decoded,
too, as most recordings hold these.
Source: docs.cdp.coinbase.com, Advanced Trade WebSocket and Exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import msgspec

from daemon.errors import DataFault
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
from daemon.exchanges.coinbase_wire import (
    AdvancedTrade,
    CandleRow,
    Envelope,
    ExchangeSubscriptions,
    MarketTrades,
    Match,
    Product,
    RestTrade,
    ServerTime,
    Subscriptions,
    TradesEvent,
)
from daemon.exchanges.decoding import MALFORMED, as_microseconds, cut_microseconds, decode_body, set_times
from daemon.exchanges.record_decoder import RecordDecoder
from daemon.exchanges.symbol_map import SymbolMap
from daemon.timestamps import iso
from features.market import Bar, Trade
from features.symbols import spell

_SECOND_US = 1_000_000
_GRANULARITIES_S = (60, 300, 900, 3600, 21600, 86400)
_TRADES_PER_PAGE = 1000

# USDC and USD share one book, named USD in frames, except for these, which have a separate USDC book.
_OWN_USDC_BOOK = frozenset({"USDT", "EURC"})

# Frames of the feeds other than trades, answers and errors.
_OTHER_CHANNELS = frozenset(
    {"heartbeats", "candles", "status", "ticker", "ticker_batch", "l2_data", "user", "futures_balance_summary"}
)
_OTHER_TYPES = frozenset(
    {"heartbeat", "ticker", "snapshot", "l2update", "status", "auction", "rfq_match"}
    | {"received", "open", "done", "change", "activate"}
)

_HEARTBEAT = Heartbeat()
_MAKER_SELLS = ("SELL", "sell")

_decode_market_trades = msgspec.json.Decoder(MarketTrades, strict=False).decode
_decode_match = msgspec.json.Decoder(Match, strict=False).decode
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_subscriptions = msgspec.json.Decoder(Subscriptions).decode
_decode_exchange_subscriptions = msgspec.json.Decoder(ExchangeSubscriptions).decode


class Coinbase(RecordDecoder):
    """Coinbase's implementation of ``Venue``. Raises ConfigError for symbols that are not BASE-QUOTE or spelt alike.

    A symbol quoted in USDC is an alias of the USD book. Both may be watched, and each receives the book's trades.
    """

    name = "coinbase"
    default_ws_url = "wss://advanced-trade-ws.coinbase.com"
    default_rest_url = "https://api.exchange.coinbase.com"
    limits = Limits(
        streams_per_connection=100,
        symbols_per_request=20,  # their snapshots arrive in one frame, each 100 trades of 170 bytes
        messages_per_second=8,
        connection_lifetime_s=inf,
        connections_per_5_minutes=300,
        rest_burst=5,  # 10 a second, 15 at once
        rest_per_s=9,
        candles_per_page=300,
    )
    ids = Ids.CONTIGUOUS
    newest_first = True
    decimals = 8
    opens_at_previous_close = False
    keep_alive: KeepAlive | None = None  # its heartbeats keep the connection up
    to_record_time = staticmethod(as_microseconds)

    def __init__(self, symbols: Sequence[str] | None) -> None:
        self._symbol_map = SymbolMap(self.name, symbols, native=lambda base, quote: f"{base}-{quote}", spell=spell)
        self._watching: dict[str, tuple[str, ...]] = {}
        for symbol in dict.fromkeys(symbols or ()):
            product = _product(symbol)
            self._watching[product] = (*self._watching.get(product, ()), symbol)
        self._only_watchers = {product: each[0] for product, each in self._watching.items() if len(each) == 1}

    def native(self, symbol: str) -> str:
        return _product(self._symbol_map.native(symbol))

    def stream_url(self, ws_url: str) -> str:
        return ws_url.rstrip("/")

    def opening(self) -> Sequence[str]:
        """Subscribes to heartbeats: without them Coinbase closes a connection after a minute without trades."""
        return ('{"type":"subscribe","channel":"heartbeats"}',)

    def subscribe(self, symbols: Sequence[str], request_id: int) -> str:  # noqa: ARG002  # Coinbase repeats no request id
        products = list(dict.fromkeys(map(self.native, symbols)))
        request = {"type": "subscribe", "product_ids": products, "channel": "market_trades"}
        return msgspec.json.encode(request).decode()

    def list_subscriptions(self, request_id: int) -> None:
        """None: Coinbase has no such request; its acknowledgement is the list."""

    def read(self, frame: bytes | str) -> ParsedFrame:
        """Tries trades first, as nearly every frame holds them; one typed pass detects and decodes them."""
        try:
            events = _decode_market_trades(frame).events
        except MALFORMED:
            return self._read_other(frame)
        if len(events) != 1 or not (records := events[0].trades):
            return self._split_by_product(events)
        set_times(records)
        product = records[0].product_id
        symbol = self._only_watchers.get(product)
        if symbol is None:
            return self._split_by_product(events)
        if len(records) > 1:
            for record in records:
                if record.product_id != product:
                    return self._split_by_product(events)
            sort_by_id(records)
        return TradesMessage(symbol, records)

    def _split_by_product(self, events: Sequence[TradesEvent]) -> ParsedFrame:
        """Messages of a snapshot of several products, or of a product that is watched under two names."""
        found: dict[str, list[AdvancedTrade]] = {}
        for event in events:
            set_times(event.trades)
            for record in event.trades:
                found.setdefault(record.product_id, []).append(record)
        for records in found.values():
            sort_by_id(records)
        return merge_messages(
            [TradesMessage(symbol, found[product]) for product in found for symbol in self._watchers(product)]
        )

    @staticmethod
    def to_trades(records: Sequence[AdvancedTrade | Match]) -> list[Trade]:
        return [Trade(each.trade_id, each.time, each.price, each.size, each.side in _MAKER_SELLS) for each in records]

    def _watchers(self, product: str) -> tuple[str, ...]:
        watchers = self._watching.get(product)
        return (self._symbol_map.require(product),) if watchers is None else watchers

    def _read_other(self, frame: bytes | str) -> ParsedFrame:
        try:
            return self._classify(frame, _decode_envelope(frame))
        except MALFORMED as error:
            raise DataFault(f"coinbase frame: {error}") from error

    def _classify(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        if envelope.channel == "market_trades":
            _decode_market_trades(frame)  # raises the error of the frame
        if envelope.channel == "subscriptions":
            return self._acknowledged(_decode_subscriptions(frame).products())
        if envelope.channel in _OTHER_CHANNELS:
            return _HEARTBEAT
        if envelope.channel is not None:
            raise DataFault(f"coinbase frame is of the channel {envelope.channel!r}, which is unknown")
        return self._classify_type(frame, envelope)

    def _classify_type(self, frame: bytes | str, envelope: Envelope) -> ParsedFrame:
        if envelope.type in {"match", "last_match"}:
            match = _decode_match(frame)
            set_times([match])
            return merge_messages([TradesMessage(symbol, [match]) for symbol in self._watchers(match.product_id)])
        if envelope.type == "subscriptions":
            return self._acknowledged(_decode_exchange_subscriptions(frame).products())
        if envelope.type == "error":
            return Refused(None, ": ".join(filter(None, (envelope.message, envelope.reason))))
        if envelope.type in _OTHER_TYPES:
            return _HEARTBEAT
        raise DataFault(f"coinbase frame is neither a channel's nor of a known type: {envelope.type!r}")

    def _acknowledged(self, products: Sequence[str]) -> ParsedFrame:
        """The list holds all subscriptions of the connection; a list without watched products is no answer."""
        named = [self._watching.get(product) or self._symbol_map.watched([product]) for product in products]
        symbols = tuple(dict.fromkeys(symbol for each in named for symbol in each))
        return Acknowledged(None, symbols) if symbols else _HEARTBEAT

    def trades(self, wanted: TradesWanted) -> RestRequest:
        if wanted.until_id is None:
            return self._trades(wanted.symbol, limit=_TRADES_PER_PAGE)
        return self._older(wanted.symbol, wanted.until_id + 1)

    def decode_trades(self, body: bytes, wanted: TradesWanted, request: RestRequest) -> TradesPage:
        """Only an empty page shows that there are no older trades, as the maximum page size is not documented."""
        trades = [record.to_trade() for record in decode_body(self.name, body, list[RestTrade])]
        self._check(trades, wanted, request)
        if not trades:
            return TradesPage([], complete=wanted.from_id is None)
        trades.reverse()
        oldest = trades[0]
        if wanted.from_id is not None:
            reached = oldest.trade_id <= wanted.from_id
        else:
            reached = oldest.time_us < wanted.from_time_us
        return TradesPage(trades, None if reached else self._older(wanted.symbol, oldest.trade_id))

    def _check(self, trades: Sequence[Trade], wanted: TradesWanted, request: RestRequest) -> None:
        """Raises DataFault for an outdated answer, which would wrongly prove that nothing was traded since."""
        if any(newer.trade_id <= older.trade_id for newer, older in pairwise(trades)):
            raise DataFault("coinbase answered with trades out of order")
        newest_id, after = trades[0].trade_id if trades else -1, request.query.get("after")
        if after is not None and newest_id >= int(after):
            raise DataFault(f"coinbase was asked for trades of {wanted.symbol} before {after}, not {newest_id}")
        if after is None and wanted.from_id is not None and max(newest_id, 0) < wanted.from_id - 1:
            raise DataFault(f"coinbase calls {newest_id} the newest {wanted.symbol}; {wanted.from_id - 1} is known")

    def latest_trade(self, symbol: str) -> RestRequest:
        return self._trades(symbol, limit=1)

    def last_trade_before(self, symbol: str, time_us: int) -> None:
        """None: ids are contiguous, so that the first trade from a time on gives the id before it."""

    def _older(self, symbol: str, trade_id: int) -> RestRequest:
        return self._trades(symbol, limit=_TRADES_PER_PAGE, after=trade_id)

    def _trades(self, symbol: str, **query: int) -> RestRequest:
        return RestRequest(f"/products/{self.native(symbol)}/trades", query)

    def candle_interval(self, interval_us: int) -> int | None:
        lengths = (seconds * _SECOND_US for seconds in _GRANULARITIES_S)
        return max((length for length in lengths if interval_us % length == 0), default=None)

    def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> RestRequest:
        query: dict[str, str | int] = {
            "granularity": interval_us // _SECOND_US,
            "start": iso(start_us),
            "end": iso(end_us - _SECOND_US),  # inclusive: a candle that opens at the end would be the 301st
        }
        return RestRequest(f"/products/{self.native(symbol)}/candles", query)

    def decode_candles(
        self, body: bytes, *, symbol: str, interval_us: int, known_at_us: int, reject: Reject = refuse
    ) -> list[Bar]:
        """Candles of intervals without trades are usually missing."""
        rows = decode_body(self.name, body, list[msgspec.Raw])
        candles = accepted_rows(rows, CandleRow, CandleRow.to_candle, venue=self.name, reject=reject)
        return finished_bars(
            candles, venue=self.name, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us, reject=reject
        )

    def instruments(self) -> RestRequest:
        return RestRequest("/products", {})

    def decode_instruments(self, body: bytes) -> dict[str, str]:
        """A symbol in USDC has the status of its USD book, whatever status the Exchange lists for it."""
        products = decode_body(self.name, body, list[Product])
        states = {f"{each.base}-{each.quote}": _state(each) for each in products}
        books = {f"{each.base}-USDC": f"{each.base}-USD" for each in products if each.quote == "USD"}
        return states | {alias: states[book] for alias, book in books.items() if _product(alias) == book}

    def server_time(self) -> RestRequest:
        return RestRequest("/time", {})

    def decode_server_time(self, body: bytes, date: str) -> int:  # noqa: ARG002  # the body has milliseconds
        return cut_microseconds(decode_body(self.name, body, ServerTime).iso)

    def check_answer(self, body: bytes) -> None:
        """Does nothing: Coinbase reports errors with an HTTP status."""


def _product(symbol: str) -> str:
    """The product in whose book a symbol is traded."""
    base, _, quote = symbol.partition("-")
    return f"{base}-USD" if quote == "USDC" and base not in _OWN_USDC_BOOK else symbol


def _state(product: Product) -> str:
    if product.status != "online":
        return product.status
    return "trading_disabled" if product.trading_disabled else "TRADING"
