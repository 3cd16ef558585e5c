"""What the venues' wire files share: bounds beyond which a value is no market data, and JSON bodies read with them."""

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

# Numbers come as strings, where a lax decoder takes "NaN" and "inf" too: the bounds refuse both.
Positive = Annotated[float, msgspec.Meta(gt=0, lt=1e15)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, lt=1e15)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
TimeMs = Annotated[int, msgspec.Meta(ge=EARLIEST_MS, lt=LATEST_MS)]
TimeS = Annotated[int, msgspec.Meta(ge=EARLIEST_MS // 1000, lt=LATEST_MS // 1000)]

# Everything that msgspec raises for a frame: nesting too deep is a RecursionError.
MALFORMED = (msgspec.MsgspecError, RecursionError, UnicodeError)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_body(venue: str, body: bytes, kind: type[T]) -> T:
    """A REST answer as ``kind``, numbers in strings taken as numbers. Raises DataFault."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except MALFORMED as error:
        raise DataFault(f"{venue} answer: {error}") from error


def microseconds(moment: datetime) -> int:
    """UTC microseconds of a time with an offset; raises DataFault for one without, or outside 2009 to 2100."""
    if moment.tzinfo is not None:
        since = moment - _EPOCH
        time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if _EARLIEST_US <= time_us < _LATEST_US:
            return time_us
    raise DataFault(f"time {moment.isoformat()} is no market time")


def all_microseconds(moments: Iterable[datetime]) -> list[int]:
    """``microseconds`` of each; trades of one order, which happened at one time, mostly come together."""
    times_us: list[int] = []
    before, time_us = None, 0
    for moment in moments:
        if moment != before:
            before, time_us = moment, microseconds(moment)
        times_us.append(time_us)
    return times_us


def as_microseconds(time_us: int) -> int:
    """As it is."""
    return time_us


def as_milliseconds(time_us: int) -> int:
    """Rounded down."""
    return time_us // 1000


def as_datetime(time_us: int) -> datetime:
    """In UTC."""
    return _EPOCH + timedelta(microseconds=time_us)


def request_number(text: str | None) -> int | None:
    """The number of a request that a venue repeats as text; None where it repeats none of ours."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdigit() else None
