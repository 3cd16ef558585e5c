"""Fast path for in-sequence trades: buffers venue records and defers decoding them. No I/O.

Nearly every trade is the next one of the open bar. With a thousand instruments on one core, such a record is only
checked for being the next one and buffered. ``flush`` decodes the buffer and brings the continuity up to date, when
something reads it.
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

_MAX_COUNT = 10_000  # ids of one record; one with more takes the slow path, which distrusts impossible ids
_MAX_TIES = 64  # records of one time to search for a duplicate; with more, a lookup in the continuity is faster


class FastPath(ABC, Generic[C]):
    """Buffers the in-sequence records of one instrument.

    bar: the open bar that takes them; None while the fast path is off. buffer: records not yet in the continuity.
    in_sync: whether the position in the continuity is known here; reset it when the continuity changes otherwise.

    Each subclass has a ``take_next(records)``, which buffers records from the front for as long as each is the next
    one of the open bar, and returns how many it took. The caller passes the others to
    ``InstrumentPipeline.trades_received``. The loop is repeated in every subclass because a call for each record would
    double its cost.
    """

    __slots__ = ("_close_time", "_open_time", "_to_trades", "_to_venue_time", "bar", "buffer", "continuity", "in_sync")

    def __init__(self, traits: Traits) -> None:
        self.bar: OpenBar | None = None
        self.continuity: C | None = None
        self.buffer: list[Any] = []
        self.in_sync = False
        self._to_trades: Callable[[Sequence[Any]], list[Trade]] = traits.to_trades
        self._to_venue_time: Callable[[int], Any] = traits.to_record_time
        self._open_time: Any = None  # of the bar, in the time unit of the venue's records
        self._close_time: Any = None

    def flush(self) -> list[Trade]:
        """Empties the buffer into the continuity and returns the trades that are not duplicates."""
        self.in_sync = False
        buffer, self.buffer = self.buffer, []
        if not buffer or self.continuity is None:
            return []
        return self._admit(self.continuity, self._to_trades(buffer))

    def _sync(self) -> bool:
        """Looks up the position in the continuity; returns whether the fast path is on."""
        if self.bar is None or self.continuity is None:
            return False
        self._open_time = self._to_venue_time(self.bar.open_time_us)
        self._close_time = self._to_venue_time(self.bar.close_time_us)
        self._load_position(self.continuity, self.bar)
        self.in_sync = True
        return True

    @abstractmethod
    def _load_position(self, continuity: C, bar: OpenBar) -> None:
        """Copies what ``take_next`` compares records with."""

    @abstractmethod
    def _admit(self, continuity: C, trades: list[Trade]) -> list[Trade]:
        """Adds trades, at least one, to the continuity and returns those that are not duplicates."""


class ContiguousFastPath(FastPath[IdContinuity]):
    """For contiguous ids: the next record has the next id."""

    __slots__ = ("_last_id",)
    _last_id: int

    def take_next(self, records: Sequence[TradeRecord]) -> int:
        if not self.in_sync and not self._sync():
            return 0
        last_id, opens, closes, buffer, taken = self._last_id, self._open_time, self._close_time, self.buffer, 0
        for record in records:
            if record.trade_id != last_id + 1 or not opens <= record.time < closes:
                break
            last_id += 1
            buffer.append(record)
            taken += 1
        self._last_id = last_id
        return taken

    def _load_position(self, continuity: IdContinuity, bar: OpenBar) -> None:  # noqa: ARG002  # ids need no bar
        self._last_id = continuity.last_id

    def _admit(self, continuity: IdContinuity, trades: list[Trade]) -> list[Trade]:
        continuity.last_id, continuity.last_time_us = trades[-1].trade_id, trades[-1].time_us
        return trades


class MergedFastPath(ContiguousFastPath):
    """For contiguous ids where a record may cover several of them."""

    __slots__ = ()

    def take_next(self, records: Sequence[Any]) -> int:
        if not self.in_sync and not self._sync():
            return 0
        last_id, opens, closes, buffer, taken = self._last_id, self._open_time, self._close_time, self.buffer, 0
        for record in records:
            if record.trade_id - record.count != last_id or not opens <= record.time < closes:
                break
            if record.count > _MAX_COUNT:
                break
            last_id = record.trade_id
            buffer.append(record)
            taken += 1
        self._last_id = last_id
        return taken


class TimeFastPath(FastPath[TimeContinuity]):
    """Base for ids that are not contiguous: the next record is not older than the one before."""

    __slots__ = ("_newest_time",)
    _newest_time: Any

    @abstractmethod
    def take_next(self, records: Sequence[TradeRecord]) -> int: ...

    def _admit(self, continuity: TimeContinuity, trades: list[Trade]) -> list[Trade]:
        return continuity.admit_newest(trades)


class OrderedFastPath(TimeFastPath):
    """For ascending ids with holes: a record with a higher id than any before is new."""

    __slots__ = ("_highest_id",)
    _highest_id: int

    def take_next(self, records: Sequence[TradeRecord]) -> int:
        if not self.in_sync and not self._sync():
            return 0
        highest_id, newest = self._highest_id, self._newest_time
        closes, buffer, taken = self._close_time, self.buffer, 0
        for record in records:
            if record.trade_id <= highest_id or not newest <= record.time < closes:
                break
            highest_id, newest = record.trade_id, record.time
            buffer.append(record)
            taken += 1
        self._highest_id, self._newest_time = highest_id, newest
        return taken

    def _load_position(self, continuity: TimeContinuity, bar: OpenBar) -> None:
        self._highest_id = continuity.highest_id
        self._newest_time = self._to_venue_time(max(continuity.last_time_us, bar.open_time_us))


class IdentityFastPath(TimeFastPath):
    """For ids that only distinguish trades: a record that is newer than all before is taken as new.

    Records of the same time must differ in their ids; only those in the buffer are compared here. ``flush`` finds
    duplicates of trades with another time.
    """

    __slots__ = ()

    def take_next(self, records: Sequence[TradeRecord]) -> int:
        if not self.in_sync and not self._sync():
            return 0
        newest, closes, buffer, taken = self._newest_time, self._close_time, self.buffer, 0
        for record in records:
            time = record.time
            if not newest < time < closes and not (time == newest < closes and _is_new_tie(record, buffer)):
                break
            newest = time
            buffer.append(record)
            taken += 1
        self._newest_time = newest
        return taken

    def _load_position(self, continuity: TimeContinuity, bar: OpenBar) -> None:
        # Records at exactly these times may be in the continuity, or forgotten, already: they must be newer.
        newest_us = max(continuity.last_time_us, continuity.forgotten_until_us, bar.open_time_us - 1)
        self._newest_time = self._to_venue_time(newest_us)


def _is_new_tie(record: TradeRecord, buffer: Sequence[TradeRecord]) -> bool:
    """Whether the buffer ends with records of the same time, none of which has the same id."""
    if not buffer or buffer[-1].time != record.time:
        return False
    for each in islice(reversed(buffer), _MAX_TIES):
        if each.time != record.time:
            return True
        if each.trade_id == record.trade_id:
            return False
    return len(buffer) < _MAX_TIES


def fast_path_for(traits: Traits) -> ContiguousFastPath | OrderedFastPath | IdentityFastPath:
    """The fast path that fits what the venue's ids prove."""
    match traits.ids:
        case Ids.CONTIGUOUS:
            return MergedFastPath(traits) if traits.merges else ContiguousFastPath(traits)
        case Ids.ORDERED:
            return OrderedFastPath(traits)
        case Ids.IDENTITY:
            return IdentityFastPath(traits)
