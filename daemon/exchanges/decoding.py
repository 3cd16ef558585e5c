"""Shared decoding of the venues: bounded field types, JSON bodies and time conversions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import msgspec

from daemon.errors import DataFault

T = TypeVar("T")

EARLIEST_MS = 1_230_768_000_000  # 2009-01-01: before any coin was traded
LATEST_MS = 4_102_444_800_000  # 2100-01-01
_EARLIEST_US, _LATEST_US = EARLIEST_MS * 1000, LATEST_MS * 1000

# Numbers may be strings, where a lax decoder accepts "NaN" and "inf"; the bounds reject both.
Positive = Annotated[float, msgspec.Meta(gt=0, lt=1e15)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, lt=1e15)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
TimeMs = Annotated[int, msgspec.Meta(ge=EARLIEST_MS, lt=LATEST_MS)]
TimeS = Annotated[int, msgspec.Meta(ge=EARLIEST_MS // 1000, lt=LATEST_MS // 1000)]

# All errors of msgspec for a frame; too deep nesting is a RecursionError.
MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_body(venue: str, body: bytes, kind: type[T]) -> T:
    """Decodes a REST answer as ``kind``; numbers may be strings. Raises DataFault."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except MALFORMED as error:
        raise DataFault(f"{venue} answer: {error}") from error


def microseconds(when: datetime) -> int:
    """UTC microseconds of a time with an offset; raises DataFault without an offset, or outside 2009 to 2100."""
    if when.tzinfo is not None:
        since = when - _EPOCH
        time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if _EARLIEST_US <= time_us < _LATEST_US:
            return time_us
    raise DataFault(f"time {when.isoformat()} has no offset or is outside 2009 to 2100")


def all_microseconds(times: Iterable[datetime]) -> list[int]:
    """``microseconds`` of each time. Successive equal times, the fills of one order, are converted once."""
    times_us: list[int] = []
    before, time_us = None, 0
    for when in times:
        if when != before:
            before, time_us = when, microseconds(when)
        times_us.append(time_us)
    return times_us


def as_microseconds(time_us: int) -> int:
    """The time unchanged, for records in microseconds."""
    return time_us


def as_milliseconds(time_us: int) -> int:
    """Milliseconds, rounded down."""
    return time_us // 1000


def as_datetime(time_us: int) -> datetime:
    """UTC datetime."""
    return _EPOCH + timedelta(microseconds=time_us)


def request_number(text: str | None) -> int | None:
    """The request id that a venue repeats as text; None if it is missing or not a number."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None
