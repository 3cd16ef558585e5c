"""Continuity of a trade sequence: which trades are new, and how complete the trades of an interval are. No I/O.

``IdContinuity`` proves completeness by contiguous ids. ``TimeContinuity``, for venues without such ids, records when
the stream was interrupted.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from daemon.pipeline.sequence import SequenceState
from features.market import Completeness, MissingTrades, Trade

MAX_RANGES = 16  # ranges that a bar lists at most; their trades are counted in full


class Admission(Enum):
    """How a trade relates to the sequence. DUPLICATE and OPENED_GAP_ONLY must not be added to a bar."""

    JOINED = "joined"
    OPENED_GAP = "opened_gap"
    OPENED_GAP_ONLY = "opened_gap_only"
    FILLED = "filled"
    DUPLICATE = "duplicate"


class CompletenessReport(NamedTuple):
    """How complete the trades of one interval are.

    completeness: of a bar that closes now; PROVEN becomes EMPTY for a bar without trades.
    missing_trades: how many are missing, None where that cannot be known.
    final: whether neither waiting nor a request can improve this.
    ranges: the missing trades, at most ``MAX_RANGES`` ranges of them.
    """

    completeness: Completeness
    missing_trades: int | None
    final: bool
    ranges: tuple[MissingTrades, ...] = ()


class MissingRange(NamedTuple):
    """Trades to request: after ``after_us``, from ``from_id`` (None: by time) to ``until_id`` (None: the newest)."""

    from_id: int | None
    until_id: int | None
    after_us: int


class Continuity(Protocol):
    """Which trades of one instrument were received, and which are missing.

    last_time_us: event time of the newest trade. covered_from_us: bars that open earlier cannot be proven.
    """

    last_time_us: int
    covered_from_us: int

    @property
    def missing_trades(self) -> int:
        """The number of trades that are known to be missing."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that REST could still return."""
        ...

    def admit(self, trade: Trade) -> Admission:
        """Records a trade, unless it is a duplicate."""
        ...

    def completeness_of(self, open_us: int, close_us: int, *, now_us: int, grace_us: int) -> CompletenessReport:
        """How complete the trades in ``[open_us, close_us)`` are."""
        ...

    def next_missing(self) -> MissingRange | None:
        """The next missing range to request; several are returned in turn. None where there is none."""
        ...

    def beyond_newest(self) -> MissingRange:
        """The range of all trades after the newest one."""
        ...

    def record_answer(self, asked: MissingRange, *, head_reached: bool, complete: bool, asked_at_us: int) -> None:
        """Records what a REST answer to ``asked`` proves; its trades have been admitted before.

        head_reached: it went up to the newest trade at ``asked_at_us``. complete: it left out no requested trade.
        """
        ...

    def begin_interruption(self, after_us: int) -> bool:
        """Records that the stream is lost since ``after_us``.

        Returns whether that opens a gap, so that the bars since then are unsettled.
        """
        ...

    def end_interruption(self, at_us: int) -> None:
        """Records that the stream is subscribed again."""
        ...

    def state(self) -> SequenceState: ...
