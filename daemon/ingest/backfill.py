"""The REST edge: trades to repair a sequence, candles to warm up, and what the venue says of symbols and time."""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from daemon.clock import Clock
from daemon.errors import ConfigError, DataFault
from daemon.exchanges.base import Venue
from daemon.ingest.pacing import Sleep
from daemon.ingest.rest import RestSettings, RestTransport
from features.market import Bar, Completeness, Trade, interval_start

_DEFAULT_SETTINGS = RestSettings()
_TRADING = "TRADING"


class TradesAnswer(msgspec.Struct, frozen=True):
    """Trades by id, oldest first.

    ``head_reached``: no newer trade existed when the last page was asked for, at market time ``asked_at_us`` or
    later. Where it is False and ``until_id`` is not reached, ask again from the last id.
    """

    trades: list[Trade]
    head_reached: bool
    asked_at_us: int


class RestClient:
    """What the daemon asks one venue by REST. An async context manager; errors are those of ``RestTransport.get``.

    Answers that cannot be read raise DataFault.
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
        """Closes the session, unless it was given."""
        await self._transport.close()

    # Trades

    async def trades_from_id(self, symbol: str, from_id: int, until_id: int | None = None) -> TradesAnswer:
        """Trades with ids in ``[from_id, until_id]``, up to the newest where ``until_id`` is None.

        Reads at most ``RestSettings.pages_per_call`` pages.
        """
        trades: list[Trade] = []
        for _ in range(self._settings.pages_per_call):
            asked_at_us = self._clock.market_us()
            page = await self._trades_page(symbol, from_id)
            trades += page
            if head_reached := len(page) < self._venue.limits.trades_per_page:
                break
            from_id = page[-1].trade_id + 1
            if until_id is not None and from_id > until_id:
                break
        if until_id is not None:
            trades = [trade for trade in trades if trade.trade_id <= until_id]
        return TradesAnswer(trades, head_reached, asked_at_us)

    async def _trades_page(self, symbol: str, from_id: int) -> list[Trade]:
        page = self._venue.decode_trades(await self._transport.get(self._venue.trades_from_id(symbol, from_id)))
        if page and page[0].trade_id < from_id:
            raise DataFault(f"{self._venue.name} was asked for {symbol} from id {from_id}, not {page[0].trade_id}")
        return page

    async def trades_from_time(self, symbol: str, time_us: int) -> TradesAnswer:
        """The first page of trades at or after a market time; go on with ``trades_from_id``."""
        asked_at_us = self._clock.market_us()
        page = self._venue.decode_trades(await self._transport.get(self._venue.trades_from_time(symbol, time_us)))
        return TradesAnswer(page, len(page) < self._venue.limits.trades_per_page, asked_at_us)

    async def latest_trade(self, symbol: str) -> Trade | None:
        """The venue's newest trade; None where there never was one."""
        page = self._venue.decode_trades(await self._transport.get(self._venue.latest_trade(symbol)))
        return page[-1] if page else None

    # Candles

    async def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> list[Bar]:
        """The venue's candles as bars with open times in ``[start_us, end_us)``, oldest first, ended ones only.

        An interval that the venue does not publish is put together from its largest candle that divides it; a bar
        of which any candle is missing is left out. Raises DataFault where no candle divides it.
        """
        candle_us = self._venue.candle_interval(interval_us)
        if candle_us is None:
            raise DataFault(f"{self._venue.name} has no candle that divides {interval_us} us")
        start_us = interval_start(start_us + interval_us - 1, interval_us)
        end_us = interval_start(end_us + interval_us - 1, interval_us)
        candles = await self._candle_pages(symbol, candle_us, start_us, end_us)
        return candles if candle_us == interval_us else combine(candles, interval_us)

    async def _candle_pages(self, symbol: str, candle_us: int, start_us: int, end_us: int) -> list[Bar]:
        bars: list[Bar] = []
        end_us = min(end_us, self._clock.market_us())
        page_us = self._venue.limits.candles_per_page * candle_us
        for page_start_us in range(start_us, end_us, page_us):
            bars += await self._candle_page(symbol, candle_us, page_start_us, min(page_start_us + page_us, end_us))
        return bars

    async def _candle_page(self, symbol: str, candle_us: int, start_us: int, end_us: int) -> list[Bar]:
        known_at_us = self._clock.market_us()
        body = await self._transport.get(self._venue.candles(symbol, candle_us, start_us, end_us))
        bars = self._venue.decode_candles(body, symbol=symbol, interval_us=candle_us, known_at_us=known_at_us)
        open_times = [start_us - 1, *(bar.open_time_us for bar in bars), end_us]
        if any(left >= right for left, right in pairwise(open_times)):
            raise DataFault(f"{self._venue.name} answered with candles of {symbol} out of order or never asked for")
        return bars

    # Symbols and time

    async def check_symbols(self, symbols: Sequence[str]) -> dict[str, str]:
        """Symbols that exist but do not trade now, with the venue's word for it.

        Raises ConfigError with one line for each symbol that the venue does not have.
        """
        known = self._venue.decode_instruments(await self._transport.get(self._venue.instruments()))
        problems = [self._unknown(symbol, known) for symbol in symbols if symbol not in known]
        if problems:
            raise ConfigError(problems)
        return {symbol: known[symbol] for symbol in symbols if known[symbol] != _TRADING}

    def _unknown(self, symbol: str, known: Iterable[str]) -> str:
        close = difflib.get_close_matches(symbol, known, n=3, cutoff=0.75)
        cure = f"did you mean {' or '.join(close)}?" if close else "nothing there is spelled like it"
        return f"{self._venue.name} has no symbol {symbol!r}; {cure}"

    async def server_time_skew_ms(self) -> int:
        """The venue's clock minus ours, against the middle of the round trip: negative where ours is ahead."""
        before_us = self._clock.market_us()
        server_us = self._venue.decode_server_time(await self._transport.get(self._venue.server_time()))
        middle_us = (before_us + self._clock.market_us()) // 2
        return round((server_us - middle_us) / 1000)


def combine(candles: Sequence[Bar], interval_us: int) -> list[Bar]:
    """Bars of ``interval_us`` out of shorter candles; a bar of which any candle is missing is left out."""
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
    """The sum, None where any part is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
