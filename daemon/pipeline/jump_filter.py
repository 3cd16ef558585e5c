"""Jump filter for contiguous ids: leaves out trades whose ids the venue cannot have reached. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.pipeline.id_continuity import IdContinuity
from features.market import Trade

_BELIEVED_JUMP = 10_000  # ids that one frame may skip; a second frame, or REST, is needed for more


class JumpFilter:
    """A single frame may carry a wrong id; two that follow one another do not.

    A trade of the stream that skips many ids waits here for one that follows it. Without that it is left out: REST
    returns it, with all before it, if it is real.

    left_out: trades left out so far. check_due: whether REST is to be asked for the trades after the watermark.
    """

    __slots__ = ("_suspect", "check_due", "left_out")

    def __init__(self) -> None:
        self.left_out = 0
        self.check_due = False
        self._suspect: Trade | None = None

    def from_stream(self, ids: IdContinuity, trades: Sequence[Trade]) -> Iterator[Trade]:
        """The trades to admit; each must be admitted before the next is taken."""
        for trade in trades:
            if _is_next_to(ids, trade):
                yield trade
                continue
            suspect, self._suspect = self._suspect, trade
            self.check_due = True
            if suspect is None:
                continue
            if _follows(suspect, trade) and ids.is_plausible(suspect):
                self._suspect = None
                yield suspect
                yield trade
            else:
                self.left_out += 1

    def from_rest(self, ids: IdContinuity, trades: Sequence[Trade]) -> Iterator[Trade]:
        """As ``from_stream``. Several that follow one another are evidence of any id.

        Where it is one that the venue cannot have reached by counting on, it counts from there.
        """
        for index, trade in enumerate(trades):
            if not _is_next_to(ids, trade):
                if not any(_follows(trade, each) for each in trades[index + 1 : index + 2]):
                    self.left_out += 1
                    self.check_due = True
                    continue
                if not ids.is_plausible(trade):
                    ids.restart_at(trade)
            yield trade

    def head_reached(self, ids: IdContinuity) -> None:
        """REST has returned every trade after the watermark: what waits has been among them, or is wrong."""
        self.left_out += self._suspect is not None and self._suspect.trade_id > ids.last_id
        self._suspect, self.check_due = None, False


def _is_next_to(ids: IdContinuity, trade: Trade) -> bool:
    return trade.trade_id - ids.last_id - 1 <= _BELIEVED_JUMP


def _follows(trade: Trade, following: Trade) -> bool:
    return following.trade_id - following.span == trade.trade_id
