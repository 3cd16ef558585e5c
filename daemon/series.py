"""One instrument from trades to closed bars: continuity, open bars, closing, repair and liveness. No I/O.

A bar closes as soon as it is proven: a trade at or past its end joined by id, or the venue answered, asked
after the boundary plus grace, that nothing lies beyond the watermark. Past ``proof_wait`` it closes
unproven or with a gap, and a revision follows when the proof comes.
"""

from __future__ import annotations

from collections.abc import Sequence

from daemon.bar_keeper import BarKeeper
from daemon.events import (
    BarClosed,
    BarRevised,
    Event,
    FeedMute,
    GapOpened,
    GapRepaired,
    RepairReason,
    RepairWanted,
    SeedWanted,
    SymbolState,
    SymbolStateChanged,
)
from daemon.ingest.continuity import Admission, Continuity
from daemon.inquiry import Inquiry
from daemon.liveness import Hearing, Patience
from daemon.records import SequenceState
from features.bars import OpenBar
from features.market import Bar, Instrument, Trade, interval_start

_FURTHEST_AHEAD_US = 86_400_000_000  # a trade more than a day ahead of our clock is nonsense, not news


class Series:
    """The state of one instrument. ``events`` is the pipeline's list, shared by all series."""

    def __init__(
        self, instrument: Instrument, *, interval_us: int, decimals: int, patience: Patience, events: list[Event]
    ) -> None:
        self.instrument = instrument
        self.patience = patience
        self.state = SymbolState.WARMING_UP
        self.state_reason = "waiting for the first trades"
        self.malformed = 0
        self.duplicates = 0
        self.last_trade: Trade | None = None
        self._events = events
        self._bars = BarKeeper(instrument, interval_us=interval_us, decimals=decimals)
        self._inquiry = Inquiry()
        self._continuity: Continuity | None = None
        self._trades = 0
        self._unsaved: list[Trade] = []
        self._flowing: OpenBar | None = None  # the open bar, while trades come as they should
        self._run: list[Trade] = []  # taken by take_next, not yet counted, nor in the open bar
        self._head_asked_at_us = 0
        self._gap_trades = 0
        self._hearing = Hearing()
        self._joining = False
        self._catching_up = False
        self._started_s: float | None = None

    # ---------------------------------------------------------------- where the sequence stands

    @property
    def warm(self) -> bool:
        """Whether the sequence has a start, so that its bars will be whole."""
        return self._continuity is not None

    @property
    def first_open_us(self) -> int:
        """The open time of the first bar that is made from trades."""
        return self._bars.first_open_us

    @property
    def next_close_us(self) -> int:
        """The end of the interval that closes next."""
        return self._bars.next_close_us

    @property
    def trades(self) -> int:
        """Records taken so far, duplicates left out."""
        return self._trades + len(self._run)

    @property
    def last_trade_at_us(self) -> int | None:
        return self.last_trade.time_us if self.last_trade else None

    @property
    def last_price(self) -> float | None:
        return self.last_trade.price if self.last_trade else None

    @property
    def late_dropped(self) -> int:
        """Trades that came too late for any bar that is still kept."""
        return self._bars.late_dropped

    @property
    def missing_trades(self) -> int:
        return sum(lost.count for lost in self._continuity.missing) if self._continuity else 0

    def take_unsaved(self) -> list[Trade]:
        """The trades since the last call; ``sequence_state`` covers them."""
        self._settle()
        trades, self._unsaved = self._unsaved, []
        return trades

    def sequence_state(self) -> SequenceState | None:
        return self._continuity.state() if self._continuity else None

    def resume(
        self, state: SequenceState, trades: Sequence[Trade], *, first_open_us: int, told: Sequence[Bar] = ()
    ) -> None:
        """Goes on from a stored state; ``trades`` are the stored ones since ``first_open_us``.

        told: bars from ``first_open_us`` on that were closed before, of which the first is not proven yet.
        """
        self._catching_up = True
        self._continuity = Continuity(state)
        self._bars.start(first_open_us)
        for trade in trades:
            self._bars.add(trade)
        self._bars.restore(told)
        self.last_trade = max(trades, key=lambda trade: trade.trade_id, default=None)

    def seed(
        self,
        page: Sequence[Trade],
        latest: Trade | None,
        *,
        from_time_us: int,
        now_us: int,
        wall_s: float,
        whole: bool = True,
    ) -> None:
        """Starts the sequence at ``from_time_us``, the answer to a SeedWanted.

        page: the venue's first trades at or after that time. latest: its newest trade, asked for after an
        empty page; None where the instrument never traded. whole: whether nothing before the page is missing
        from its interval; else that first bar can never be proven.
        """
        if not page and latest is not None and latest.time_us >= from_time_us:
            self.request_failed("trades came while the start was asked for", now_us, wall_s)
            return
        if page:
            last_id, last_time_us = page[0].trade_id - 1, from_time_us - 1
        elif latest is not None:
            last_id, last_time_us = latest.trade_id, latest.time_us
        else:
            last_id, last_time_us = -1, from_time_us - 1
        self._inquiry.end(helped=True, wall_s=wall_s)
        self._continuity = Continuity(
            SequenceState(
                last_id=last_id,
                last_time_us=last_time_us,
                covered_from_us=from_time_us if whole else from_time_us + self._bars.interval_us,
            )
        )
        self._bars.start(interval_start(from_time_us, self._bars.interval_us))
        self._joining = self._catching_up = True
        self._started_s = wall_s
        self.last_trade = latest
        self._admit(page, now_us)

    # ---------------------------------------------------------------- trades in

    def trades_received(self, trades: Sequence[Trade], now_us: int, wall_s: float) -> None:
        """Trades from the stream, in the venue's order. Before the seed they are left to the repair by id.

        See ``take_next`` for what is quicker.
        """
        self._hearing.heard(wall_s)
        if self._continuity is None:
            return
        self._admit(trades, now_us)
        if self.state is not SymbolState.LIVE:
            self._set_state(SymbolState.LIVE, now_us, "trades are coming in")
        if self._continuity.last_time_us >= self.next_close_us:
            self._close_bars(now_us)
        self._flowing = self._bars.current

    def take_next(self, trade: Trade) -> bool:
        """Takes a trade from the stream if it is simply the next of the open bar, as nearly every trade is.

        False, and nothing has happened, where there is more to it: then it belongs to ``trades_received``.
        """
        continuity, flowing = self._continuity, self._flowing
        if continuity is None or flowing is None or trade.trade_id != continuity.last_id + 1:
            return False
        time_us = trade.time_us
        if not flowing.open_time_us <= time_us < flowing.close_time_us or not trade.count:
            return False
        continuity.last_id, continuity.last_time_us = trade.trade_id, time_us
        self._hearing.heard_just_now()
        self.last_trade = trade
        self._run.append(trade)
        return True

    def repair_received(
        self, trades: Sequence[Trade], *, head_reached: bool, asked_at_us: int, now_us: int, wall_s: float
    ) -> None:
        """The answer to a RepairWanted. ``asked_at_us`` is market time before the venue was asked."""
        reason = self._inquiry.reason
        assert self._continuity is not None, f"{self.instrument} was repaired before it was seeded"
        before = self.trades
        missing_before = self.missing_trades
        self._admit(trades, now_us)
        fresh = self.trades - before
        if head_reached:
            self._head_asked_at_us = max(self._head_asked_at_us, asked_at_us)
            self._catching_up = self._catching_up and bool(self._continuity.missing)
        helped = fresh > 0 or (head_reached and reason is not RepairReason.GAP)
        self._inquiry.end(helped=helped, wall_s=wall_s)
        if missing_before:
            self._gap_trades += missing_before - self.missing_trades
        self._close_bars(now_us)
        if reason is RepairReason.PROBE:
            self._judge_probe(trades, fresh, now_us, wall_s, asked_at_us)

    def request_failed(self, reason: str, now_us: int, wall_s: float) -> None:
        """A RepairWanted or SeedWanted could not be answered; it will be asked again later."""
        self._inquiry.end(helped=False, wall_s=wall_s)
        if self._continuity is None:
            self._set_state(SymbolState.WARMING_UP, now_us, f"the venue could not be asked: {reason}")
        elif self._hearing.quiet_for_s(wall_s) > self.patience.stale_after_s:
            self._set_state(SymbolState.STALE, now_us, f"no trades and no answer from the venue: {reason}")

    # ---------------------------------------------------------------- time in

    def time_advanced(self, now_us: int, wall_s: float) -> None:
        """Closes what can be closed, revises what became better known, and asks for what is missing."""
        if self._inquiry.overdue(wall_s, self.patience.answer_timeout_s):
            self.request_failed("no answer in time", now_us, wall_s)
        if self._continuity is None:
            self._want_seed(now_us, wall_s)
            return
        self._hearing.note(wall_s)
        if self._started_s is None:
            self._started_s = wall_s
        if wall_s - self._started_s > self.patience.catch_up_s:
            self._catching_up = False
        self._close_bars(now_us)
        if not self._inquiry.under_way:
            # Only now, so that a long repair makes one revision of each bar and not hundreds.
            self._announce_repair(now_us)
            self._events += map(BarRevised, self._bars.revisions(self._knowledge, now_us))
            self._want_repair(now_us, wall_s)

    # ---------------------------------------------------------------- inside

    def _admit(self, trades: Sequence[Trade], now_us: int) -> None:
        continuity = self._continuity
        assert continuity is not None
        self._settle()
        latest_us = now_us + _FURTHEST_AHEAD_US
        for trade in trades:
            if trade.time_us > latest_us:
                self.malformed += 1
                continue
            admission = continuity.admit(trade)
            if admission is Admission.DUPLICATE:
                self.duplicates += 1
                continue
            if admission is Admission.OPENED_GAP and not self._joining:
                self._events.append(GapOpened(self.instrument, continuity.missing[-1], now_us))
            self._trades += 1
            self._unsaved.append(trade)
            if trade.trade_id == continuity.last_id:
                self.last_trade = trade
            self._bars.add(trade)

    def _settle(self) -> None:
        """Puts the trades that ``take_next`` took where all others are."""
        if self._run and self._flowing is not None:
            self._trades += len(self._run)
            self._unsaved += self._run
            self._flowing.extend(self._run)
            self._run.clear()

    def _proven(self, close_us: int) -> bool:
        """Whether every id of the interval that ends at ``close_us`` is known of; some may still be missing."""
        assert self._continuity is not None
        if close_us - self._bars.interval_us < self._continuity.covered_from_us:
            return False
        return self._continuity.last_time_us >= close_us or self._head_asked_at_us >= close_us + self.patience.grace_us

    def _knowledge(self, open_us: int, close_us: int) -> tuple[bool, int]:
        assert self._continuity is not None
        return self._proven(close_us), self._continuity.missing_between(open_us, close_us)

    def _close_bars(self, now_us: int) -> None:
        while True:
            close_us = self._bars.next_close_us
            proven, missing = self._knowledge(self._bars.next_open_us, close_us)
            waits = self._catching_up or now_us < close_us + self.patience.proof_wait_us
            if waits and (missing or not proven):
                return
            self._settle()
            self._flowing = None
            self._events.append(BarClosed(self._bars.close(self._knowledge, now_us), now_us - close_us))

    # ---------------------------------------------------------------- asking the venue

    def _want_seed(self, now_us: int, wall_s: float) -> None:
        if self._inquiry.may_begin(wall_s):
            self._inquiry.begin(RepairReason.PROOF, wall_s)
            self._events.append(SeedWanted(self.instrument, interval_start(now_us, self._bars.interval_us)))

    def _want_repair(self, now_us: int, wall_s: float) -> None:
        assert self._continuity is not None
        if not self._inquiry.may_begin(wall_s):
            return
        boundary_us = self._bars.first_unproven_us
        if self._continuity.missing:
            lost = self._continuity.missing[0]
            self._ask(RepairWanted(self.instrument, lost.first_id, lost.last_id, RepairReason.GAP), wall_s)
        elif now_us >= boundary_us + self.patience.grace_us and not self._proven(boundary_us):
            self._ask(self._beyond_watermark(RepairReason.PROOF), wall_s)
        elif self._hearing.probe_due(wall_s, self.patience.stale_after_s):
            self._hearing.probed(wall_s)
            self._ask(self._beyond_watermark(RepairReason.PROBE), wall_s)

    def _beyond_watermark(self, reason: RepairReason) -> RepairWanted:
        assert self._continuity is not None
        return RepairWanted(self.instrument, self._continuity.last_id + 1, None, reason)

    def _ask(self, wanted: RepairWanted, wall_s: float) -> None:
        self._inquiry.begin(wanted.reason, wall_s)
        self._events.append(wanted)

    def _announce_repair(self, now_us: int) -> None:
        if self.missing_trades:
            return
        if self._gap_trades and not self._joining:
            self._events.append(GapRepaired(self.instrument, self._gap_trades, now_us))
        self._gap_trades = 0
        if self.state is SymbolState.LIVE:
            self._joining = self._catching_up = False

    # ---------------------------------------------------------------- liveness

    def _judge_probe(self, trades: Sequence[Trade], fresh: int, now_us: int, wall_s: float, asked_at_us: int) -> None:
        """A quiet market answers with nothing new; a dead subscription is given away by trades it did not bring."""
        unheard = sum(1 for trade in trades if trade.time_us < asked_at_us - self.patience.unheard_age_us)
        if fresh and unheard:
            self._set_state(SymbolState.STALE, now_us, f"{fresh} trades did not come by the stream")
            self._events.append(FeedMute(self.instrument, fresh))
        elif not fresh and self._hearing.quiet_for_s(wall_s) > self.patience.halted_after_s:
            self._set_state(SymbolState.HALTED, now_us, "the venue confirms that nothing was traded")

    def _set_state(self, state: SymbolState, now_us: int, reason: str) -> None:
        if state is self.state and reason == self.state_reason:
            return
        self.state, self.state_reason = state, reason
        self._settle()
        self._flowing = None
        self._events.append(SymbolStateChanged(self.instrument, state, now_us, self.last_trade_at_us, reason))
