"""How fast an edge may go: backoff between attempts that fail, and budgets that a venue grants."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from daemon.clock import Clock

Sleep = Callable[[float], Awaitable[None]]


class Backoff:
    """Growing delays with full jitter, for ever: uniform in ``[0, min(cap_s, first_s * 2 ** failures))``.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, *, first_s: float = 0.5, cap_s: float = 30.0, draw: Callable[[], float] = random.random) -> None:
        self.first_s = first_s
        self.cap_s = cap_s
        self.failures = 0
        self._draw = draw

    def next_s(self) -> float:
        """The delay after one more failure, in seconds."""
        # 2 ** 32 outgrows any cap; unbounded, the power would overflow a float after weeks of failing
        ceiling_s = min(self.cap_s, self.first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return self._draw() * ceiling_s

    def reset(self) -> None:
        self.failures = 0


class TokenBucket:
    """A budget that refills steadily: ``burst`` at once, ``per_s`` of it back every wall second."""

    def __init__(self, burst: float, *, per_s: float, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._capacity = burst
        self._refill_per_s = per_s
        self._level = burst
        self._clock = clock
        self._updated_s = clock.wall_s()
        self._sleep = sleep
        self._turn = asyncio.Lock()

    @classmethod
    def within(cls, limit: float, *, per_s: float, clock: Clock, sleep: Sleep = asyncio.sleep) -> TokenBucket:
        """Never more than ``limit`` in any ``per_s`` seconds: a full bucket and one period's refill are half each."""
        return cls(limit / 2, per_s=limit / 2 / per_s, clock=clock, sleep=sleep)

    async def take(self, amount: float) -> None:
        """Waits, in the order of asking, until ``amount`` is there, and takes it."""
        if amount > self._capacity:
            raise ValueError(f"{amount} was asked of a budget that never holds more than {self._capacity}")
        async with self._turn:
            while (lacking := amount - self._refilled()) > 0:
                await self._sleep(lacking / self._refill_per_s)
            self._level -= amount

    def _refilled(self) -> float:
        now_s = self._clock.wall_s()
        self._level = min(self._capacity, self._level + (now_s - self._updated_s) * self._refill_per_s)
        self._updated_s = now_s
        return self._level
