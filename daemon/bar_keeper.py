"""The open bars of one instrument, and its last closed ones for as long as a late trade can revise them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade, interval_start

_KEPT_CLOSED_BARS = 48

# Whether every id of the bar that opens at the first and closes at the second time is known, and how many of
# them are missing.
Knowledge = Callable[[int, int], tuple[bool, int]]


class BarKeeper:
    """Bars close in order, one after another; ``start`` says with which."""

    def __init__(self, instrument: Instrument, *, interval_us: int, decimals: int) -> None:
        self.interval_us = interval_us
        self.first_open_us = 0
        self.next_open_us = 0
        self.late_dropped = 0
        self._instrument = instrument
        self._decimals = decimals
        self._bars: dict[int, OpenBar] = {}
        self._closed: dict[int, Bar] = {}
        self._touched: set[int] = set()

    @property
    def next_close_us(self) -> int:
        """The end of the interval that closes next."""
        return self.next_open_us + self.interval_us

    @property
    def current(self) -> OpenBar:
        """The bar that closes next."""
        return self._at(self.next_open_us)

    @property
    def first_unproven_us(self) -> int:
        """The close that proof is wanted for: of the first bar that closed without it, else the next one."""
        unproven = (bar.close_time_us for bar in self._closed.values() if bar.completeness is Completeness.UNPROVEN)
        return min(unproven, default=self.next_close_us)

    def start(self, first_open_us: int) -> None:
        """Trades before ``first_open_us`` belong to no bar of ours."""
        self.first_open_us = self.next_open_us = first_open_us

    def restore(self, told: Sequence[Bar]) -> None:
        """Takes bars, oldest first, for closed as they were told; their trades have been added since ``start``."""
        for bar in told:
            self._closed[bar.open_time_us] = bar
            self.next_open_us = bar.close_time_us

    def add(self, trade: Trade) -> None:
        """Adds a trade of any interval; one of a closed bar makes that bar due for a revision."""
        if not trade.count or trade.time_us < self.first_open_us:
            return
        open_us = interval_start(trade.time_us, self.interval_us)
        if open_us >= self.next_open_us:
            self._at(open_us).add(trade)
        elif (closed := self._bars.get(open_us)) is not None:
            closed.add(trade)
            closed.late_trades += 1
            self._touched.add(open_us)
        else:
            self.late_dropped += 1

    def close(self, knowledge: Knowledge, now_us: int) -> Bar:
        """Closes the current bar as revision 0, with the verdict that ``knowledge`` gives."""
        bar = self._made(self.current, knowledge, now_us, revision=0)
        self._closed[bar.open_time_us] = bar
        self.next_open_us += self.interval_us
        while len(self._closed) > _KEPT_CLOSED_BARS:
            oldest = min(self._closed)
            del self._closed[oldest]
            self._bars.pop(oldest, None)
        return bar

    def revisions(self, knowledge: Knowledge, now_us: int) -> list[Bar]:
        """The closed bars that are known better than when they were last told, oldest first."""
        revised = []
        for open_us, told in sorted(self._closed.items()):
            settled = told.completeness in {Completeness.PROVEN, Completeness.EMPTY}
            if settled and open_us not in self._touched:
                continue
            bar = self._made(self._at(open_us), knowledge, now_us, revision=told.revision + 1)
            if msgspec.structs.replace(bar, revision=told.revision, known_at_us=told.known_at_us) != told:
                self._closed[open_us] = bar
                revised.append(bar)
        self._touched.clear()
        return revised

    def _at(self, open_us: int) -> OpenBar:
        bar = self._bars.get(open_us)
        if bar is None:
            bar = OpenBar(self._instrument, open_time_us=open_us, interval_us=self.interval_us)
            self._bars[open_us] = bar
        return bar

    def _made(self, open_bar: OpenBar, knowledge: Knowledge, now_us: int, *, revision: int) -> Bar:
        proven, missing = knowledge(open_bar.open_time_us, open_bar.close_time_us)
        if missing:
            completeness = Completeness.GAP
        elif not proven:
            completeness = Completeness.UNPROVEN
        else:
            completeness = Completeness.PROVEN if open_bar.trades else Completeness.EMPTY
        return open_bar.bar(
            completeness=completeness,
            known_at_us=now_us,
            missing_trades=missing,
            revision=revision,
            decimals=self._decimals,
        )
