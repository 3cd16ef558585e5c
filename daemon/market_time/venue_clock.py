"""Clock of one venue: its offset by its answers to time requests and by the event times of its trades. No I/O.

Offsets are relative to the daemon's base clock, which runs evenly and is never corrected.
"""

from __future__ import annotations

from collections import deque
from statistics import median_low
from typing import NamedTuple

from daemon.market_time.bounds import Bounds, widest_agreement

KEPT_SAMPLES = 8
FEWEST_SAMPLES = 3  # a single answer or trade is no evidence
_SAMPLE_ERROR_S = 0.02  # of scheduling and of the drift of the base clock
_LONGEST_ANSWER_AGE_S = 900.0
_LONGEST_TRADE_AGE_S = 600.0
TRADE_STAMP_ERROR_S = 0.1  # a venue stamps trades on other machines than it answers time requests on
USUAL_DELAY_S = 1.0  # of a trade on its way, most of the time


class TimeSample(NamedTuple):
    """One answer to a time request: the venue's clock minus the base clock, at the middle of the round trip.

    error_us: half of the round trip plus half of the resolution of the venue's answer.
    """

    offset_us: int
    error_us: int


class VenueClock:
    """Keeps the last samples of both kinds; a sample that is too old is not used any more.

    scale: microseconds of market time a wall second.
    """

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._answers: deque[tuple[int, Bounds]] = deque(maxlen=KEPT_SAMPLES)
        self._trades: deque[tuple[int, int]] = deque(maxlen=KEPT_SAMPLES)

    def time_answered(self, sample: TimeSample, base_us: int) -> None:
        """Adds an answer to a time request that arrived at ``base_us``."""
        error_us = sample.error_us + int(_SAMPLE_ERROR_S * self._scale)
        self._answers.append((base_us, Bounds(sample.offset_us - error_us, sample.offset_us + error_us)))

    def trade_received(self, time_us: int, base_us: int) -> None:
        """Adds a trade with event time ``time_us`` that arrived at ``base_us``."""
        self._trades.append((base_us, time_us - base_us))

    def by_answers(self, base_us: int, *, near_us: int) -> Bounds | None:
        """The offset by the answers to time requests; None where most of them do not agree, or there are too few.

        Where several offsets agree equally, the one nearest to ``near_us`` counts.
        """
        oldest_us = base_us - _LONGEST_ANSWER_AGE_S * self._scale
        bounds = [each for at_us, each in self._answers if at_us >= oldest_us]
        agreed = widest_agreement(bounds, near_us=near_us)
        if agreed is None or len(agreed.members) < FEWEST_SAMPLES or 2 * len(agreed.members) <= len(bounds):
            return None
        return agreed.bounds

    def by_trades(self, base_us: int, *, delay_us: float = 0.0, fewest: int = FEWEST_SAMPLES) -> Bounds | None:
        """The offset by the median trade, which took at most ``delay_us`` (at least the usual delay) to arrive.

        None where there are fewer than ``fewest`` recent trades.
        """
        oldest_us = base_us - _LONGEST_TRADE_AGE_S * self._scale
        ahead_us = [ahead_us for at_us, ahead_us in self._trades if at_us >= oldest_us]
        if len(ahead_us) < fewest:
            return None
        middle_us = median_low(ahead_us)
        delay_us = max(delay_us, USUAL_DELAY_S * self._scale)
        return Bounds(middle_us - int(TRADE_STAMP_ERROR_S * self._scale), middle_us + int(delay_us))
