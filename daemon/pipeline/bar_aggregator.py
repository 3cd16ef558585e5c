"""Bar aggregator of one instrument: its open bars, and the closed ones that can still be revised. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from daemon.pipeline.continuity import CompletenessReport
from daemon.pipeline.reconciliation import differences
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade, interval_start

_KEPT_CLOSED_BARS = 48
_SETTLED = (Completeness.PROVEN, Completeness.EMPTY)

# How complete the trades between an open and a close time are.
CompletenessLookup = Callable[[int, int], CompletenessReport]


class BarAggregator:
    """Adds trades to bars and closes the bars in order, from the one given to ``start`` on.

    A closed bar is unsettled while its completeness may still improve.

    ordered_ids: whether trade ids order trades of the same time. contiguous_ids: whether a bar carries its first and
    last trade id. opens_at_previous_close: see ``Venue``.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        interval_us: int,
        decimals: int,
        ordered_ids: bool = True,
        contiguous_ids: bool = True,
        opens_at_previous_close: bool = False,
    ) -> None:
        self.interval_us = interval_us
        self.first_open_us = 0
        self.next_open_us = 0
        self._instrument = instrument
        self._decimals = decimals
        self._ordered_ids = ordered_ids
        self._contiguous_ids = contiguous_ids
        self._opens_at_previous_close = opens_at_previous_close
        # All by open time:
        self._bars: dict[int, OpenBar] = {}
        self._closed: dict[int, Bar] = {}
        self._unsettled: set[int] = set()
        self._changed: set[int] = set()
        self._candles: dict[int, Bar] = {}
        self._replaced_by_candle: set[int] = set()

    @property
    def next_close_us(self) -> int:
        """The close time of the bar that closes next."""
        return self.next_open_us + self.interval_us

    @property
    def current(self) -> OpenBar:
        """The bar that closes next."""
        return self._bar_at(self.next_open_us)

    @property
    def first_kept_us(self) -> int:
        """The open time of the oldest bar that can still be revised."""
        return min(self._closed, default=self.next_open_us)

    @property
    def all_settled(self) -> bool:
        """True when no closed bar awaits a better completeness or a revision."""
        return not self._unsettled and not self._changed

    @property
    def unsettled_opens_us(self) -> list[int]:
        """The open times of the unsettled bars, oldest first."""
        return sorted(self._unsettled)

    def start(self, first_open_us: int) -> None:
        """Sets the first bar; earlier trades are ignored."""
        self.first_open_us = self.next_open_us = first_open_us

    def restore(self, published: Sequence[Bar]) -> None:
        """Restores closed bars as they were published, oldest first; their trades have been added since ``start``."""
        for bar in published:
            self._closed[bar.open_time_us] = bar
            if bar.completeness not in _SETTLED:
                self._unsettled.add(bar.open_time_us)
            restored = self._bar_at(bar.open_time_us)
            restored.late_trades = bar.late_trades + max(restored.trades - (bar.trades or 0), 0)
            self.next_open_us = bar.close_time_us

    def add(self, trade: Trade) -> None:
        """Adds a trade of any interval; a late one makes its closed bar due for a revision, while that bar is kept."""
        if not trade.count or trade.time_us < self.first_open_us:
            return
        open_us = interval_start(trade.time_us, self.interval_us)
        if open_us >= self.next_open_us:
            self._bar_at(open_us).add(trade)
        elif (closed := self._bars.get(open_us)) is not None:
            closed.add(trade)
            closed.late_trades += 1
            self._changed.add(open_us)

    def rebuild(self, open_us: int, trades: Sequence[Trade]) -> None:
        """Rebuilds a closed bar from ``trades`` alone; a bar that is no longer kept stays as it was published."""
        if open_us not in self._closed:
            return
        late_trades = self._bars.pop(open_us).late_trades if open_us in self._bars else 0
        for trade in trades:
            if trade.count and interval_start(trade.time_us, self.interval_us) == open_us:
                self._bar_at(open_us).add(trade)
        self._bar_at(open_us).late_trades = late_trades
        self._changed.add(open_us)

    def unsettle_since(self, since_us: int) -> None:
        """Trades after ``since_us`` may be missing: closed bars that end later are unsettled again."""
        self._unsettled |= {open_us for open_us in self._closed if open_us + self.interval_us > since_us}

    def set_candle(self, candle: Bar) -> None:
        """Sets the venue's candle of an interval; it replaces the bar as long as the bar has a gap."""
        self._candles[candle.open_time_us] = candle

    def replace_with_candle(self, candle: Bar) -> None:
        """Replaces a closed bar by the venue's candle, whether it has a gap or not."""
        if candle.open_time_us in self._closed:
            self.set_candle(candle)
            self._replaced_by_candle.add(candle.open_time_us)
            self._changed.add(candle.open_time_us)

    def has_candle(self, open_us: int) -> bool:
        """Whether the venue's candle of the interval is known."""
        return open_us in self._candles

    def close(self, completeness_of: CompletenessLookup, now_us: int) -> Bar:
        """Closes the current bar as revision 0."""
        bar = self._build(self.current, completeness_of, now_us, revision=0)
        self._closed[bar.open_time_us] = bar
        self.next_open_us += self.interval_us
        while len(self._closed) > _KEPT_CLOSED_BARS:
            self._forget(min(self._closed))
        return bar

    def revisions(self, completeness_of: CompletenessLookup, now_us: int) -> list[Bar]:
        """The closed bars that differ from what was last published, oldest first."""
        revised: list[Bar] = []
        if self.all_settled:
            return revised
        for open_us in sorted(self._unsettled | self._changed):
            published = self._closed[open_us]
            bar = self._build(self._bar_at(open_us), completeness_of, now_us, revision=published.revision + 1)
            if _content(bar) != _content(published):
                self._closed[open_us] = bar
                revised.append(bar)
        self._changed.clear()
        return revised

    def _forget(self, open_us: int) -> None:
        del self._closed[open_us]
        self._unsettled.discard(open_us)
        self._changed.discard(open_us)
        self._candles.pop(open_us, None)
        self._replaced_by_candle.discard(open_us)
        self._bars.pop(open_us, None)

    def _bar_at(self, open_us: int) -> OpenBar:
        bar = self._bars.get(open_us)
        if bar is None:
            bar = OpenBar(
                self._instrument, open_time_us=open_us, interval_us=self.interval_us, ties_by_id=self._ordered_ids
            )
            self._bars[open_us] = bar
        return bar

    def _build(self, open_bar: OpenBar, completeness_of: CompletenessLookup, now_us: int, *, revision: int) -> Bar:
        open_us = open_bar.open_time_us
        report = completeness_of(open_us, open_bar.close_time_us)
        completeness = report.completeness
        if completeness is Completeness.PROVEN and not open_bar.trades:
            completeness = Completeness.EMPTY
        bar = open_bar.bar(
            completeness=completeness,
            known_at_us=now_us,
            missing_trades=report.missing_trades,
            revision=revision,
            decimals=self._decimals,
        )
        if report.ranges:
            bar = msgspec.structs.replace(bar, missing_ranges=report.ranges)
        if not self._contiguous_ids:
            bar = msgspec.structs.replace(bar, first_trade_id=None, last_trade_id=None)
        replaced = completeness is Completeness.GAP or open_us in self._replaced_by_candle
        candle = self._candles.get(open_us) if replaced else None
        if candle is not None:
            bar = self._with_candle(bar, candle)
        settled = report.final or candle is not None
        (self._unsettled.discard if settled else self._unsettled.add)(open_us)
        return bar

    def _with_candle(self, bar: Bar, candle: Bar) -> Bar:
        """The candle in place of the bar; where both agree no trade was missing, and the bar with its sides stays."""
        if not differences(bar, candle, opens_at_previous_close=self._opens_at_previous_close):
            return msgspec.structs.replace(bar, completeness=Completeness.UNPROVEN, missing_trades=0, missing_ranges=())
        return msgspec.structs.replace(
            candle,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=bar.known_at_us,
            revision=bar.revision,
            late_trades=bar.late_trades,
            missing_ranges=bar.missing_ranges,
        )


def _content(bar: Bar) -> Bar:
    """The bar without its revision number and time, for comparison."""
    return msgspec.structs.replace(bar, revision=0, known_at_us=0)
