"""Market time of a simulated process: a base clock that may be wrong, and venues whose time endpoints may lie."""

from __future__ import annotations

import random
from collections.abc import Iterable

from daemon.market_time.estimator import MarketTimeEstimator, Verdict
from daemon.market_time.steering import Steering
from daemon.market_time.venue_clock import TimeSample

_SECOND_US = 1_000_000
_HOUR_US = 3600 * _SECOND_US
_LIES_US = (5 * _SECOND_US, 20 * _SECOND_US, 600 * _SECOND_US, 10 * _HOUR_US)
_ROUND_TRIP_US = (20_000, 500_000)


class SimulatedTime:
    """``begin`` starts a process, whose clock is ``wrong_us`` off; each sample steers it."""

    def __init__(self, rng: random.Random, venues: Iterable[str], *, error_us: int) -> None:
        self._error_us = error_us  # of the machine's clock at every start
        self._rng = rng
        self._resolutions_us = {venue: rng.choice([1_000, _SECOND_US]) for venue in venues}
        self._lies_us: dict[str, int] = {}
        self._wrong_us = 0
        self._estimator = MarketTimeEstimator(self._resolutions_us)
        self._steering = Steering()
        self._sampled_us: dict[str, int] = {}
        self._calm = False
        self._calls = 0

    @property
    def lying(self) -> bool:
        return bool(self._lies_us)

    def market_us(self, now_us: int) -> int:
        """Market time as the process has it, at the true time ``now_us``."""
        base_us = now_us + self._wrong_us
        return base_us + self._steering.correction_us(base_us)

    def begin(self, now_us: int, newest_trades_us: dict[str, int], *, wrong: bool) -> None:
        """A process starts; ``wrong``: with a clock that is off by seconds to hours."""
        self._wrong_us = self._error_us
        if wrong:
            self._wrong_us += self._rng.choice([-1, 1]) * self._rng.choice(_LIES_US)
        self._estimator = MarketTimeEstimator(self._resolutions_us)
        self._steering = Steering()
        self._sampled_us.clear()
        base_us = now_us + self._wrong_us
        for venue in self._resolutions_us:
            for _ in range(3):
                self._answer(venue, now_us)
            if venue in newest_trades_us:
                self._estimator.trade_received(venue, newest_trades_us[venue], base_us)
        self._steering.begin(self._estimator.begin(base_us).target_us, base_us)

    def sample_times(self, now_us: int) -> Verdict:
        """Every venue answers a time request; returns the verdict, which has been followed.

        While all is well, only every tenth call takes samples.
        """
        self._calls += 1
        if self._calm and self._calls % 10:
            return Verdict(0, False, False, 0, {})
        contradicted = [self._answer(venue, now_us) for venue in self._resolutions_us]
        verdict = self._steer(now_us)
        self._calm = not any(contradicted) and not verdict.set_aside
        return verdict

    def trade_received(self, venue: str, time_us: int, now_us: int) -> None:
        """A trade arrives by the stream; one a second is sampled, and one in ten seconds while all is well."""
        period_us = _SECOND_US * (10 if self._calm else 1)
        if now_us - self._sampled_us.get(venue, 0) >= period_us:
            self._sampled_us[venue] = now_us
            self._estimator.trade_received(venue, time_us, now_us + self._wrong_us)
            self._steer(now_us)

    def lie(self) -> None:
        """One venue's time endpoint is wrong from now on."""
        if not self._lies_us:
            venue = self._rng.choice(list(self._resolutions_us))
            self._lies_us[venue] = self._rng.choice([-1, 1]) * self._rng.choice(_LIES_US)

    def tell_the_truth(self) -> None:
        """Every venue's time endpoint is right from now on."""
        self._lies_us.clear()

    def pause_machine(self) -> None:
        """The base clock stands still for a while, as in a paused virtual machine."""
        if not self._lies_us:
            self._wrong_us -= self._rng.choice(_LIES_US[:3])

    def _answer(self, venue: str, now_us: int) -> bool:
        """A venue answers; returns whether it contradicts market time."""
        resolution_us = self._resolutions_us[venue]
        took_us = self._rng.randrange(*_ROUND_TRIP_US)
        served_us = now_us - int(took_us * self._rng.random()) + self._lies_us.get(venue, 0)
        shown_us = served_us // resolution_us * resolution_us + resolution_us // 2
        offset_us = shown_us - (now_us - took_us // 2 + self._wrong_us)
        sample = TimeSample(offset_us, (took_us + resolution_us) // 2)
        self._estimator.time_answered(venue, sample, now_us + self._wrong_us)
        return abs(offset_us - self._steering.correction_us(now_us + self._wrong_us)) > sample.error_us + _SECOND_US

    def _steer(self, now_us: int) -> Verdict:
        base_us = now_us + self._wrong_us
        verdict = self._estimator.evaluate(base_us, self._steering.correction_us(base_us))
        self._steering.steer(verdict.target_us, base_us, step=verdict.step)
        return verdict
