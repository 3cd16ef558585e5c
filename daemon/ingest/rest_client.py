"""RestClient: trades for repairs, candles, symbols and the server time of one venue by REST."""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
import structlog

from daemon.clock import Clock
from daemon.errors import ConfigError, DataFault, Retryable
from daemon.exchanges.base import RestRequest, TradesPage, TradesWanted, Venue
from daemon.ingest.pacing import Sleep
from daemon.ingest.rest_transport import RestSettings, RestTransport
from daemon.market_time.venue_clock import TimeSample
from daemon.pipeline.answers import SequenceStart, TradesAnswer
from features.market import Bar, Completeness, Trade, interval_start

log = structlog.get_logger(__name__)

_DEFAULT_SETTINGS = RestSettings()
_TRADING = "TRADING"
_LONGEST_ROUND_TRIP_S = 2.0


class SymbolListing(NamedTuple):
    """Symbols that the venue does not list, with a line that says so, and those that it lists with another status."""

    unknown: dict[str, str]
    not_trading: dict[str, str]


class RestClient:
    """REST requests of the daemon to one venue; an async context manager.

    Methods raise the errors of ``RestTransport.get``, and DataFault for answers that cannot be decoded.
    candles_rejected: impossible candles so far.
    """

    def __init__(
        self,
        venue: Venue,
        rest_url: str,
        *,
        clock: Clock,
        session: aiohttp.ClientSession | None = None,
        settings: RestSettings = _DEFAULT_SETTINGS,
        sleep: Sleep = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._settings = settings
        self.candles_rejected = 0
        self._transport = RestTransport(
            venue, rest_url, clock=clock, settings=settings, session=session, sleep=sleep, draw=draw
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the session, unless the caller supplied it."""
        await self._transport.close()

    # Trades

    async def trades(self, symbol: str, *, from_id: int | None, until_id: int | None, after_us: int) -> TradesAnswer:
        """Trades with ids in ``[from_id, until_id]``, up to the newest where ``until_id`` is None.

        after_us: event time of the last trade before them; where ``from_id`` is None, they begin at this time.
        Reads at most ``RestSettings.pages_per_call`` pages.
        """
        wanted = TradesWanted(
            symbol=symbol,
            from_id=from_id,
            from_time_us=after_us,
            until_id=until_id,
            asked_at_us=self._clock.market_us(),
        )
        return await self._read_pages(wanted, self._settings.pages_per_call)

    async def sequence_start(self, symbol: str, from_time_us: int) -> SequenceStart:
        """Where the sequence of ``symbol`` begins at ``from_time_us``.

        Raises Retryable where the trades since then exceed ``RestSettings.pages_per_start`` pages.
        """
        if (request := self._venue.last_trade_before(symbol, from_time_us)) is not None:
            before = await self._newest_trade(symbol, request)
            if before is not None:
                return SequenceStart([], before)
        wanted = TradesWanted(
            symbol=symbol,
            from_id=None,
            from_time_us=from_time_us,
            until_id=None,
            asked_at_us=self._clock.market_us(),
        )
        answer = await self._read_pages(wanted, self._settings.pages_per_start if self._venue.newest_first else 1)
        if self._venue.newest_first and not answer.complete:
            raise Retryable(f"{self._venue.name} has too many trades of {symbol} in the open interval to page through")
        if answer.trades:
            return SequenceStart(answer.trades, None)
        return SequenceStart([], await self.newest_trade(symbol))

    async def newest_trade(self, symbol: str) -> Trade | None:
        """The newest trade; None where the venue has none."""
        return await self._newest_trade(symbol, self._venue.latest_trade(symbol))

    async def _newest_trade(self, symbol: str, request: RestRequest) -> Trade | None:
        answer = await self._transport.get(request)
        wanted = TradesWanted(
            symbol=symbol, from_id=None, from_time_us=0, until_id=None, asked_at_us=self._clock.market_us()
        )
        page = self._venue.decode_trades(answer.body, wanted, request)
        return page.trades[-1] if page.trades else None

    async def _read_pages(self, wanted: TradesWanted, max_pages: int) -> TradesAnswer:
        """Reads pages until the wanted trades are complete, in the venue's direction: oldest or newest page first."""
        request: RestRequest | None = self._venue.trades(wanted)
        pages: list[TradesPage] = []
        asked_at_us = wanted.asked_at_us
        while request is not None and len(pages) < max_pages:
            if not self._venue.newest_first:
                asked_at_us = self._clock.market_us()
            answer = await self._transport.get(request)
            page = self._venue.decode_trades(answer.body, wanted, request)
            pages.append(page)
            request = page.next
        ended = request is None
        if self._venue.newest_first:
            pages.reverse()
        return TradesAnswer(
            trades=_wanted_trades(wanted, pages),
            head_reached=wanted.until_id is None and (ended or self._venue.newest_first),
            complete=ended and all(page.complete for page in pages),
            asked_at_us=asked_at_us,
        )

    # Candles

    async def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> list[Bar]:
        """The venue's finished candles as bars with open times in ``[start_us, end_us)``, oldest first.

        Impossible candles are left out, logged and counted; where no other is left on a page, the fault of the first
        is raised. Where the venue has no candles of ``interval_us``, bars are combined from its largest candle
        interval that divides it; a bar with a missing candle is omitted. Raises DataFault where no candle interval
        divides it.
        """
        candle_us = self._venue.candle_interval(interval_us)
        if candle_us is None:
            raise DataFault(f"{self._venue.name} has no candle that divides {interval_us} us")
        start_us = interval_start(start_us + interval_us - 1, interval_us)
        end_us = interval_start(end_us + interval_us - 1, interval_us)
        candles = await self._candle_pages(symbol, candle_us, start_us, end_us)
        return candles if candle_us == interval_us else combine(candles, interval_us)

    @property
    def opens_at_previous_close(self) -> bool:
        """See ``Venue``."""
        return self._venue.opens_at_previous_close

    def has_candles(self, interval_us: int) -> bool:
        """Whether a candle interval of the venue divides ``interval_us``."""
        return self._venue.candle_interval(interval_us) is not None

    async def _candle_pages(self, symbol: str, candle_us: int, start_us: int, end_us: int) -> list[Bar]:
        bars: list[Bar] = []
        running_us = interval_start(self._clock.market_us(), candle_us)
        end_us = min(end_us, running_us)
        page_us = self._venue.limits.candles_per_page * candle_us
        if (reach := self._venue.limits.candles_reach) is not None:
            start_us = max(start_us, running_us - reach * candle_us)
        for page_start_us in range(start_us, end_us, page_us):
            bars += await self._candle_page(symbol, candle_us, page_start_us, min(page_start_us + page_us, end_us))
        return bars

    async def _candle_page(self, symbol: str, candle_us: int, start_us: int, end_us: int) -> list[Bar]:
        known_at_us = self._clock.market_us()
        answer = await self._transport.get(self._venue.candles(symbol, candle_us, start_us, end_us))
        rejected: list[DataFault] = []
        bars = self._venue.decode_candles(
            answer.body, symbol=symbol, interval_us=candle_us, known_at_us=known_at_us, reject=rejected.append
        )
        if any(left.open_time_us >= right.open_time_us for left, right in pairwise(bars)):
            raise DataFault(f"{self._venue.name} answered with candles of {symbol} out of order")
        wanted = [bar for bar in bars if start_us <= bar.open_time_us < end_us]
        if rejected:
            self.candles_rejected += len(rejected)
            reason = str(rejected[0])
            log.warning("candles_rejected", venue=self._venue.name, symbol=symbol, candles=len(rejected), reason=reason)
            if not wanted:
                raise rejected[0]  # an impossible candle is not a missing one
        return wanted

    # Symbols and time

    async def list_symbols(self, symbols: Sequence[str]) -> SymbolListing:
        """What the venue's list says of ``symbols``. Raises DataFault for an empty list."""
        known = self._venue.decode_instruments((await self._transport.get(self._venue.instruments())).body)
        if not known:
            raise DataFault(f"{self._venue.name} answered with an empty list of symbols")
        return SymbolListing(
            unknown={symbol: self._unknown(symbol, known) for symbol in symbols if symbol not in known},
            not_trading={symbol: known[symbol] for symbol in symbols if known.get(symbol, _TRADING) != _TRADING},
        )

    async def check_symbols(self, symbols: Sequence[str]) -> dict[str, str]:
        """The symbols that exist but do not trade now, with the venue's status.

        Raises ConfigError with one line for each unknown symbol.
        """
        listing = await self.list_symbols(symbols)
        if listing.unknown:
            raise ConfigError(list(listing.unknown.values()))
        return listing.not_trading

    def _unknown(self, symbol: str, known: Iterable[str]) -> str:
        close = difflib.get_close_matches(symbol, known, n=3, cutoff=0.75)
        cure = f"did you mean {' or '.join(close)}?" if close else "it has no similar symbol"
        return f"{self._venue.name} has no symbol {symbol!r}; {cure}"

    async def time_sample(self) -> TimeSample:
        """The venue's clock minus the base clock at the middle of the round trip.

        Raises Retryable where the round trip was too long for a measurement.
        """
        answer = await self._transport.get(self._venue.server_time())
        if answer.took_s > _LONGEST_ROUND_TRIP_S:
            raise Retryable(f"{self._venue.name} took {answer.took_s:.1f} s to answer with its time")
        server_us = self._venue.decode_server_time(answer.body, answer.date)
        scale = 1e6 * self._clock.speed
        since_us = (self._clock.wall_s() - answer.at_s) * scale
        error_us = self._venue.time_resolution_us / 2 + answer.took_s / 2 * scale
        return TimeSample(round(server_us + since_us) - self._clock.base_us(), round(error_us))


def _wanted_trades(wanted: TradesWanted, pages: Sequence[TradesPage]) -> list[Trade]:
    """The wanted trades of all pages, oldest first, each once; pages may overlap and hold unwanted trades."""
    trades: list[Trade] = []
    known: set[int] = set()
    for trade in (each for page in pages for each in page.trades):
        first_id = trade.trade_id - trade.span + 1
        early = trade.time_us < wanted.from_time_us if wanted.from_id is None else first_id < wanted.from_id
        late = wanted.until_id is not None and trade.trade_id > wanted.until_id
        if not early and not late and trade.trade_id not in known:
            known.add(trade.trade_id)
            trades.append(trade)
    return trades


def combine(candles: Sequence[Bar], interval_us: int) -> list[Bar]:
    """Bars of ``interval_us`` combined from shorter candles; a bar with a missing candle is omitted."""
    groups = groupby(candles, key=lambda candle: interval_start(candle.open_time_us, interval_us))
    parts_by_open = ((open_us, list(parts)) for open_us, parts in groups)
    return [
        _combined(parts, open_us, interval_us)
        for open_us, parts in parts_by_open
        if len(parts) * parts[0].interval_us == interval_us
    ]


def _combined(parts: Sequence[Bar], open_us: int, interval_us: int) -> Bar:
    traded = [part for part in parts if part.open is not None]
    trades = _sum([part.trades for part in parts])
    return Bar(
        venue=parts[0].venue,
        symbol=parts[0].symbol,
        interval_us=interval_us,
        open_time_us=open_us,
        open=traded[0].open if traded else None,
        high=max((part.high for part in traded if part.high is not None), default=None),
        low=min((part.low for part in traded if part.low is not None), default=None),
        close=traded[-1].close if traded else None,
        volume=sum(part.volume for part in parts),
        quote_volume=_sum([part.quote_volume for part in parts]),
        trades=None if trades is None else int(trades),
        taker_buy_volume=_sum([part.taker_buy_volume for part in parts]),
        taker_buy_quote_volume=_sum([part.taker_buy_quote_volume for part in parts]),
        completeness=Completeness.VENUE_CANDLE,
        known_at_us=max(part.known_at_us for part in parts),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum, None if any value is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
