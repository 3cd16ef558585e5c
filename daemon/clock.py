"""Two times: market time, which bars and messages live in, and wall time, which waiting lives in.

On the system clock both run alike. In the demo and in tests market time runs faster: one wall second is
``speed`` market seconds. Everything that measures patience (grace, timeouts, backoff, keep-alive) stays in
wall seconds.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

MICROSECONDS_PER_SECOND = 1_000_000


class Clock(Protocol):
    """What the daemon asks of time."""

    @property
    def speed(self) -> float:
        """Market seconds per wall second."""
        ...

    def market_us(self) -> int:
        """Market time now, UTC microseconds."""
        ...

    def wall_s(self) -> float:
        """Monotonic wall time in seconds, for durations only."""
        ...


class SystemClock:
    """Market time is the system's UTC time."""

    speed = 1.0

    def market_us(self) -> int:
        return time.time_ns() // 1_000

    def wall_s(self) -> float:
        return time.monotonic()


class ScaledClock:
    """Market time starts at ``start_us`` and runs ``speed`` times as fast as wall time."""

    def __init__(self, *, start_us: int, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"speed was {speed}, must be above 0")
        self.speed = speed
        self._start_us = start_us
        self._started_s = time.monotonic()

    def market_us(self) -> int:
        elapsed_s = time.monotonic() - self._started_s
        return self._start_us + int(elapsed_s * self.speed * MICROSECONDS_PER_SECOND)

    def wall_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """Time stands still until it is set: for replay and tests."""

    speed = 1.0

    def __init__(self, start_us: int = 0) -> None:
        self.now_us = start_us

    def market_us(self) -> int:
        return self.now_us

    def wall_s(self) -> float:
        return self.now_us / MICROSECONDS_PER_SECOND

    def set(self, market_us: int) -> None:
        self.now_us = market_us


async def sleep_until(clock: Clock, market_us: int) -> None:
    """Sleeps until market time reaches ``market_us``, in steps that survive a jump of the system clock."""
    while (remaining_us := market_us - clock.market_us()) > 0:  # noqa: ASYNC110  # time passes without an event
        await asyncio.sleep(min(remaining_us / clock.speed / MICROSECONDS_PER_SECOND, 1.0))


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
