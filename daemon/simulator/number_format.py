"""Formats exact integers and times as exchanges write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

PUBLISHED_DECIMALS = 8


def fixed(value: int, decimals: int, published: int = PUBLISHED_DECIMALS) -> str:
    """``value * 10**-decimals`` with ``published`` decimals, more where exactness needs them."""
    whole, fraction = divmod(value, 10**decimals)
    digits = f"{fraction:0{decimals}d}" if decimals else ""
    return f"{whole}.{digits:0<{published}}"


def trimmed(value: int, decimals: int) -> str:
    """``value * 10**-decimals`` without trailing zeros, e.g. ``0.05`` and ``12``."""
    whole, fraction = divmod(value, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}".rstrip("0") if fraction else str(whole)


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def rfc3339(time_us: int) -> str:
    """RFC 3339 with six digits of a second, e.g. ``2026-01-05T13:00:00.250000Z``."""
    seconds, fraction = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


def rfc3339_trimmed(time_us: int) -> str:
    """RFC 3339 with the necessary digits, at least one, e.g. ``2026-01-05T13:00:00.25Z``."""
    seconds, fraction = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}.{f'{fraction:06d}'.rstrip('0') or '0'}Z"
