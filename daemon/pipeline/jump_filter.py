"""Jump filter for contiguous ids: leaves out trades whose ids the venue cannot have reached by now. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.pipeline.id_continuity import IdContinuity
from features.market import Trade

_BELIEVED_JUMP = 10_000  # ids that one frame may skip; a second frame, or REST, is needed for more
_SURELY_NEWER_US = 1_000_000  # two trades so far apart are ordered by their times, if their ids contradict


class JumpFilter:
    """A single frame may carry a wrong id; two that follow one another do not.

    A trade of the stream that skips many ids, or is newer than the watermark with a lower id, waits here for one that
    follows it. Without that it is left out: REST returns it, with all before it, if it is real.

    left_out: trades left out so far. check_due: whether REST is to be asked for the trades after the watermark.
    """

    __slots__ = ("_suspect", "_suspect_is_low", "check_due", "left_out")

    def __init__(self) -> None:
        self.left_out = 0
        self.check_due = False
        self._suspect: Trade | None = None
        self._suspect_is_low = False  # whether its id was below the watermark, so that REST never returns it

    def from_stream(self, ids: IdContinuity, trades: Sequence[Trade]) -> Iterator[Trade]:
        """The trades to admit; each must be admitted before the next is taken."""
        for trade in trades:
            if _is_expected(ids, trade):
                yield trade
                continue
            suspect, self._suspect = self._suspect, trade
            self._suspect_is_low = trade.trade_id <= ids.last_id
            self.check_due = True
            if suspect is None:
                continue
            if _follows(suspect, trade) and _is_possible(ids, suspect):
                self._suspect = None
                _follow_numbering(ids, suspect)
                yield suspect
                yield trade
            else:
                self.left_out += 1

    def from_rest(self, ids: IdContinuity, trades: Sequence[Trade]) -> Iterator[Trade]:
        """As ``from_stream``. Several that follow one another are evidence of any id.

        Where it is one that the venue cannot have reached by counting on, it counts from there.
        """
        for index, trade in enumerate(trades):
            if not _is_expected(ids, trade):
                if not any(_follows(trade, each) for each in trades[index + 1 : index + 2]):
                    self.left_out += 1
                    self.check_due = True
                    continue
                _follow_numbering(ids, trade)
            yield trade

    def doubts_numbering(self, ids: IdContinuity) -> bool:
        """Whether the venue may have begun its ids again, so that REST answers by id prove nothing."""
        return self._suspect is not None and _is_renumbered(ids, self._suspect)

    def head_reached(self, ids: IdContinuity) -> None:
        """REST has returned every trade after the watermark: what waits has been among them, or is wrong."""
        self.check_due = False
        if self._suspect is not None and not self.doubts_numbering(ids):
            self.left_out += self._suspect_is_low or self._suspect.trade_id > ids.last_id
            self._suspect = None


def _is_expected(ids: IdContinuity, trade: Trade) -> bool:
    return trade.trade_id - ids.last_id - 1 <= _BELIEVED_JUMP and not _is_renumbered(ids, trade)


def _is_renumbered(ids: IdContinuity, trade: Trade) -> bool:
    """Whether the trade is newer than the watermark, but has a lower id."""
    return trade.trade_id <= ids.last_id and trade.time_us > ids.last_time_us + _SURELY_NEWER_US


def _is_possible(ids: IdContinuity, trade: Trade) -> bool:
    return _is_renumbered(ids, trade) or ids.is_plausible(trade)


def _follow_numbering(ids: IdContinuity, trade: Trade) -> None:
    """Continues the sequence with ``trade``, from which on the venue counts where it cannot have counted on."""
    if _is_renumbered(ids, trade) or not ids.is_plausible(trade):
        ids.restart_at(trade)


def _follows(trade: Trade, following: Trade) -> bool:
    return following.trade_id - following.span == trade.trade_id and following.time_us >= trade.time_us
