"""One instrument from trades to closed bars: continuity, open bars, closing, repair and liveness. No I/O.

A bar closes as soon as it is proven: a trade at or past its end joined by id, or the venue answered, asked
after the boundary plus grace, that nothing lies beyond the watermark. Past ``proof_wait`` it closes
unproven or with a gap, and a revision follows when the proof comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

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
from daemon.records import SequenceState
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade, interval_start

_KEPT_CLOSED_BARS = 48  # closed bars that a late trade or a repair can still revise
_LONGEST_BACKOFF_S = 30.0
_FURTHEST_AHEAD_US = 86_400_000_000  # a trade more than a day ahead of our clock is nonsense, not news


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for what. ``*_us`` are market time (already scaled), ``*_s`` wall time.

    catch_up_s: after a start no bar closes without proof for so long, unless the venue has been asked before.
    """

    grace_us: int
    proof_wait_us: int
    answer_timeout_s: float = 60.0
    stale_after_s: float = 30.0
    halted_after_s: float = 600.0
    catch_up_s: float = 30.0
    unheard_age_us: int = 5_000_000


class Series:
    """The state of one instrument. ``events`` is the pipeline's list, shared by all series."""

    def __init__(
        self, instrument: Instrument, *, interval_us: int, decimals: int, patience: Patience, events: list[Event]
    ) -> None:
        self.instrument = instrument
        self.patience = patience
        self.state = SymbolState.WARMING_UP
        self.state_reason = "waiting for the first trades"
        self.state_since_us = 0
        self.malformed = 0
        self.duplicates = 0
        self.late_dropped = 0
        self.last_trade: Trade | None = None
        self._interval_us = interval_us
        self._decimals = decimals
        self._events = events
        self._continuity: Continuity | None = None
        self._trades = 0
        self._unsaved: list[Trade] = []
        self._flowing: OpenBar | None = None  # the open bar, while trades come as they should
        self._run: list[Trade] = []  # taken by take_next, not yet counted, nor in the open bar
        self._bars: dict[int, OpenBar] = {}
        self._emitted: dict[int, Bar] = {}
        self._first_open_us = 0
        self._next_open_us = 0
        self._dirty: set[int] = set()
        self._head_asked_at_us = 0
        self._pending: RepairReason | None = None
        self._pending_since_s = 0.0
        self._not_before_s = 0.0
        self._backoff_s = 0.5
        self._gap_trades = 0
        self._heard = False
        self._heard_s: float | None = None
        self._probed_s = 0.0
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
        return self._first_open_us

    @property
    def next_close_us(self) -> int:
        """The end of the interval that closes next."""
        return self._next_open_us + self._interval_us

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
    def missing_trades(self) -> int:
        return sum(lost.count for lost in self._continuity.missing) if self._continuity else 0

    def take_unsaved(self) -> list[Trade]:
        """The trades since the last call; ``sequence_state`` covers them."""
        self._settle()
        trades, self._unsaved = self._unsaved, []
        return trades

    def sequence_state(self) -> SequenceState | None:
        return self._continuity.state() if self._continuity else None

    def resume(self, state: SequenceState, trades: Sequence[Trade], *, first_open_us: int) -> None:
        """Goes on from a stored state; ``trades`` are the stored ones since ``first_open_us``."""
        self._catching_up = True
        self._continuity = Continuity(state)
        self._first_open_us = self._next_open_us = first_open_us
        for trade in trades:
            if trade.time_us >= first_open_us and trade.count:
                self._open_bar(trade.time_us).add(trade)
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
        self._pending = None
        self._backoff_s = 0.5
        self._continuity = Continuity(
            SequenceState(
                last_id=last_id,
                last_time_us=last_time_us,
                covered_from_us=from_time_us if whole else from_time_us + self._interval_us,
            )
        )
        self._first_open_us = self._next_open_us = interval_start(from_time_us, self._interval_us)
        self._joining = self._catching_up = True
        self._started_s = wall_s
        self.last_trade = latest
        self._admit(page, now_us)

    # ---------------------------------------------------------------- trades in

    def trades_received(self, trades: Sequence[Trade], now_us: int, wall_s: float) -> None:
        """Trades from the stream, in the venue's order. Before the seed they are left to the repair by id.

        See ``take_next`` for what is quicker.
        """
        self._heard_s = wall_s
        if self._continuity is None:
            return
        self._admit(trades, now_us)
        if self.state is not SymbolState.LIVE:
            self._set_state(SymbolState.LIVE, now_us, "trades are coming in")
        if self._continuity.last_time_us >= self.next_close_us:
            self._close_bars(now_us)
        self._flowing = self._open_bar(self._next_open_us)

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
        self._heard = True
        self.last_trade = trade
        self._run.append(trade)
        return True

    def repair_received(
        self, trades: Sequence[Trade], *, head_reached: bool, asked_at_us: int, now_us: int, wall_s: float
    ) -> None:
        """The answer to a RepairWanted. ``asked_at_us`` is market time before the venue was asked."""
        reason, self._pending = self._pending, None
        assert self._continuity is not None, f"{self.instrument} was repaired before it was seeded"
        before = self.trades
        missing_before = self.missing_trades
        self._admit(trades, now_us)
        fresh = self.trades - before
        if head_reached:
            self._head_asked_at_us = max(self._head_asked_at_us, asked_at_us)
            self._catching_up = self._catching_up and bool(self._continuity.missing)
        helped = fresh > 0 or (head_reached and reason is not RepairReason.GAP)
        self._backoff_s = 0.5 if helped else min(self._backoff_s * 2, _LONGEST_BACKOFF_S)
        self._not_before_s = wall_s if helped else wall_s + self._backoff_s
        if missing_before:
            self._gap_trades += missing_before - self.missing_trades
        self._close_bars(now_us)
        if reason is RepairReason.PROBE:
            self._judge_probe(trades, fresh, now_us, wall_s, asked_at_us)

    def request_failed(self, reason: str, now_us: int, wall_s: float) -> None:
        """A RepairWanted or SeedWanted could not be answered; it will be asked again later."""
        self._pending = None
        self._not_before_s = wall_s + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, _LONGEST_BACKOFF_S)
        if self._continuity is None:
            self._set_state(SymbolState.WARMING_UP, now_us, f"the venue could not be asked: {reason}")
        elif self._quiet_for_s(wall_s) > self.patience.stale_after_s:
            self._set_state(SymbolState.STALE, now_us, f"no trades and no answer from the venue: {reason}")

    # ---------------------------------------------------------------- time in

    def time_advanced(self, now_us: int, wall_s: float) -> None:
        """Closes what can be closed, revises what became better known, and asks for what is missing."""
        if self._pending and wall_s - self._pending_since_s > self.patience.answer_timeout_s:
            self.request_failed("no answer in time", now_us, wall_s)
        if self._continuity is None:
            self._want_seed(now_us, wall_s)
            return
        if self._heard:
            self._heard, self._heard_s = False, wall_s
        if self._started_s is None:
            self._started_s = wall_s
        if wall_s - self._started_s > self.patience.catch_up_s:
            self._catching_up = False
        self._close_bars(now_us)
        if self._pending is None:
            self._announce_repair(now_us)
            self._revise_bars(now_us)
            self._want_repair(now_us, wall_s)

    # ---------------------------------------------------------------- inside

    def _admit(self, trades: Sequence[Trade], now_us: int) -> None:
        continuity = self._continuity
        assert continuity is not None
        self._settle()
        interval_us = self._interval_us
        open_us = self._next_open_us
        current = self._bars.get(open_us) or self._open_bar(open_us)
        close_us = current.close_time_us
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
            time_us = trade.time_us
            if open_us <= time_us < close_us:
                if trade.count:
                    current.add(trade)
            elif trade.count and time_us >= self._first_open_us:
                self._add_elsewhere(trade, time_us - time_us % interval_us)

    def _settle(self) -> None:
        """Puts the trades that ``take_next`` took where all others are."""
        if self._run and self._flowing is not None:
            self._trades += len(self._run)
            self._unsaved += self._run
            self._flowing.extend(self._run)
            self._run.clear()

    def _add_elsewhere(self, trade: Trade, open_time_us: int) -> None:
        """A trade of a later interval, or of one that is closed already: then its bar is revised."""
        if open_time_us >= self._next_open_us:
            self._open_bar(trade.time_us).add(trade)
            return
        closed = self._bars.get(open_time_us)
        if closed is None:
            self.late_dropped += 1
            return
        closed.add(trade)
        closed.late_trades += 1
        self._dirty.add(open_time_us)

    def _open_bar(self, time_us: int) -> OpenBar:
        open_time_us = interval_start(time_us, self._interval_us)
        bar = self._bars.get(open_time_us)
        if bar is None:
            bar = OpenBar(self.instrument, open_time_us=open_time_us, interval_us=self._interval_us)
            self._bars[open_time_us] = bar
        return bar

    def _proven(self, close_us: int) -> bool:
        """Whether every id of the interval that ends at ``close_us`` is known of; some may still be missing."""
        assert self._continuity is not None
        if close_us - self._interval_us < self._continuity.covered_from_us:
            return False
        return self._continuity.last_time_us >= close_us or self._head_asked_at_us >= close_us + self.patience.grace_us

    def _close_bars(self, now_us: int) -> None:
        assert self._continuity is not None
        while True:
            close_us = self.next_close_us
            proven = self._proven(close_us)
            missing = self._continuity.missing_between(self._next_open_us, close_us)
            waits = self._catching_up or now_us < close_us + self.patience.proof_wait_us
            if waits and (missing or not proven):
                return
            self._settle()
            bar = self._make_bar(self._open_bar(self._next_open_us), proven, missing, now_us, revision=0)
            self._emitted[bar.open_time_us] = bar
            self._next_open_us = close_us
            self._flowing = None
            self._events.append(BarClosed(bar, now_us - close_us))
            self._forget_old_bars()

    def _revise_bars(self, now_us: int) -> None:
        """Called with no request under way, so that a long repair makes one revision and not hundreds."""
        assert self._continuity is not None
        for open_us, emitted in list(self._emitted.items()):
            settled = emitted.completeness in {Completeness.PROVEN, Completeness.EMPTY}
            if settled and open_us not in self._dirty:
                continue
            close_us = emitted.close_time_us
            missing = self._continuity.missing_between(open_us, close_us)
            bar = self._make_bar(
                self._open_bar(open_us), self._proven(close_us), missing, now_us, revision=emitted.revision + 1
            )
            same = msgspec.structs.replace(bar, revision=emitted.revision, known_at_us=emitted.known_at_us) == emitted
            if not same:
                self._emitted[open_us] = bar
                self._events.append(BarRevised(bar))
        self._dirty.clear()

    def _make_bar(self, open_bar: OpenBar, proven: bool, missing: int, now_us: int, *, revision: int) -> Bar:
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

    def _forget_old_bars(self) -> None:
        while len(self._emitted) > _KEPT_CLOSED_BARS:
            oldest = min(self._emitted)
            del self._emitted[oldest]
            self._bars.pop(oldest, None)

    # ---------------------------------------------------------------- asking the venue

    def _want_seed(self, now_us: int, wall_s: float) -> None:
        if self._pending is None and wall_s >= self._not_before_s:
            self._pending, self._pending_since_s = RepairReason.PROOF, wall_s
            self._events.append(SeedWanted(self.instrument, interval_start(now_us, self._interval_us)))

    def _want_repair(self, now_us: int, wall_s: float) -> None:
        assert self._continuity is not None
        if wall_s < self._not_before_s:
            return
        if self._continuity.missing:
            lost = self._continuity.missing[0]
            self._ask(RepairWanted(self.instrument, lost.first_id, lost.last_id, RepairReason.GAP), wall_s)
        elif now_us >= self._boundary_us + self.patience.grace_us and not self._proven(self._boundary_us):
            self._ask(self._beyond_watermark(RepairReason.PROOF), wall_s)
        elif self._probe_due(wall_s):
            self._probed_s = wall_s
            self._ask(self._beyond_watermark(RepairReason.PROBE), wall_s)

    @property
    def _boundary_us(self) -> int:
        """The close that proof is wanted for: the next one, or the last that closed without proof."""
        unproven = [bar.close_time_us for bar in self._emitted.values() if bar.completeness is Completeness.UNPROVEN]
        return min(unproven, default=self.next_close_us)

    def _beyond_watermark(self, reason: RepairReason) -> RepairWanted:
        assert self._continuity is not None
        return RepairWanted(self.instrument, self._continuity.last_id + 1, None, reason)

    def _ask(self, wanted: RepairWanted, wall_s: float) -> None:
        self._pending, self._pending_since_s = wanted.reason, wall_s
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

    def _quiet_for_s(self, wall_s: float) -> float:
        if self._heard_s is None:
            self._heard_s = wall_s
        return wall_s - self._heard_s

    def _probe_due(self, wall_s: float) -> bool:
        quiet_s = self._quiet_for_s(wall_s)
        return min(quiet_s, wall_s - self._probed_s) > self.patience.stale_after_s

    def _judge_probe(self, trades: Sequence[Trade], fresh: int, now_us: int, wall_s: float, asked_at_us: int) -> None:
        """A quiet market answers with nothing new; a dead subscription is given away by trades it did not bring."""
        unheard = sum(1 for trade in trades if trade.time_us < asked_at_us - self.patience.unheard_age_us)
        if fresh and unheard:
            self._set_state(SymbolState.STALE, now_us, f"{fresh} trades did not come by the stream")
            self._events.append(FeedMute(self.instrument, fresh))
        elif not fresh and self._quiet_for_s(wall_s) > self.patience.halted_after_s:
            self._set_state(SymbolState.HALTED, now_us, "the venue confirms that nothing was traded")

    def _set_state(self, state: SymbolState, now_us: int, reason: str) -> None:
        if state is self.state and reason == self.state_reason:
            return
        self.state, self.state_reason, self.state_since_us = state, reason, now_us
        self._settle()
        self._flowing = None
        self._events.append(SymbolStateChanged(self.instrument, state, now_us, self.last_trade_at_us, reason))
