"""Trade sequencer of one instrument: puts trades into the continuity, the open bars and the store queue. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from daemon.exchanges.base import Ids, Traits
from daemon.pipeline.bar_aggregator import BarAggregator
from daemon.pipeline.continuity import Admission, Continuity
from daemon.pipeline.fast_path import ContiguousFastPath, fast_path_for
from daemon.pipeline.feed_status import FeedStatus
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.jump_filter import JumpFilter
from daemon.pipeline.time_continuity import TimeContinuity
from features.market import Trade

_MAX_BEHIND_US = 86_400_000_000  # a trade that is a day older than the sequence is malformed, not late
_OPENED_GAP = (Admission.OPENED_GAP, Admission.OPENED_GAP_ONLY)
_LEFT_OUT = (Admission.DUPLICATE, Admission.OPENED_GAP_ONLY)


class TradeSequencer:
    """Admits each trade once.

    ids, times: the continuity, one of the two by what the venue's ids prove; both None before the sequence starts.
    take_next: the fast path (see ``fast_path``), which handles nearly all trades. What it buffers is admitted by
    ``flush``; reading ``continuity``, ``trades`` or ``last_trade`` flushes.
    stream_time_us: event time of the newest trade that the stream delivered.
    """

    def __init__(self, traits: Traits, *, bars: BarAggregator, status: FeedStatus) -> None:
        self._untimely = 0
        self._jumps = JumpFilter()
        self.duplicates = 0
        self.stream_time_us = 0
        self.ids: IdContinuity | None = None
        self.times: TimeContinuity | None = None
        self._contiguous_ids = traits.ids is Ids.CONTIGUOUS
        self._bars = bars
        self._status = status
        self._admitted = 0
        self._unsaved: list[Trade] = []
        self._last: Trade | None = None
        self._received = False  # since the last call of ``received_since_last_call``
        self._buffered = 0  # at that call
        self._fast_path = fast_path_for(traits)
        self.take_next = self._fast_path.take_next

    @property
    def continuity(self) -> Continuity | None:
        """The continuity with all trades so far; the caller may change it."""
        self.flush()
        return self.ids or self.times

    @property
    def complete(self) -> bool:
        """Whether the sequence has started and is complete; does not flush."""
        continuity = self.ids or self.times
        return continuity is not None and continuity.complete

    @property
    def malformed(self) -> int:
        """Trades left out because their time or id is impossible."""
        return self._untimely + self._jumps.left_out

    @property
    def check_due(self) -> bool:
        """Whether REST is to be asked for the trades after the watermark, because an id skipped too many."""
        return self._jumps.check_due

    @property
    def trades(self) -> int:
        """Trades admitted so far, without duplicates."""
        self.flush()
        return self._admitted

    @property
    def last_trade(self) -> Trade | None:
        self.flush()
        return self._last

    @property
    def last_trade_at_us(self) -> int | None:
        last = self.last_trade
        return last.time_us if last else None

    def start(self, continuity: IdContinuity | TimeContinuity, last_trade: Trade | None) -> None:
        """Starts the sequence; ``last_trade`` is the newest trade that it covers."""
        self.ids = continuity if isinstance(continuity, IdContinuity) else None
        self.times = continuity if isinstance(continuity, TimeContinuity) else None
        if isinstance(self._fast_path, ContiguousFastPath):
            self._fast_path.continuity = self.ids
        else:
            self._fast_path.continuity = self.times
        self._last = last_trade

    def admit(self, trades: Sequence[Trade], *, now_us: int, max_ahead_us: int, by_rest: bool = False) -> int:
        """Admits trades in any order and returns how many were new; those with an impossible time or id are left out.

        by_rest: whether they come from REST, not from the stream.
        """
        continuity = self.continuity
        assert continuity is not None
        before = self._admitted
        earliest_us, latest_us = continuity.covered_from_us - _MAX_BEHIND_US, now_us + max_ahead_us
        timely = [trade for trade in trades if earliest_us <= trade.time_us <= latest_us]
        self._untimely += len(trades) - len(timely)
        if self.ids is None:
            possible: Iterable[Trade] = timely
        else:
            possible = (self._jumps.from_rest if by_rest else self._jumps.from_stream)(self.ids, timely)
        for trade in possible:
            newest_us = continuity.last_time_us
            admission = continuity.admit(trade)
            if self.ids is not None and admission in _OPENED_GAP:
                self._status.gap_opened(self.ids.missing[-1], now_us)
            if admission in _LEFT_OUT:
                self.duplicates += admission is Admission.DUPLICATE
                continue
            if admission is Admission.FILLED and self._contiguous_ids:
                self._status.trades_fetched(trade.span)
            self._admitted += 1
            self._unsaved.append(trade)
            if trade.time_us >= newest_us:
                self._last = trade
            self._bars.add(trade)
        return self._admitted - before

    @property
    def doubts_numbering(self) -> bool:
        """Whether the venue may have begun its ids again, so that an answer by ids proves no absence of trades."""
        return self.ids is not None and self._jumps.doubts_numbering(self.ids)

    def head_reached(self) -> None:
        """REST has returned every trade after the watermark, and they have been admitted."""
        if self.ids is not None:
            self._jumps.head_reached(self.ids)

    def note_stream_time(self, time_us: int) -> None:
        """Records the event time of a trade that the stream delivered."""
        self.stream_time_us = max(self.stream_time_us, time_us)

    def received_since_last_call(self) -> bool:
        """Whether ``take_next`` took any record since the last call; does not flush."""
        buffered = len(self._fast_path.buffer)
        received = self._received or buffered != self._buffered
        self._received, self._buffered = False, buffered
        return received

    def flush(self) -> None:
        """Admits the trades that ``take_next`` buffered."""
        bar = self._fast_path.bar
        if not self._fast_path.buffer or bar is None:
            self._fast_path.in_sync = False
            return
        taken = len(self._fast_path.buffer)
        self._received = self._received or taken != self._buffered
        self._buffered = 0
        trades = self._fast_path.flush()
        self.duplicates += taken - len(trades)
        if not trades:
            return
        self._admitted += len(trades)
        self._last = trades[-1]
        self.note_stream_time(trades[-1].time_us)
        self._unsaved += trades
        bar.extend(trades)

    def enable_fast_path(self) -> None:
        """The next trades may take the fast path into the bar that closes next."""
        self.flush()
        self._fast_path.bar = self._bars.current

    def disable_fast_path(self) -> None:
        """The next trade goes through ``admit`` and all its checks."""
        self.flush()
        self._fast_path.bar = None

    def take_unsaved(self) -> list[Trade]:
        """The trades since the last call, to be stored."""
        self.flush()
        trades, self._unsaved = self._unsaved, []
        return trades
