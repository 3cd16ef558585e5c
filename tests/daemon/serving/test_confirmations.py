"""Tests of the evidence that closes were forecast, stored and confirmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.serving.confirmations import Confirmations, ForecastStep
from features.market import Instrument

BTC, ETH = Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT")
ALLOWED_S = 10.0


def complete(confirmations: Confirmations, instrument: Instrument, close_us: int) -> None:
    for step in ForecastStep:
        confirmations.done(instrument, close_us, step)


@pytest.mark.parametrize("missing", list(ForecastStep))
def test_each_step_is_needed(missing: ForecastStep) -> None:
    """A forecast that is not stored, or that no broker confirmed, is no evidence; the reason names the step."""
    confirmations = Confirmations()
    confirmations.closed(BTC, 100, 0.0)
    for step in ForecastStep:
        if step is not missing:
            confirmations.done(BTC, 100, step)
    assert not confirmations.any_complete
    assert confirmations.overdue(9.9, ALLOWED_S) == {}
    assert confirmations.overdue(10.0, ALLOWED_S) == {BTC: f"the forecast of the last close is not {missing}"}
    confirmations.done(BTC, 100, missing)
    assert confirmations.any_complete
    assert confirmations.overdue(1e9, ALLOWED_S) == {}


def test_readiness_ends_with_the_first_close_that_is_not_confirmed() -> None:
    """It does not stick to what was once confirmed."""
    confirmations = Confirmations()
    confirmations.closed(BTC, 100, 0.0)
    complete(confirmations, BTC, 100)
    confirmations.closed(BTC, 200, 60.0)
    assert confirmations.overdue(65.0, ALLOWED_S) == {}
    confirmations.closed(BTC, 300, 120.0)
    assert set(confirmations.overdue(121.0, ALLOWED_S)) == {BTC}
    complete(confirmations, BTC, 300)
    assert confirmations.overdue(1e9, ALLOWED_S) == {}


def test_one_instrument_does_not_hide_another() -> None:
    """The one that is confirmed says nothing of the other."""
    confirmations = Confirmations()
    for instrument in (BTC, ETH):
        confirmations.closed(instrument, 100, 0.0)
    complete(confirmations, BTC, 100)
    assert set(confirmations.overdue(60.0, ALLOWED_S)) == {ETH}
    confirmations.forget(ETH)
    assert confirmations.overdue(60.0, ALLOWED_S) == {}


def test_a_close_of_the_past_is_not_due_again() -> None:
    """A restart publishes old forecasts again, a revision closes nothing."""
    confirmations = Confirmations()
    confirmations.closed(BTC, 200, 0.0)
    complete(confirmations, BTC, 200)
    confirmations.closed(BTC, 200, 50.0)
    confirmations.closed(BTC, 100, 50.0)
    complete(confirmations, ETH, 100)
    assert confirmations.overdue(1e9, ALLOWED_S) == {}


@given(st.lists(st.sampled_from([*ForecastStep, None]), max_size=2_000))
def test_memory_is_bounded_and_the_oldest_wait_is_kept(steps: list[ForecastStep | None]) -> None:
    """Whatever happens, the wait never looks shorter than it is."""
    confirmations = Confirmations()
    close_us, oldest_s = 0, None
    for now_s, step in enumerate(steps):
        if step is None:
            close_us += 1
            confirmations.closed(BTC, close_us, float(now_s))
            oldest_s = float(now_s) if oldest_s is None else oldest_s
        elif close_us:
            confirmations.done(BTC, close_us, step)
            if not confirmations.overdue(1e9, ALLOWED_S):
                oldest_s = None
    expected = {BTC} if oldest_s is not None else set()
    assert set(confirmations.overdue((oldest_s or 0.0) + ALLOWED_S, ALLOWED_S)) == expected
    assert len(confirmations._open.get(BTC, ())) <= 256
