"""The quick way of a trade: the next one of the open bar, as nearly all are. No I/O.

A thousand instruments may share one core, so this way does only what must be done at once. It looks into the
continuity's own account instead of asking it, which costs half as much.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from daemon.exchanges.base import Ids
from daemon.ingest.id_continuity import IdContinuity
from daemon.ingest.time_continuity import REMEMBERED, TimeContinuity
from features.bars import OpenBar
from features.market import Trade

C = TypeVar("C", IdContinuity, TimeContinuity)


class Flow(Generic[C]):
    """Trades of one instrument that come as they should.

    bar: the open bar while they do, else None. run: what was taken and is not in the bar yet.
    heard: set when something was taken, so that no trade has to ask the clock.

    Every flow has a ``take_next``. It takes trades from the stream while each is simply the next of the open bar, and
    returns how many. With the rest, to which there is more, nothing has happened: it belongs to
    ``Series.trades_received``.
    """

    __slots__ = ("bar", "continuity", "heard", "run")

    def __init__(self) -> None:
        self.bar: OpenBar | None = None
        self.continuity: C | None = None
        self.run: list[Trade] = []
        self.heard = False

    def settle(self) -> list[Trade]:
        """Hands over what was taken."""
        run, self.run = self.run, []
        return run


class IdFlow(Flow[IdContinuity]):
    """By contiguous ids, which say of each trade that it is the next."""

    __slots__ = ()

    def take_next(self, trades: list[Trade]) -> int:
        bar, continuity = self.bar, self.continuity
        if bar is None or continuity is None:
            return 0
        last_id, run, taken = continuity.last_id, self.run, 0
        for trade in trades:
            if trade.trade_id - trade.span != last_id or not trade.count:
                break
            if not bar.open_time_us <= trade.time_us < bar.close_time_us:
                break
            last_id = trade.trade_id
            run.append(trade)
            taken += 1
        if taken:
            continuity.last_id, continuity.last_time_us = last_id, run[-1].time_us
            self.heard = True
        return taken


class OrderedFlow(Flow[TimeContinuity]):
    """By ascending ids with holes: a trade with a larger one than any before is new."""

    __slots__ = ()

    def take_next(self, trades: list[Trade]) -> int:
        bar, continuity = self.bar, self.continuity
        if bar is None or continuity is None:
            return 0
        highest_id, newest_us = continuity.highest_id, continuity.last_time_us
        run, taken = self.run, 0
        for trade in trades:
            time_us = trade.time_us
            if trade.trade_id <= highest_id or time_us < newest_us:
                break
            if not bar.open_time_us <= time_us < bar.close_time_us:
                break
            highest_id, newest_us = trade.trade_id, time_us
            run.append(trade)
            taken += 1
        if taken:
            continuity.last_id = continuity.highest_id = highest_id
            continuity.last_time_us = newest_us
            self.heard = True
        return taken

    def settle(self) -> list[Trade]:
        run = super().settle()
        if self.continuity is not None:
            self.continuity.remember(run)
        return run


class HeardFlow(Flow[TimeContinuity]):
    """By ids that only tell trades apart: each that is the newest and not known is the next."""

    __slots__ = ()

    def take_next(self, trades: list[Trade]) -> int:
        bar, continuity = self.bar, self.continuity
        if bar is None or continuity is None or len(continuity.recent) + len(trades) > REMEMBERED:
            return 0
        recent, earlier, run, taken = continuity.recent, continuity.earlier, self.run, 0
        newest_us = continuity.last_time_us
        if newest_us <= continuity.earlier_from_us:
            newest_us = continuity.earlier_from_us + 1  # some of that very time may be forgotten
        newest_us = max(newest_us, bar.open_time_us)
        for trade in trades:
            identity, time_us = trade.trade_id, trade.time_us
            if not newest_us <= time_us < bar.close_time_us or identity in recent or identity in earlier:
                break
            recent.add(identity)
            newest_us = time_us
            run.append(trade)
            taken += 1
        if taken:
            continuity.last_id, continuity.last_time_us = run[-1].trade_id, newest_us
            self.heard = True
        return taken


def flow_for(ids: Ids) -> IdFlow | OrderedFlow | HeardFlow:
    """The flow of a venue whose ids prove ``ids``."""
    if ids is Ids.CONTIGUOUS:
        return IdFlow()
    return OrderedFlow() if ids is Ids.ORDERED else HeardFlow()
