"""Estimator of market time: which correction of the base clock the venues agree on. No I/O.

Each venue is a witness by its answers to time requests and another one by the event times of its trades; the current
market time is one more. Market time leaves the current one only for a time on which more witnesses agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from daemon.market_time.bounds import Bounds, Overlap, widest_agreement
from daemon.market_time.venue_clock import TRADE_STAMP_ERROR_S, TimeSample, VenueClock

TOLERANCE_S = 1.0  # a difference up to this is corrected gently; a larger one is a contradiction
SINGLE_VENUE_PERSISTENCE_S = 60.0  # a single venue must contradict a confirmed market time for so long
LONGEST_SETBACK_S = 300.0
# A large difference need not be known to a second: trades may be late by this share of it.
_DELAY_SHARE = 0.02


class Verdict(NamedTuple):
    """What to do with the correction of the base clock.

    target_us: the correction that market time should have.
    step: whether it is too far away to be corrected gently.
    restart: whether market time is too far ahead to wait until the real time has caught up.
    witnesses: how many agree on the target, the current market time not counted; 0 where nothing is known.
    set_aside: the venues that contradict market time, with the reason.
    """

    target_us: int
    step: bool
    restart: bool
    witnesses: int
    set_aside: dict[str, str]


class _Evidence(NamedTuple):
    venue: str
    bounds: Bounds


class MarketTimeEstimator:
    """``scale``: microseconds of market time a wall second. All times are those of the base clock."""

    def __init__(self, venues: Iterable[str], *, scale: float = 1e6) -> None:
        self.clocks = {venue: VenueClock(scale) for venue in venues}
        self.confirmed = False  # whether a witness has agreed with market time so far
        self._scale = scale
        self._tolerance_us = int(TOLERANCE_S * scale)
        self._stamp_error_us = int(TRADE_STAMP_ERROR_S * scale)
        self._anchor_us: int | None = None  # the last correction that two witnesses agreed on
        self._contradicted_since_us: int | None = None

    def time_answered(self, venue: str, sample: TimeSample, base_us: int) -> None:
        self.clocks[venue].time_answered(sample, base_us)

    def trade_received(self, venue: str, time_us: int, base_us: int) -> None:
        """A sample of a venue's trades, one a second at most."""
        self.clocks[venue].trade_received(time_us, base_us)

    def venue_offset(self, venue: str, base_us: int, *, near_us: int) -> Bounds | None:
        """The venue's clock minus the base clock; None where it is not known."""
        return self.clocks[venue].by_answers(base_us, near_us=near_us)

    def begin(self, base_us: int) -> Verdict:
        """The verdict before market time is used: the base clock is not trusted, and one trade of a venue counts."""
        answers, trades = self._evidence(base_us, 0, fewest=1)
        best = self._agreement(answers, trades, near_us=0)
        target_us, step = 0, False
        if best is not None and not self._is_near(best.bounds, 0):
            step = len(best.members) > self._witnesses_near([*answers, *trades], 0) + 1
            if len(best.members) == len(answers) == 1:
                best = Overlap(answers[0].bounds, (0,))
                step = not self._is_near(best.bounds, 0) and _disproved(best.bounds, trades, self._tolerance_us)
            target_us = best.bounds.middle_us if step else 0
        near = self._agreement_near([*answers, *trades], target_us)
        if near is not None:
            target_us = near.bounds.nearest_to(target_us)
        witnesses = 0 if near is None else len(near.members)
        self.confirmed = step or witnesses >= 1
        self._anchor_us = target_us
        return Verdict(target_us, step, False, witnesses, self._set_aside(answers, trades, target_us))

    def evaluate(self, base_us: int, current_us: int) -> Verdict:
        """The verdict while market time runs with the correction ``current_us``."""
        answers, trades = self._evidence(base_us, current_us)
        every = [*answers, *trades]
        near = self._agreement_near(every, current_us)
        witnesses = 0 if near is None else len(near.members)
        best = self._agreement(answers, trades, near_us=current_us)
        if best is not None and self._must_step(best, every, witnesses, base_us, current_us):
            target_us = self._proven_target(best, answers, trades)
            self._anchor_us, self.confirmed = target_us, True
            restart = current_us - target_us > LONGEST_SETBACK_S * self._scale
            aside = self._set_aside(answers, trades, target_us)
            return Verdict(target_us, True, restart, len(best.members), aside)
        target_us = current_us
        if near is not None:
            target_us = self._gentle_target(near, current_us)
        return Verdict(target_us, False, False, witnesses, self._set_aside(answers, trades, current_us))

    # ---------------------------------------------------------------- inside

    def _evidence(self, base_us: int, near_us: int, *, fewest: int = 3) -> tuple[list[_Evidence], list[_Evidence]]:
        """What the answers and what the trades of each venue show."""
        answers, trades = [], []
        for venue, clock in self.clocks.items():
            answered = clock.by_answers(base_us, near_us=near_us)
            delay_us = 0.0
            if answered is not None:
                answers.append(_Evidence(venue, answered))
                delay_us = _DELAY_SHARE * abs(answered.middle_us - near_us)
            traded = clock.by_trades(base_us, delay_us=delay_us, fewest=fewest)
            if traded is not None:
                trades.append(_Evidence(venue, traded))
        return answers, trades

    def _must_step(self, best: Overlap, every: Sequence[_Evidence], near: int, base_us: int, current_us: int) -> bool:
        """Whether the best agreement contradicts the current market time and outvotes it, for long enough."""
        agreeing = len(best.members)
        if self._is_near(best.bounds, current_us) or agreeing < 2 or agreeing <= near + 1:
            self._contradicted_since_us = None
            return False
        if self._contradicted_since_us is None:
            self._contradicted_since_us = base_us
        venues = {every[index].venue for index in best.members}
        if len(venues) > 1 or not self.confirmed:
            return True
        return base_us - self._contradicted_since_us >= SINGLE_VENUE_PERSISTENCE_S * self._scale

    def _proven_target(self, best: Overlap, answers: Sequence[_Evidence], trades: Sequence[_Evidence]) -> int:
        """The target of a step: not past the trades that have happened, unless the clocks of two venues agree.

        The bounds of trades are wide where the step is long, so that a wrong clock may lie within them.
        """
        target_us = best.bounds.middle_us
        if sum(index < len(answers) for index in best.members) >= 2:
            return target_us
        members = [trades[index - len(answers)] for index in best.members if index >= len(answers)]
        return min([target_us, *(each.bounds.low_us + self._stamp_error_us for each in members)])

    def _gentle_target(self, near: Overlap, current_us: int) -> int:
        """Where the near witnesses put market time; a single one may move it by the tolerance at most."""
        self.confirmed = True
        target_us = near.bounds.nearest_to(current_us)
        if len(near.members) >= 2 or self._anchor_us is None:
            self._anchor_us = target_us
            return target_us
        anchor_us, tolerance_us = self._anchor_us, self._tolerance_us
        limits = Bounds(min(anchor_us - tolerance_us, current_us), max(anchor_us + tolerance_us, current_us))
        return limits.nearest_to(target_us)

    def _agreement(self, answers: Sequence[_Evidence], trades: Sequence[_Evidence], *, near_us: int) -> Overlap | None:
        """The widest agreement of all witnesses; members are counted through ``answers``, then ``trades``."""
        margin_us = self._tolerance_us // 2  # the clocks of two venues differ
        padded = [Bounds(low_us - margin_us, high_us + margin_us) for _, (low_us, high_us) in answers]
        return widest_agreement([*padded, *(each.bounds for each in trades)], near_us=near_us)

    def _is_near(self, bounds: Bounds, current_us: int) -> bool:
        return bounds.low_us <= current_us + self._tolerance_us and bounds.high_us >= current_us - self._tolerance_us

    def _agreement_near(self, every: Sequence[_Evidence], current_us: int) -> Overlap | None:
        """The widest agreement of the witnesses that do not contradict the current market time."""
        here = Bounds(current_us - self._tolerance_us, current_us + self._tolerance_us)
        clipped = [overlap for each in every if (overlap := each.bounds.overlap(here)) is not None]
        return widest_agreement(clipped, near_us=current_us)

    def _witnesses_near(self, every: Sequence[_Evidence], current_us: int) -> int:
        near = self._agreement_near(every, current_us)
        return 0 if near is None else len(near.members)

    def _set_aside(self, answers: Sequence[_Evidence], trades: Sequence[_Evidence], target_us: int) -> dict[str, str]:
        """The venues whose clock, or whose trades by lying in the future, contradict market time."""
        reasons = {}
        for venue, bounds in trades:
            if bounds.low_us > target_us + self._tolerance_us:
                reasons[venue] = f"its trades are stamped {self._seconds(bounds.low_us - target_us)} s ahead"
        for venue, bounds in answers:
            if not self._is_near(bounds, target_us):
                reasons[venue] = f"its clock is {self._seconds(bounds.middle_us - target_us)} s off"
        return reasons

    def _seconds(self, market_us: int) -> str:
        return f"{market_us / 1e6:+.1f}"


def _disproved(answered: Bounds, trades: Sequence[_Evidence], tolerance_us: int) -> bool:
    """Whether trades speak against an unconfirmed base clock, and not against the only venue that answers.

    A trade from the base clock's future disproves the base clock. Where the venue's clock is behind, it is believed
    unless a trade lies in its future.
    """
    if not trades or any(each.bounds.low_us > answered.high_us + tolerance_us for each in trades):
        return False
    return answered.middle_us < 0 or any(each.bounds.low_us > tolerance_us for each in trades)
