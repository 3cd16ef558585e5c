"""Trades on their way into the account and the bars of one instrument: counted, and kept for the store. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.exchanges.base import Ids, Traits
from daemon.pipeline.bar_aggregator import BarAggregator
from daemon.pipeline.continuity import Admission, Continuity
from daemon.pipeline.fast_path import ContiguousFastPath, fast_path_for
from daemon.pipeline.feed_status import FeedStatus
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.time_continuity import TimeContinuity
from features.market import Trade

_FURTHEST_BEHIND_US = 86_400_000_000  # a trade that is a day older than the sequence is nonsense, not late
_OPENED = (Admission.OPENED_GAP, Admission.OPENED_GAP_ONLY)
_LEFT_OUT = (Admission.DUPLICATE, Admission.OPENED_GAP_ONLY)


class TradeSequencer:
    """``ids`` or ``times`` is the account, by what the venue's ids prove; None before the sequence has a start.

    take_next: what is quicker than ``admit``, for nearly all trades (see ``flow``). What it took is put where all
    others are by ``flush``, as whoever asks for the ``continuity`` does.
    stream_time_us: event time of the newest trade that came that way, or that ``heard`` told of: what the stream
    itself brought.
    """

    def __init__(self, traits: Traits, *, bars: BarAggregator, status: FeedStatus) -> None:
        self.numbered = traits.ids is Ids.CONTIGUOUS
        self.malformed = 0
        self.duplicates = 0
        self.stream_time_us = 0
        self.ids: IdContinuity | None = None
        self.times: TimeContinuity | None = None
        self._bars = bars
        self._status = status
        self._admitted = 0
        self._unsaved: list[Trade] = []
        self._last: Trade | None = None
        self._heard = False
        self._waiting = 0  # of the run, when it was last asked whether anything was heard
        self._fast_path = fast_path_for(traits)
        self.take_next = self._fast_path.take_next

    @property
    def continuity(self) -> Continuity | None:
        """The account as it stands, which may be changed."""
        self.flush()
        return self.ids or self.times

    @property
    def complete(self) -> bool:
        """Whether the account has a start, and nothing is missing from it."""
        account = self.ids or self.times
        return account is not None and account.complete

    @property
    def trades(self) -> int:
        """Records taken so far, duplicates left out."""
        self.flush()
        return self._admitted

    @property
    def last_trade(self) -> Trade | None:
        self.flush()
        return self._last

    def begin(self, continuity: IdContinuity | TimeContinuity, last_trade: Trade | None) -> None:
        """The account begins; ``last_trade`` is the newest that it covers."""
        self.ids = continuity if isinstance(continuity, IdContinuity) else None
        self.times = continuity if isinstance(continuity, TimeContinuity) else None
        if isinstance(self._fast_path, ContiguousFastPath):
            self._fast_path.continuity = self.ids
        else:
            self._fast_path.continuity = self.times
        self._last = last_trade

    def admit(self, trades: Sequence[Trade], *, now_us: int, max_ahead_us: int) -> int:
        """Takes trades in whatever order they come, and says how many of them were new."""
        continuity = self.continuity
        assert continuity is not None
        before = self._admitted
        latest_us = now_us + max_ahead_us
        earliest_us = continuity.covered_from_us - _FURTHEST_BEHIND_US
        for trade in trades:
            if not earliest_us <= trade.time_us <= latest_us:
                self.malformed += 1
                continue
            newest_us = continuity.last_time_us
            admission = continuity.admit(trade)
            if self.ids is not None and admission in _OPENED:
                self._status.gap_opened(self.ids.missing[-1], now_us)
            if admission in _LEFT_OUT:
                self.duplicates += admission is Admission.DUPLICATE
                continue
            if admission is Admission.FILLED and self.numbered:
                self._status.trades_fetched(trade.span)
            self._admitted += 1
            self._unsaved.append(trade)
            if trade.time_us >= newest_us:
                self._last = trade
            self._bars.add(trade)
        return self._admitted - before

    def note_stream_time(self, time_us: int) -> None:
        """The stream brought a trade of this time."""
        self.stream_time_us = max(self.stream_time_us, time_us)

    def received_meanwhile(self) -> bool:
        """Whether ``take_next`` took anything since the last call; settles nothing."""
        waiting = len(self._fast_path.run)
        heard = self._heard or waiting != self._waiting
        self._heard, self._waiting = False, waiting
        return heard

    def flush(self) -> None:
        """Puts the trades that ``take_next`` took where all others are."""
        bar = self._fast_path.bar
        if not self._fast_path.run or bar is None:
            self._fast_path.current = False
            return
        taken = len(self._fast_path.run)
        self._heard = self._heard or taken != self._waiting
        self._waiting = 0
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
        """Trades come as they should: the next may take the quick way into the bar that closes next."""
        self.flush()
        self._fast_path.bar = self._bars.current

    def disable_fast_path(self) -> None:
        """The next trade takes the long way, which looks at everything."""
        self.flush()
        self._fast_path.bar = None

    def take_unsaved(self) -> list[Trade]:
        """The trades since the last call, for the store."""
        self.flush()
        trades, self._unsaved = self._unsaved, []
        return trades
