"""What continuity means: which trades are new, and what is known of the trades of an interval. No I/O.

``IdContinuity`` proves it by contiguous ids, ``TimeContinuity`` keeps account of interruptions where a venue has none.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from daemon.pipeline.sequence import SequenceState
from features.market import Completeness, MissingTrades, Trade

MAX_RANGES = 16  # that travel with a bar; their number is told whole


class Admission(Enum):
    """What a trade means to the sequence. DUPLICATE and OPENED_GAP_ONLY mean that it must be left out."""

    JOINED = "joined"
    OPENED_GAP = "opened_gap"
    OPENED_GAP_ONLY = "opened_gap_only"
    FILLED = "filled"
    DUPLICATE = "duplicate"


class CompletenessReport(NamedTuple):
    """What is known of the trades of one interval.

    completeness: the verdict on a bar that closes now; PROVEN says EMPTY of a bar without trades.
    missing: how many trades are missing, None where nobody knows. final: neither waiting nor asking can tell more.
    ranges: which, at most ``MAX_RANGES`` of them.
    """

    completeness: Completeness
    missing_trades: int | None
    final: bool
    ranges: tuple[MissingTrades, ...] = ()


class MissingRange(NamedTuple):
    """Trades to ask for: after ``after_us``, from ``from_id`` (None: by time) to ``until_id`` (None: the newest)."""

    from_id: int | None
    until_id: int | None
    after_us: int


class Continuity(Protocol):
    """The account of one instrument's trades. ``last_time_us``: event time of the newest trade.

    covered_from_us: bars that open earlier are not complete.
    """

    last_time_us: int
    covered_from_us: int

    @property
    def missing_trades(self) -> int:
        """Trades that are known to be missing."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that the venue could still give."""
        ...

    def admit(self, trade: Trade) -> Admission:
        """Takes note of a trade."""
        ...

    def completeness_of(self, open_us: int, close_us: int, *, now_us: int, grace_us: int) -> CompletenessReport:
        """What is known of the trades in ``[open_us, close_us)``."""
        ...

    def next_missing(self) -> MissingRange | None:
        """The next missing part to ask for; each is offered in turn."""
        ...

    def beyond_newest(self) -> MissingRange:
        """Everything beyond what is known."""
        ...

    def record_answer(self, asked: MissingRange, *, head_reached: bool, complete: bool, asked_at_us: int) -> None:
        """The venue's trades for ``asked`` have been admitted.

        head_reached: they went up to the newest at ``asked_at_us``. whole: none between is withheld.
        """
        ...

    def begin_interruption(self, after_us: int) -> bool:
        """Nobody listens since ``after_us``: whether that is news, and puts the bars since then in doubt."""
        ...

    def end_interruption(self, at_us: int) -> None:
        """The venue is heard again."""
        ...

    def state(self) -> SequenceState: ...
