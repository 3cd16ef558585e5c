"""Keeps market time: measures the venues' clocks, steers the clock by the estimator's verdict, and reports both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import structlog

from daemon.clock import Clock
from daemon.errors import ErrorHandling, ForecastdError, Retryable, classify
from daemon.ingest.pacing import Sleep
from daemon.ingest.rest_client import RestClient
from daemon.market_time.estimator import TOLERANCE_S, MarketTimeEstimator, Verdict
from daemon.pipeline.pipeline import Pipeline
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from daemon.serving.metrics.family import UNKNOWN
from daemon.serving.status import VenueClockStatus

log = structlog.get_logger(__name__)

_PERIOD_S = 60.0
_SHORT_PERIOD_S = 2.0  # while a venue's time is not known, or contradicts market time
_FIRST_PERIOD_S = 0.1
_FIRST_SAMPLES = 3
_FIRST_SYMBOLS = 3  # one that trades is enough
_SYNCHRONISE_S = 5.0
_STRAGGLER_S = 1.5  # for the other venues, once the first has answered
_CURE = "let NTP set this machine's clock"


class Timekeeper:
    """One for all venues of a daemon.

    confirmed: whether a venue has agreed with market time since the start.
    """

    def __init__(
        self,
        venues: Iterable[str],
        *,
        clock: Clock,
        pipeline: Pipeline,
        metrics: Metrics,
        health: Health,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._pipeline = pipeline
        self._metrics = metrics
        self._health = health
        self._scale = clock.speed * 1e6
        self._estimator = MarketTimeEstimator(venues, scale=self._scale)
        self._set_aside: dict[str, str] = {}
        self._restart_reason = ""
        self._refusals: dict[str, str] = {}

    @property
    def confirmed(self) -> bool:
        return self._estimator.confirmed

    async def synchronise(self, rests: Mapping[str, tuple[RestClient, Sequence[str]]]) -> None:
        """Sets market time by the venues, before anything uses it; without an answer the system's clock stays.

        rests: the REST client and the symbols of each venue; none in an empty shard.
        """
        if not rests:
            return
        measuring = {
            asyncio.create_task(self._first_samples(venue, rest, symbols), name=f"first time of {venue}")
            for venue, (rest, symbols) in rests.items()
        }
        try:
            done, pending = await asyncio.wait(measuring, timeout=_SYNCHRONISE_S, return_when=asyncio.FIRST_COMPLETED)
            if done and pending:
                done, _ = await asyncio.wait(measuring, timeout=_STRAGGLER_S)
            for task in done:
                task.result()
        finally:
            for task in measuring:
                task.cancel()
            await asyncio.gather(*measuring, return_exceptions=True)
        verdict = self._estimator.begin(self._clock.base_us())
        self._clock.begin(verdict.target_us)
        if verdict.step:
            self._report_step(verdict, verdict.target_us)
        self._report(verdict)

    async def measure(self, venue: str, rest: RestClient) -> None:
        """Samples the venue's clock once a minute without end, more often while it is unknown or contradicts.

        Raises Retryable where market time is so far ahead that only a restart brings it back.
        """
        while True:
            contradicts = True
            try:
                contradicts = await self._sample(venue, rest)
            except ForecastdError as error:
                self._log_unknown(venue, error)
            self._steer()
            if self._restart_reason:
                raise Retryable(self._restart_reason)
            unknown = self._offset_us(venue) is None
            await self._sleep(_SHORT_PERIOD_S if unknown or contradicts else _PERIOD_S)

    def trade_received(self, venue: str, time_us: int) -> None:
        """Samples the event time of a trade that has just arrived; to be called once a second."""
        self._estimator.trade_received(venue, time_us, self._clock.base_us())
        self._steer()

    def statuses(self) -> list[VenueClockStatus]:
        """The clock of each venue as it is known now."""
        return [
            VenueClockStatus(
                venue=venue,
                skew_ms=self._pipeline.clock_skew_ms.get(venue),
                trusted=venue not in self._set_aside,
                reason=self._set_aside.get(venue, ""),
            )
            for venue in self._estimator.clocks
        ]

    # ---------------------------------------------------------------- inside

    async def _first_samples(self, venue: str, rest: RestClient, symbols: Sequence[str]) -> None:
        """Several answers, and the newest trade: a venue whose clock is wrong contradicts its own trades."""
        taken = 0
        while taken < _FIRST_SAMPLES:
            try:
                await self._sample(venue, rest)
            except ForecastdError as error:
                self._log_unknown(venue, error)
                if classify(error) is ErrorHandling.STOP:
                    return
            else:
                taken += 1
            await self._sleep(_FIRST_PERIOD_S)

        for symbol in symbols[:_FIRST_SYMBOLS]:
            with suppress(ForecastdError):
                trade = await rest.newest_trade(symbol)
                if trade is not None:
                    self._estimator.trade_received(venue, trade.time_us, self._clock.base_us())
                    return

    def _log_unknown(self, venue: str, error: ForecastdError) -> None:
        """A refusal is logged once, as an error: it lasts, and only the operator can end it."""
        reason = str(error)
        if classify(error) is not ErrorHandling.STOP:
            log.info("skew_unknown", venue=venue, reason=reason)
        elif self._refusals.get(venue) != reason:
            self._refusals[venue] = reason
            log.error("venue_refused", venue=venue, reason=reason)

    async def _sample(self, venue: str, rest: RestClient) -> bool:
        """Takes one sample, and returns whether it contradicts market time."""
        sample = await rest.time_sample()
        self._refusals.pop(venue, None)
        self._estimator.time_answered(venue, sample, self._clock.base_us())
        difference_us = abs(sample.offset_us - self._clock.correction_us)
        return difference_us > sample.error_us + TOLERANCE_S * self._scale or venue in self._set_aside

    def _steer(self) -> None:
        before_us = self._clock.correction_us
        verdict = self._estimator.evaluate(self._clock.base_us(), before_us)
        self._clock.steer(verdict.target_us, step=verdict.step)
        if verdict.step and verdict.target_us > before_us:
            self._report_step(verdict, verdict.target_us - before_us)
        if verdict.restart and not self._restart_reason:
            ahead_s = (before_us - verdict.target_us) / 1e6
            self._restart_reason = f"market time is {ahead_s:.0f} s ahead of the venues' clocks; {_CURE}"
        self._report(verdict)

    def _report_step(self, verdict: Verdict, step_us: int) -> None:
        self._metrics.clock_steps.inc()
        log.warning("clock_stepped", skew_ms=step_us // 1000, witnesses=verdict.witnesses, cure=_CURE)

    def _report(self, verdict: Verdict) -> None:
        """Reports each venue's skew, and what has changed in which venues are set aside."""
        for venue in self._estimator.clocks:
            self._report_skew(venue)
            reason, before = verdict.set_aside.get(venue), self._set_aside.get(venue)
            if reason is not None and before is None:
                self._metrics.venue_clock_set_aside.labels(venue).set(1)
                self._health.fault(f"clock of {venue}", reason)
                log.warning("venue_clock_set_aside", venue=venue, reason=reason)
            elif reason is None and before is not None:
                self._metrics.venue_clock_set_aside.labels(venue).set(0)
                self._health.clear_fault(f"clock of {venue}")
                log.info("venue_clock_trusted", venue=venue)
        self._set_aside = verdict.set_aside

    def _report_skew(self, venue: str) -> None:
        """The venue's clock minus this machine's own, which market time corrects."""
        offset_us = self._offset_us(venue)
        if offset_us is None:
            self._pipeline.clock_skew_ms.pop(venue, None)
            self._metrics.clock_skew.labels(venue).set(UNKNOWN)
            return
        ahead_us = (offset_us - self._clock.correction_us) / self._clock.speed
        skew_ms = round((ahead_us + self._clock.ahead_of_system_us()) / 1000)
        self._pipeline.clock_skew_ms[venue] = skew_ms
        self._metrics.clock_skew.labels(venue).set(skew_ms / 1000)

    def _offset_us(self, venue: str) -> int | None:
        """The venue's clock minus the base clock; None where it is not known."""
        bounds = self._estimator.venue_offset(venue, self._clock.base_us(), near_us=self._clock.correction_us)
        return None if bounds is None else bounds.middle_us
