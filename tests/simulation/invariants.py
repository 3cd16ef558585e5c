"""What must hold after every event of a simulated world."""

from __future__ import annotations

from daemon.exchanges.base import Ids
from daemon.pipeline.continuity import MAX_RANGES
from features.market import Bar, Completeness
from tests.simulation.market import LOTS_PER_UNIT, TICKS_PER_UNIT, Market, TrueBar

_REVISABLE_BARS = 60


class InvariantBroken(Exception):
    """A promise that the code did not keep in this world."""


class BarChecker:
    """Holds the bars of one instrument against its market."""

    def __init__(self, market: Market, ids: Ids, *, loses_silently: bool) -> None:
        self._market = market
        self._ids = ids
        # Without a silent loss, what an uninterrupted subscription delivers is everything, ids or not.
        self._unproven_is_right = ids is not Ids.CONTIGUOUS and not loses_silently
        self._next_open_us: int | None = None
        self._restarted = False  # a power cut may have taken back revisions
        self._newest: dict[int, Bar] = {}  # the last revision of each bar that may still be revised
        self.proven = 0
        self.bars = 0

    def restarted(self) -> None:
        """After a restart bars may be closed again, or left to the venue's candles."""
        self._next_open_us = None
        self._restarted = True

    def settled(self) -> None:
        """No bar so far is revised any more: its last revision is what a consumer keeps."""
        for bar in self._newest.values():
            self._demand_settled(bar)
        self._newest.clear()

    def closed(self, bar: Bar, now_us: int) -> None:
        if self._next_open_us is not None and bar.open_time_us != self._next_open_us:
            raise InvariantBroken(f"the bar after {self._next_open_us} opened at {bar.open_time_us}")
        self._next_open_us = bar.close_time_us
        self.bars += 1
        self._check(bar, now_us)

    def revised(self, bar: Bar, now_us: int) -> None:
        before = self._newest.get(bar.open_time_us)
        if before is not None and bar.revision <= before.revision and not self._restarted:
            raise InvariantBroken(f"revision {bar.revision} of {bar.label} follows {before.revision}")
        self._check(bar, now_us)

    def _check(self, bar: Bar, now_us: int) -> None:
        self._newest[bar.open_time_us] = bar
        if len(self._newest) > _REVISABLE_BARS:
            self._demand_settled(self._newest.pop(min(self._newest)))
        if bar.close_time_us > now_us:
            raise InvariantBroken(f"{bar.label} closes at {bar.close_time_us}, and now is {now_us}")
        truth = self._market.truth(bar.open_time_us)
        match bar.completeness:
            case Completeness.PROVEN:
                self.proven += 1
                self._demand_equal(bar, truth)
            case Completeness.EMPTY:
                self.proven += 1
                if truth.trades:
                    raise InvariantBroken(f"{bar.label} is empty, and {truth.trades} trades happened")
            case Completeness.GAP if self._ids is Ids.CONTIGUOUS:
                self._demand_counted(bar, truth)
            case _:
                pass

    def _demand_settled(self, bar: Bar) -> None:
        """A stall is noticed seconds later, so that a bar may be unproven and wrong at first, but not for good."""
        if bar.completeness is Completeness.UNPROVEN and self._unproven_is_right:
            self._demand_equal(bar, self._market.truth(bar.open_time_us))

    def _demand_equal(self, bar: Bar, truth: TrueBar) -> None:
        opened, high, low, closed = (
            None if price is None else round(price * TICKS_PER_UNIT)
            for price in (bar.open, bar.high, bar.low, bar.close)
        )
        volumes = round(bar.volume * LOTS_PER_UNIT), round((bar.taker_buy_volume or 0.0) * LOTS_PER_UNIT)
        found = (bar.trades, high, low, *volumes)
        ends_right = opened in (truth.opens or {None}) and closed in (truth.closes or {None})
        if found != (truth.trades, truth.high, truth.low, truth.lots, truth.taker_lots) or not ends_right:
            raise InvariantBroken(
                f"{bar.label} is {bar.completeness} with {found} from {opened} to {closed}, the truth is {truth}"
            )

    def _demand_counted(self, bar: Bar, truth: TrueBar) -> None:
        """Missing ids are exactly those of trades that happened and that the bar lacks.

        The ranges may reach into a neighbour, and trades beyond the newest known id are not known to be missing.
        """
        assert bar.trades is not None
        ranges = [(each.first_id, each.last_id) for each in bar.missing_ranges]
        listed = sum(last - first + 1 for first, last in ranges if first is not None and last is not None)
        if len(ranges) < MAX_RANGES and listed != bar.missing_trades:
            raise InvariantBroken(f"{bar.label} lists {listed} missing trades and reports {bar.missing_trades}")
        happened = self._market.count_ids(ranges)
        if happened != listed:
            raise InvariantBroken(f"{bar.label} lists {listed} missing trades, of which {happened} happened")
        own = self._market.count_ids(ranges, open_us=bar.open_time_us)
        if bar.trades + own > truth.trades:
            raise InvariantBroken(f"{bar.label} has {bar.trades} trades and lacks {own} of {truth.trades}")
