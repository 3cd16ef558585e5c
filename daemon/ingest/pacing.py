"""Rate limiting of an edge: exponential backoff after failures, and token buckets for the venue's limits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from daemon.clock import Clock

Sleep = Callable[[float], Awaitable[None]]


class Backoff:
    """Exponential backoff with full jitter: uniform in ``[0, min(cap_s, first_s * 2 ** failures))``, without end.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, *, first_s: float = 0.5, cap_s: float = 30.0, draw: Callable[[], float] = random.random) -> None:
        self.first_s = first_s
        self.cap_s = cap_s
        self.failures = 0
        self._draw = draw

    def next_s(self) -> float:
        """The delay after one more failure, in seconds."""
        # 2 ** 32 exceeds any cap; without the bound the power overflows a float after weeks of failures
        ceiling_s = min(self.cap_s, self.first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return self._draw() * ceiling_s

    def reset(self) -> None:
        self.failures = 0


class TokenBucket:
    """Token bucket: holds up to ``burst`` tokens and gains ``per_s`` of them every wall second."""

    def __init__(self, burst: float, *, per_s: float, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._capacity = burst
        self._refill_per_s = per_s
        self._level = burst
        self._clock = clock
        self._updated_s = clock.wall_s()
        self._sleep = sleep
        self._queue = asyncio.Lock()

    @classmethod
    def within(cls, limit: float, *, per_s: float, clock: Clock, sleep: Sleep = asyncio.sleep) -> TokenBucket:
        """A bucket that grants at most ``limit`` in any ``per_s`` seconds: half as capacity, half as refill."""
        return cls(limit / 2, per_s=limit / 2 / per_s, clock=clock, sleep=sleep)

    async def take(self, amount: float) -> None:
        """Waits until ``amount`` is available and takes it; waiters are served in the order of their calls.

        Raises ValueError for an ``amount`` above ``burst``.
        """
        if amount > self._capacity:
            raise ValueError(f"amount was {amount}, must be at most {self._capacity}, the burst of the budget")
        async with self._queue:
            while (lacking := amount - self._refilled()) > 0:
                await self._sleep(lacking / self._refill_per_s)
            self._level -= amount

    def _refilled(self) -> float:
        now_s = self._clock.wall_s()
        self._level = min(self._capacity, self._level + (now_s - self._updated_s) * self._refill_per_s)
        self._updated_s = now_s
        return self._level
