"""Shared decoding of the venues: bounded field types, JSON bodies and time conversions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Protocol, TypeVar

import msgspec

from daemon.errors import DataFault

T = TypeVar("T")

EARLIEST_MS = 1_230_768_000_000  # 2009-01-01: before any coin was traded
LATEST_MS = 4_102_444_800_000  # 2100-01-01
_EARLIEST_US, _LATEST_US = EARLIEST_MS * 1000, LATEST_MS * 1000

# Numbers may be strings, where a lax decoder accepts "NaN" and "inf"; the bounds reject both. The upper bound is far
# above what a coin of a billionth of a cent can trade in a day.
Positive = Annotated[float, msgspec.Meta(gt=0, lt=1e24)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, lt=1e24)]
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


def cut_microseconds(text: str) -> int:
    """UTC microseconds of an ISO 8601 time with an offset; further digits are cut: rounding could reach the next bar.

    Raises DataFault for another text, and for a time outside 2009 to 2100.
    """
    try:
        return microseconds(datetime.fromisoformat(text))
    except ValueError as error:
        raise DataFault(f"{text[:40]!r} is no time: {error}") from error


class DatedRecord(Protocol):
    """A record whose time is a text."""

    time_text: str
    time: int


def set_times(records: Iterable[DatedRecord]) -> None:
    """Sets ``time`` of each record, in microseconds. Raises DataFault for a text that is no time.

    Successive equal texts, the fills of one order, are converted once.
    """
    before: str | None = None
    time_us = 0
    for record in records:
        text = record.time_text
        if text != before:
            before, time_us = text, cut_microseconds(text)
        record.time = time_us


def as_microseconds(time_us: int) -> int:
    """The time unchanged, for records in microseconds."""
    return time_us


def as_milliseconds(time_us: int) -> int:
    """Milliseconds, rounded down."""
    return time_us // 1000


def request_number(text: str | None) -> int | None:
    """The request id that a venue repeats as text; None if it is missing or not a number."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None
