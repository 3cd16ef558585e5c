"""Recovery planner of one instrument: decides which REST request comes next. No I/O.

Requests are the snapshot at the start, repairs of known gaps, proof at a close, candles in place of trades that cannot
be recovered, and probes of a silent stream.
"""

from __future__ import annotations

from collections import Counter

from daemon.pipeline.bar_aggregator import BarAggregator, CompletenessLookup
from daemon.pipeline.continuity import Continuity, MissingRange
from daemon.pipeline.events import (
    CandleRequested,
    Event,
    RepairReason,
    RepairRequested,
    Request,
    RequestGivenUp,
    SnapshotRequested,
)
from daemon.pipeline.request_slot import RequestSlot
from daemon.pipeline.staleness import StalenessTimer
from daemon.pipeline.timeouts import Timeouts
from features.market import Completeness, Instrument, interval_start

_CANDLE_ATTEMPTS = 8  # within about two minutes; a venue that has no candle by then leaves a gap


class RecoveryPlanner:
    """Appends one request at a time to ``events``, the pipeline's list.

    candles: whether the venue's candle may replace trades that cannot be recovered.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        bars: BarAggregator,
        staleness: StalenessTimer,
        candles: bool,
        events: list[Event],
    ) -> None:
        self._instrument = instrument
        self._bars = bars
        self._staleness = staleness
        self._candles = candles
        self._events = events
        self._slot = RequestSlot()
        self._candle_requests: Counter[int] = Counter()  # by open time
        self._gap_repair_failed = False

    @property
    def in_flight(self) -> bool:
        return self._slot.in_flight

    def holds(self, request: Request) -> bool:
        """Whether this very request is in flight; otherwise it was answered or given up before."""
        return self._slot.holds(request)

    def keep(self, request: Request, wall_s: float) -> None:
        """The edge still works on ``request``."""
        self._slot.keep(request, wall_s)

    def give_up_overdue(self, wall_s: float, timeout_s: float) -> bool:
        """Gives the request in flight up if nothing has been known of it for ``timeout_s``; returns whether it did."""
        request = self._slot.request
        if request is None or not self._slot.overdue(wall_s, timeout_s):
            return False
        self._events.append(RequestGivenUp(request))
        return True

    def request_ended(self, *, helped: bool, wall_s: float) -> None:
        """The request in flight was answered, failed or was given up."""
        request = self._slot.request
        for_gap = isinstance(request, RepairRequested) and request.reason is RepairReason.GAP
        self._gap_repair_failed = for_gap and not helped
        self._slot.end(helped=helped, wall_s=wall_s)

    def candles_unavailable(self) -> None:
        """The venue has no candles that fit the interval: none is requested any more."""
        self._candles = False

    def request_snapshot(self, now_us: int, wall_s: float) -> None:
        """Requests the trades since the open of the current interval, where the sequence will start."""
        if self._slot.is_free(wall_s):
            from_us = interval_start(now_us, self._bars.interval_us)
            self._send(SnapshotRequested(self._instrument, from_us, self._slot.next_id), wall_s)

    def request_next(
        self,
        continuity: Continuity,
        completeness_of: CompletenessLookup,
        timeouts: Timeouts,
        *,
        check_due: bool,
        now_us: int,
        wall_s: float,
    ) -> None:
        """Makes the most urgent request, if one is due: gaps before closes before probes.

        After a repair that did not help, requests for closes go before the next gap once.
        check_due: see ``TradeSequencer``.
        """
        if not self._slot.is_free(wall_s):
            return
        for_gap = self._request_for_gap(continuity)
        for_closes = self._request_for_closes(continuity, completeness_of, now_us - timeouts.grace_us)
        request = for_closes or for_gap if self._gap_repair_failed else for_gap or for_closes
        if request is None and check_due:
            request = self._repair(continuity.beyond_newest(), RepairReason.PROOF)
        if request is None and self._staleness.probe_due(wall_s, timeouts.stale_after_s):
            self._staleness.probed(wall_s)
            request = self._repair(continuity.beyond_newest(), RepairReason.PROBE)
        if request is not None:
            self._send(request, wall_s)

    def _request_for_gap(self, continuity: Continuity) -> RepairRequested | None:
        missing = continuity.next_missing()
        return None if missing is None else self._repair(missing, RepairReason.GAP)

    def _request_for_closes(
        self, continuity: Continuity, completeness_of: CompletenessLookup, closed_by_us: int
    ) -> RepairRequested | CandleRequested | None:
        """Proof or a candle for the oldest bar that needs it, among the unsettled ones and the one that closes next."""
        opens = self._bars.unsettled_opens_us
        if self._bars.next_close_us <= closed_by_us:
            opens.append(self._bars.next_open_us)
        for open_us in opens:
            close_us = open_us + self._bars.interval_us
            report = completeness_of(open_us, close_us)
            if report.completeness is Completeness.UNPROVEN and not report.final and close_us <= closed_by_us:
                newest = continuity.beyond_newest()
                if newest.from_id is None:  # by time: nothing before this interval, however old the last trade is
                    newest = newest._replace(after_us=max(newest.after_us, open_us))
                return self._repair(newest, RepairReason.PROOF)
            if report.completeness is Completeness.GAP and self._may_request_candle(open_us):
                self._candle_requests[open_us] += 1
                return CandleRequested(self._instrument, open_us, self._slot.next_id)
        return None

    def _may_request_candle(self, open_us: int) -> bool:
        needed = self._candles and not self._bars.has_candle(open_us)
        return needed and self._candle_requests[open_us] < _CANDLE_ATTEMPTS

    def _repair(self, missing: MissingRange, reason: RepairReason) -> RepairRequested:
        return RepairRequested(self._instrument, *missing, reason, self._slot.next_id)

    def _send(self, request: Request, wall_s: float) -> None:
        self._slot.begin(request, wall_s)
        self._events.append(request)
