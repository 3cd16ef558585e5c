"""The quick way of a trade: the next one of the open bar, as nearly all are. No I/O.

A thousand instruments may share one core, so this way does only what must be done at once: it looks whether the venue's
record is the next one, and keeps it. Trades are made of the records, and the account brought up to date, when somebody
asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from daemon.exchanges.base import Ids, TradeRecord, Traits
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.time_continuity import TimeContinuity
from features.bars import OpenBar
from features.market import Trade

C = TypeVar("C", IdContinuity, TimeContinuity)

_MOST_TIES = 64  # records of one time that are looked through; more are quicker looked up


class FastPath(ABC, Generic[C]):
    """Records of one instrument that come as they should.

    bar: the open bar while they do, else None. run: what was taken and is not in the account yet.
    current: whether this flow knows where the account stands; it must be told when that may have changed.

    Every flow has a ``take_next``, with a loop of its own: a call for each record would cost as much as the rest of it.
    It takes records from the stream while each is simply the next of the open bar, and returns how many. With the rest,
    to which there is more, nothing has happened: it belongs to ``Series.trades_received``.
    """

    __slots__ = ("_begins", "_ends", "_moment", "_to_trades", "bar", "continuity", "current", "run")

    def __init__(self, traits: Traits) -> None:
        self.bar: OpenBar | None = None
        self.continuity: C | None = None
        self.run: list[Any] = []
        self.current = False
        self._to_trades: Callable[[Sequence[Any]], list[Trade]] = traits.to_trades
        self._moment: Callable[[int], Any] = traits.moment
        self._begins: Any = None  # the bar's bounds, as the records spell time
        self._ends: Any = None

    def flush(self) -> list[Trade]:
        """The trades that were taken and are new; the account holds them from now on."""
        self.current = False
        run, self.run = self.run, []
        return self._noted(self.continuity, self._to_trades(run)) if run and self.continuity is not None else []

    def _is_open(self) -> bool:
        """Whether records may be taken; finds out where the account stands."""
        if self.bar is None or self.continuity is None:
            return False
        self._begins, self._ends = self._moment(self.bar.open_time_us), self._moment(self.bar.close_time_us)
        self._continue(self.continuity, self.bar)
        self.current = True
        return True

    @abstractmethod
    def _continue(self, continuity: C, bar: OpenBar) -> None:
        """Looks where the account stands."""

    @abstractmethod
    def _noted(self, continuity: C, trades: list[Trade]) -> list[Trade]:
        """Those of the trades, at least one, that are new; they are in the account then."""


class ContiguousFastPath(FastPath[IdContinuity]):
    """By contiguous ids, which say of each record that it is the next."""

    __slots__ = ("_last_id",)
    _last_id: int

    def take_next(self, records: Sequence[TradeRecord]) -> int:
        if not self.current and not self._is_open():
            return 0
        last_id, begins, ends, run, taken = self._last_id, self._begins, self._ends, self.run, 0
        for record in records:
            if record.trade_id != last_id + 1 or not begins <= record.time < ends:
                break
            last_id += 1
            run.append(record)
            taken += 1
        self._last_id = last_id
        return taken

    def _continue(self, continuity: IdContinuity, bar: OpenBar) -> None:  # noqa: ARG002  # ids need no bar
        self._last_id = continuity.last_id

    def _noted(self, continuity: IdContinuity, trades: list[Trade]) -> list[Trade]:
        continuity.last_id, continuity.last_time_us = trades[-1].trade_id, trades[-1].time_us
        return trades


class MergedFastPath(ContiguousFastPath):
    """The same where a record may cover several ids."""

    __slots__ = ()

    def take_next(self, records: Sequence[Any]) -> int:
        if not self.current and not self._is_open():
            return 0
        last_id, begins, ends, run, taken = self._last_id, self._begins, self._ends, self.run, 0
        for record in records:
            if record.trade_id - record.count != last_id or not begins <= record.time < ends:
                break
            last_id = record.trade_id
            run.append(record)
            taken += 1
        self._last_id = last_id
        return taken


class TimeFastPath(FastPath[TimeContinuity]):
    """What the flows of venues have in common whose ids prove nothing: no record is older than the one before."""

    __slots__ = ("_newest",)
    _newest: Any

    def _noted(self, continuity: TimeContinuity, trades: list[Trade]) -> list[Trade]:
        return continuity.admit_newest(trades)


class OrderedFastPath(TimeFastPath):
    """By ascending ids with holes: a record with a larger one than any before is new."""

    __slots__ = ("_highest_id",)
    _highest_id: int

    def take_next(self, records: Sequence[TradeRecord]) -> int:
        if not self.current and not self._is_open():
            return 0
        highest_id, newest, ends, run, taken = self._highest_id, self._newest, self._ends, self.run, 0
        for record in records:
            if record.trade_id <= highest_id or not newest <= record.time < ends:
                break
            highest_id, newest = record.trade_id, record.time
            run.append(record)
            taken += 1
        self._highest_id, self._newest = highest_id, newest
        return taken

    def _continue(self, continuity: TimeContinuity, bar: OpenBar) -> None:
        self._highest_id = continuity.highest_id
        self._newest = self._moment(max(continuity.last_time_us, bar.open_time_us))


class IdentityFastPath(TimeFastPath):
    """By ids that only tell trades apart: a record that is newer than all before is taken for new.

    Of records of one time the ids must differ, and only those that wait in the run can be looked through. Whether an
    id is known from another time is found out when the run is settled.
    """

    __slots__ = ()

    def take_next(self, records: Sequence[TradeRecord]) -> int:
        if not self.current and not self._is_open():
            return 0
        newest, ends, run, taken = self._newest, self._ends, self.run, 0
        for record in records:
            time = record.time
            if not newest < time < ends and not (time == newest < ends and _is_another(record, run)):
                break
            newest = time
            run.append(record)
            taken += 1
        self._newest = newest
        return taken

    def _continue(self, continuity: TimeContinuity, bar: OpenBar) -> None:
        # Of the very times that are known, some records may be settled, and of the second some forgotten.
        self._newest = self._moment(max(continuity.last_time_us, continuity.earlier_from_us, bar.open_time_us - 1))


def _is_another(record: TradeRecord, run: Sequence[TradeRecord]) -> bool:
    """Whether the run ends with records of this time, which is its newest, and none of them is this one."""
    if not run or run[-1].time != record.time:
        return False
    for each in islice(reversed(run), _MOST_TIES):
        if each.time != record.time:
            return True
        if each.trade_id == record.trade_id:
            return False
    return len(run) < _MOST_TIES


def fast_path_for(traits: Traits) -> ContiguousFastPath | OrderedFastPath | IdentityFastPath:
    """The flow of a venue by what its ids prove."""
    match traits.ids:
        case Ids.CONTIGUOUS:
            return MergedFastPath(traits) if traits.merges else ContiguousFastPath(traits)
        case Ids.ORDERED:
            return OrderedFastPath(traits)
        case Ids.IDENTITY:
            return IdentityFastPath(traits)
