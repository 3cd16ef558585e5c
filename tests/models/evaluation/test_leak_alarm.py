"""The leak alarm at its limits."""

from __future__ import annotations

import pytest

from models.evaluation.leak_alarm import LeakVerdict, leak_alarm
from models.evaluation.skill import Estimate

EVEN = Estimate(0.999, 0.002)


@pytest.mark.parametrize(
    ("ratio", "error", "days", "verdict"),
    [
        (0.9799, 0.02, 90.0, LeakVerdict.SUSPECT),
        (0.98, 0.001, 365.0, LeakVerdict.CLEAR),
        (0.97, 0.01, 89.0, LeakVerdict.TOO_SHORT),  # chance makes that in a month
        (0.60, 0.05, 30.0, LeakVerdict.SUSPECT),  # nothing makes that
        (1.0, 0.0, 90.0, LeakVerdict.CLEAR),
        (1.0, 0.0, 89.9, LeakVerdict.TOO_SHORT),
    ],
)
def test_rmse_under_the_limit(ratio: float, error: float, days: float, verdict: LeakVerdict) -> None:
    """Under 0.98 of the random walk's over 90 days; in fewer only far beyond chance."""
    alarm = leak_alarm(rmse_vs_random_walk=Estimate(ratio, error), direction_over_reversal=None, days=days)
    assert alarm.verdict is verdict
    assert bool(alarm.reasons) == (verdict is LeakVerdict.SUSPECT)


@pytest.mark.parametrize(
    ("points", "error", "days", "verdict"),
    [
        (0.0301, 0.0100, 90.0, LeakVerdict.SUSPECT),
        (0.0299, 0.0001, 365.0, LeakVerdict.CLEAR),  # not 3 points
        (0.0400, 0.0140, 365.0, LeakVerdict.CLEAR),  # not 3 standard errors
        (0.3000, 0.0100, 60.0, LeakVerdict.TOO_SHORT),
        (-0.100, 0.0100, 365.0, LeakVerdict.CLEAR),
    ],
)
def test_direction_over_the_limit(points: float, error: float, days: float, verdict: LeakVerdict) -> None:
    """More than 3 points and more than 3 standard errors above the reversal rule, over 90 days or more."""
    alarm = leak_alarm(rmse_vs_random_walk=EVEN, direction_over_reversal=Estimate(points, error), days=days)
    assert alarm.verdict is verdict


def test_reasons_hold_the_figures() -> None:
    """Two exceeded limits give two reasons."""
    alarm = leak_alarm(
        rmse_vs_random_walk=Estimate(0.46, 0.01), direction_over_reversal=Estimate(0.33, 0.01), days=365.0
    )
    assert len(alarm.reasons) == 2
    assert "0.4600" in alarm.reasons[0]
    assert "33.0 points" in alarm.reasons[1]
