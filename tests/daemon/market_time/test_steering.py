"""Corrected time never runs backwards, whatever it is steered to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.market_time.steering import Steering

SECOND_US = 1_000_000
STEERED = st.lists(
    st.tuples(
        st.integers(0, 100 * SECOND_US),
        st.integers(-3600 * SECOND_US, 3600 * SECOND_US),
        st.booleans(),
        st.lists(st.integers(0, 10 * SECOND_US), max_size=4),
    ),
    max_size=8,
)


@given(STEERED)
def test_time_never_runs_backwards(steered: list[tuple[int, int, bool, list[int]]]) -> None:
    """Any targets at any moments, and the correction never passes its target."""
    steering, base_us, last_us = Steering(), 0, 0
    for pause_us, target_us, step, looks_us in steered:
        base_us += pause_us
        before_us = steering.correction_us(base_us)
        steering.steer(target_us, base_us, step=step)
        for look_us in [0, *looks_us]:
            base_us += look_us
            correction_us = steering.correction_us(base_us)
            assert base_us + correction_us >= last_us
            assert min(before_us, target_us) <= correction_us <= max(before_us, target_us)
            last_us = base_us + correction_us


def test_a_step_forward_is_immediate() -> None:
    """A large difference forward is corrected at once."""
    steering = Steering()
    steering.steer(20 * SECOND_US, 5, step=True)
    assert steering.correction_us(5) == 20 * SECOND_US


def test_a_step_back_runs_at_half_speed() -> None:
    """Twenty seconds back take forty."""
    steering = Steering()
    steering.steer(-20 * SECOND_US, 0, step=True)
    assert steering.correction_us(10 * SECOND_US) == -5 * SECOND_US
    assert steering.correction_us(40 * SECOND_US) == steering.correction_us(90 * SECOND_US) == -20 * SECOND_US


def test_a_small_difference_is_corrected_gently() -> None:
    """A twentieth faster, never a jump."""
    steering = Steering()
    steering.steer(SECOND_US, 0, step=False)
    assert steering.correction_us(0) == 0
    assert steering.correction_us(10 * SECOND_US) == SECOND_US // 2


def test_the_beginning_may_be_anywhere() -> None:
    """Before market time is used, it may be set back."""
    steering = Steering()
    steering.begin(-3600 * SECOND_US, 7)
    assert steering.correction_us(7) == -3600 * SECOND_US
