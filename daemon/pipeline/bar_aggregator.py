"""The open bars of one instrument, and its last closed ones for as long as a late trade can revise them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from daemon.pipeline.continuity import CompletenessReport
from daemon.pipeline.reconciliation import differences
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade, interval_start

_KEPT_CLOSED_BARS = 48
_SETTLED = (Completeness.PROVEN, Completeness.EMPTY)

# What is known of the trades between an open and a close time.
CompletenessLookup = Callable[[int, int], CompletenessReport]


class BarAggregator:
    """Bars close in order, one after another; ``start`` says with which.

    ordered: whether trade ids say which of two trades of one time came first. numbered: whether ids are a proven
    sequence, so that a bar may tell its first and last. opens_at_previous_close: see ``Venue``.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        interval_us: int,
        decimals: int,
        ordered: bool = True,
        numbered: bool = True,
        opens_at_previous_close: bool = False,
    ) -> None:
        self.interval_us = interval_us
        self.first_open_us = 0
        self.next_open_us = 0
        self.late_dropped = 0
        self._instrument = instrument
        self._decimals = decimals
        self._ordered = ordered
        self._numbered = numbered
        self._opens_at_previous_close = opens_at_previous_close
        self._bars: dict[int, OpenBar] = {}
        self._closed: dict[int, Bar] = {}
        self._unsettled: set[int] = set()
        self._changed: set[int] = set()
        self._candles: dict[int, Bar] = {}
        self._replaced_by_candle: set[int] = set()

    @property
    def next_close_us(self) -> int:
        """The end of the interval that closes next."""
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
    def first_unsettled_us(self) -> int:
        """The close that more must be learnt of: of the first closed bar that is not settled, else the next one."""
        return min(self._unsettled, default=self.next_open_us) + self.interval_us

    @property
    def all_settled(self) -> bool:
        """Whether no closed bar waits to be known better, or to be told anew."""
        return not self._unsettled and not self._changed

    @property
    def unsettled_opens_us(self) -> list[int]:
        """The open times of the closed bars of which more may become known, oldest first."""
        return sorted(self._unsettled)

    def start(self, first_open_us: int) -> None:
        """Trades before ``first_open_us`` belong to no bar of ours."""
        self.first_open_us = self.next_open_us = first_open_us

    def restore(self, published: Sequence[Bar]) -> None:
        """Takes bars, oldest first, for closed as they were told; their trades have been added since ``start``."""
        for bar in published:
            self._closed[bar.open_time_us] = bar
            if bar.completeness not in _SETTLED:
                self._unsettled.add(bar.open_time_us)
            restored = self._bar_at(bar.open_time_us)
            restored.late_trades = bar.late_trades + max(restored.trades - (bar.trades or 0), 0)
            self.next_open_us = bar.close_time_us

    def add(self, trade: Trade) -> None:
        """Adds a trade of any interval; one of a closed bar makes that bar due for a revision."""
        if not trade.count or trade.time_us < self.first_open_us:
            return
        open_us = interval_start(trade.time_us, self.interval_us)
        if open_us >= self.next_open_us:
            self._bar_at(open_us).add(trade)
        elif (closed := self._bars.get(open_us)) is not None:
            closed.add(trade)
            closed.late_trades += 1
            self._changed.add(open_us)
        else:
            self.late_dropped += 1

    def rebuild(self, open_us: int, trades: Sequence[Trade]) -> None:
        """Makes a closed bar from ``trades`` alone; one that is not kept any more stays as it was told."""
        if open_us not in self._closed:
            return
        late_trades = self._bars.pop(open_us).late_trades if open_us in self._bars else 0
        for trade in trades:
            if trade.count and interval_start(trade.time_us, self.interval_us) == open_us:
                self._bar_at(open_us).add(trade)
        self._bar_at(open_us).late_trades = late_trades
        self._changed.add(open_us)

    def mark_unsettled(self, since_us: int) -> None:
        """Trades after ``since_us`` may be missing: closed bars that reach beyond it are unsettled again."""
        self._unsettled |= {open_us for open_us in self._closed if open_us + self.interval_us > since_us}

    def set_candle(self, candle: Bar) -> None:
        """The venue's own candle of an interval whose trades are lost and cannot be had; it counts from now on."""
        self._candles[candle.open_time_us] = candle

    def replace_with_candle(self, candle: Bar) -> None:
        """The venue's candle contradicts a bar that nothing proves: it stands in for trades that were never missed."""
        if candle.open_time_us in self._closed:
            self.set_candle(candle)
            self._replaced_by_candle.add(candle.open_time_us)
            self._changed.add(candle.open_time_us)

    def has_candle(self, open_us: int) -> bool:
        """Whether a candle stands in for the interval where it must."""
        return open_us in self._candles

    def close(self, completeness_of: CompletenessLookup, now_us: int) -> Bar:
        """Closes the current bar as revision 0, with the verdict that ``completeness_of`` gives."""
        bar = self._build(self.current, completeness_of, now_us, revision=0)
        self._closed[bar.open_time_us] = bar
        self.next_open_us += self.interval_us
        while len(self._closed) > _KEPT_CLOSED_BARS:
            self._forget(min(self._closed))
        return bar

    def revisions(self, completeness_of: CompletenessLookup, now_us: int) -> list[Bar]:
        """The closed bars that are known better than when they were last told, oldest first."""
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
                self._instrument, open_time_us=open_us, interval_us=self.interval_us, ties_by_id=self._ordered
            )
            self._bars[open_us] = bar
        return bar

    def _build(self, open_bar: OpenBar, completeness_of: CompletenessLookup, now_us: int, *, revision: int) -> Bar:
        open_us = open_bar.open_time_us
        known = completeness_of(open_us, open_bar.close_time_us)
        completeness = known.completeness
        if completeness is Completeness.PROVEN and not open_bar.trades:
            completeness = Completeness.EMPTY
        bar = open_bar.bar(
            completeness=completeness,
            known_at_us=now_us,
            missing_trades=known.missing_trades,
            revision=revision,
            decimals=self._decimals,
        )
        if known.ranges:
            bar = msgspec.structs.replace(bar, missing_ranges=known.ranges)
        if not self._numbered:
            bar = msgspec.structs.replace(bar, first_trade_id=None, last_trade_id=None)
        stands_in = completeness is Completeness.GAP or open_us in self._replaced_by_candle
        candle = self._candles.get(open_us) if stands_in else None
        if candle is not None:
            bar = self._with_candle(bar, candle)
        settled = known.final or candle is not None
        (self._unsettled.discard if settled else self._unsettled.add)(open_us)
        return bar

    def _with_candle(self, bar: Bar, candle: Bar) -> Bar:
        """The candle in the bar's place; where both agree, nothing was lost and the bar, with its sides, stays."""
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
    """The bar without when and how often it was told."""
    return msgspec.structs.replace(bar, revision=0, known_at_us=0)
