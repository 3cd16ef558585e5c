"""Leak alarm: flags skill in the return itself that is implausibly high for a forecaster without a leak.

Without a leak, the median of the next hour's return has an RMSE within half a percent of the random walk's. A ratio
under 0.98 means an R2 above 4%; so far only forecasts that read the future reached it. The limit is a ratio, because
volatility varies between months. Direction is measured against the last-sign reversal rule, which scores 51 to 56%.

The absence of an alarm is no proof: a leaking z-score over look-back and horizon reaches a plausible 53%. Only
checks that change the future and compare results (``tests/models/evaluation/leak_checks.py``) detect such leaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from models.evaluation.skill import Estimate

RMSE_RATIO = 0.98
DIRECTION_POINTS = 3.0
STANDARD_ERRORS = 3.0
LEAST_DAYS = 90.0


class LeakVerdict(Enum):
    """The result of the alarm."""

    CLEAR = "clear"
    SUSPECT = "suspect"
    TOO_SHORT = "too_short"


@dataclass(frozen=True, slots=True)
class LeakAlarm:
    """``reasons``: one line for each exceeded limit, with its figures."""

    verdict: LeakVerdict
    reasons: tuple[str, ...] = ()


def leak_alarm(*, rmse_vs_random_walk: Estimate, direction_over_reversal: Estimate | None, days: float) -> LeakAlarm:
    """Judges one forecaster at one horizon over ``days`` of targets.

    rmse_vs_random_walk: RMSE of its median over the random walk's. direction_over_reversal: its hit rate less the
    reversal rule's on the same targets, as a share, with a block-bootstrap standard error; None if it predicts no sign.

    Over 90 days or more, suspect if the RMSE ratio is under 0.98, or the direction more than 3 points and more than 3
    standard errors above the rule. In fewer days chance alone exceeds either limit: then suspect only if the RMSE ratio
    is also 3 standard errors under 0.98, otherwise too short to judge.
    """
    enough = days >= LEAST_DAYS
    reasons = []
    ratio, error = rmse_vs_random_walk
    if ratio < RMSE_RATIO and (enough or ratio + STANDARD_ERRORS * error < RMSE_RATIO):
        reasons.append(f"RMSE is {ratio:.4f} of the random walk's, under {RMSE_RATIO}")
    if enough and direction_over_reversal is not None:
        points, points_error = (100.0 * each for each in direction_over_reversal)
        if points > DIRECTION_POINTS and points > STANDARD_ERRORS * points_error:
            reasons.append(
                f"direction is {points:.1f} points above the reversal rule, more than {DIRECTION_POINTS:.0f} and than "
                f"{STANDARD_ERRORS:.0f} standard errors of {points_error:.1f}"
            )
    if reasons:
        return LeakAlarm(LeakVerdict.SUSPECT, tuple(reasons))
    return LeakAlarm(LeakVerdict.CLEAR if enough else LeakVerdict.TOO_SHORT)
