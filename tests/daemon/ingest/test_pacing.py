"""Backoff and budgets."""

from __future__ import annotations

import asyncio

import pytest

from daemon.clock import ManualClock
from daemon.ingest.pacing import Backoff, TokenBucket


def test_backoff_doubles_up_to_its_cap_for_ever() -> None:
    """The ceiling doubles, stays at the cap after any number of failures, and starts over on reset."""
    backoff = Backoff(first_s=0.5, cap_s=30, draw=lambda: 1.0)
    assert [backoff.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff.next_s() for _ in range(5000)] == [30] * 5000
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_backoff_draws_the_whole_delay() -> None:
    """Full jitter: the delay may be anything from nothing to the ceiling."""
    backoff = Backoff(first_s=8, cap_s=8, draw=iter([0.0, 0.25, 0.999]).__next__)
    assert [backoff.next_s() for _ in range(3)] == [0, 2, pytest.approx(7.992)]


async def test_bucket_serves_in_the_order_of_asking() -> None:
    """Who asked first is served first, even when a later one wants less."""
    clock = ManualClock()
    served: list[str] = []

    async def sleep(delay_s: float) -> None:
        clock.now_us += round(delay_s * 1_000_000) + 1
        await asyncio.sleep(0)

    bucket = TokenBucket(20, per_s=10, clock=clock, sleep=sleep)

    async def take(name: str, amount: float) -> None:
        await bucket.take(amount)
        served.append(name)

    await asyncio.gather(take("first", 10), take("second", 8), take("third", 1))
    assert served == ["first", "second", "third"]
    assert clock.wall_s() == pytest.approx(9, abs=0.01)


async def test_bucket_refuses_what_it_can_never_hold() -> None:
    """A request larger than the bucket would wait for ever."""
    bucket = TokenBucket(20, per_s=10, clock=ManualClock())
    with pytest.raises(ValueError, match="never holds more than 10"):
        await bucket.take(11)
