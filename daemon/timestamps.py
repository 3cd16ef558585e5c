"""UTC microseconds as RFC 3339 text, and back."""

from __future__ import annotations

from datetime import UTC, datetime

MICROSECONDS_PER_SECOND = 1_000_000


def iso(time_us: int, *, milliseconds: bool = False) -> str:
    """``time_us`` as RFC 3339 in UTC, e.g. ``2026-01-05T13:00:00Z``."""
    moment = datetime.fromtimestamp(time_us // MICROSECONDS_PER_SECOND, UTC)
    fraction = f".{time_us % MICROSECONDS_PER_SECOND // 1000:03d}" if milliseconds else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def from_iso(text: str) -> int:
    """UTC microseconds of an RFC 3339 time or date; without an offset it is taken as UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return int(moment.timestamp()) * MICROSECONDS_PER_SECOND + moment.microsecond
