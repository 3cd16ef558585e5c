"""Where one instrument's trade sequence is complete, and what it lacks: the records that the store keeps."""

from __future__ import annotations

import msgspec


class MissingIds(msgspec.Struct, frozen=True):
    """Trade ids ``first_id..last_id`` that were never received, between two trades whose times bound them."""

    first_id: int
    last_id: int
    after_us: int
    before_us: int

    @property
    def count(self) -> int:
        return self.last_id - self.first_id + 1


class Interruption(msgspec.Struct, frozen=True):
    """A time in which nobody listened to an instrument; trades between the two times may have been lost.

    after_us: the last time that is covered. before_us: when the venue was heard again; None while it is not.
    given_up: the venue was asked for the trades in between and does not have them any more.
    """

    after_us: int
    before_us: int | None = None
    given_up: bool = False


class SequenceState(msgspec.Struct, frozen=True, kw_only=True):
    """Where one instrument's trade sequence stands; stored in the same transaction as the trades it covers.

    Every trade from ``covered_from_us`` on up to ``last_id`` was received, except those in ``missing``; at a venue
    whose ids prove nothing, every trade up to ``last_time_us`` except those in ``interruptions``.
    """

    last_id: int
    last_time_us: int
    covered_from_us: int
    missing: tuple[MissingIds, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
