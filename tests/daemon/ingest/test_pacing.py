"""Backoff and request budgets."""

from __future__ import annotations

import asyncio

import pytest

from daemon.clock import ManualClock
from daemon.ingest.pacing import Backoff, TokenBucket


def test_backoff_doubles_up_to_its_cap_for_ever() -> None:
    """The ceiling doubles, stays at the cap after any number of failures, and is reset to its start."""
    backoff = Backoff(first_s=0.5, cap_s=30, draw=lambda: 1.0)
    assert [backoff.next_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff.next_s() for _ in range(5000)] == [30] * 5000
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_backoff_draws_the_whole_delay() -> None:
    """Full jitter: the delay is anywhere from zero to the ceiling."""
    backoff = Backoff(first_s=8, cap_s=8, draw=iter([0.0, 0.25, 0.999]).__next__)
    assert [backoff.next_s() for _ in range(3)] == [0, 2, pytest.approx(7.992)]


async def test_bucket_serves_in_the_order_of_asking() -> None:
    """The first caller is served first, even when a later one wants less."""
    clock = ManualClock()
    served: list[str] = []

    async def sleep(delay_s: float) -> None:
        clock.now_us += round(delay_s * 1_000_000) + 1
        await asyncio.sleep(0)

    bucket = TokenBucket(10, per_s=1, clock=clock, sleep=sleep)

    async def take(name: str, amount: float) -> None:
        await bucket.take(amount)
        served.append(name)

    await asyncio.gather(take("first", 10), take("second", 8), take("third", 1))
    assert served == ["first", "second", "third"]
    assert clock.wall_s() == pytest.approx(9, abs=0.01)


async def test_bucket_refuses_what_it_can_never_hold() -> None:
    """A request larger than the bucket would wait for ever."""
    bucket = TokenBucket(10, per_s=1, clock=ManualClock())
    with pytest.raises(ValueError, match="must be at most 10"):
        await bucket.take(11)


async def test_bucket_within_a_limit_for_any_period() -> None:
    """No period of that length holds more than the limit, and the rate comes near it."""
    clock = ManualClock()
    taken_s: list[float] = []

    async def sleep(delay_s: float) -> None:
        clock.now_us += round(delay_s * 1_000_000) + 1

    bucket = TokenBucket.within(20, per_s=10, clock=clock, sleep=sleep)
    for _ in range(60):
        await bucket.take(1)
        taken_s.append(clock.wall_s())
    most = max(sum(start_s <= each_s < start_s + 10 for each_s in taken_s) for start_s in taken_s)
    assert 18 <= most <= 20
    assert taken_s[9] == 0, "half of the limit is there at once"
