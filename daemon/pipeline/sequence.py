"""State of one instrument's trade sequence: how far it is complete and what is missing, as the store keeps it."""

from __future__ import annotations

import msgspec

_MAX_MISSING = 1_000_000_000  # trades in one gap; no venue makes so many in the time that a sequence is kept


class MissingIds(msgspec.Struct, frozen=True):
    """Trade ids ``first_id..last_id`` that were never received.

    after_us, before_us: event times of the trades on either side of the gap.
    """

    first_id: int
    last_id: int
    after_us: int
    before_us: int

    @property
    def count(self) -> int:
        return self.last_id - self.first_id + 1


class Interruption(msgspec.Struct, frozen=True):
    """A time without a subscription; trades between ``after_us`` and ``before_us`` may be missing.

    after_us: the last time that is covered. before_us: when the subscription was back; None while it is not.
    given_up: REST was asked for these trades and does not have them any more.
    """

    after_us: int
    before_us: int | None = None
    given_up: bool = False


class SequenceState(msgspec.Struct, frozen=True, kw_only=True):
    """How far one instrument's trades are complete; stored in the same transaction as the trades it covers.

    Every trade from ``covered_from_us`` up to ``last_id`` was received, except those in ``missing``. At a venue
    without contiguous ids: every trade up to ``last_time_us``, except those in ``interruptions``.
    """

    last_id: int
    last_time_us: int
    covered_from_us: int
    missing: tuple[MissingIds, ...] = ()
    interruptions: tuple[Interruption, ...] = ()


def is_plausible(state: SequenceState) -> bool:
    """Whether every gap is one that can have happened."""
    return all(gap.count <= _MAX_MISSING for gap in state.missing)


def newest_time_us(state: SequenceState) -> int:
    """The newest time that the state refers to; in the future, it was made with a wrong clock or wrong trades."""
    times_us = [state.last_time_us, state.covered_from_us]
    times_us += [gap.before_us for gap in state.missing]
    times_us += [time_us for each in state.interruptions for time_us in (each.after_us, each.before_us or 0)]
    return max(times_us)
