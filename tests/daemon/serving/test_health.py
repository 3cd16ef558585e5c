"""Tests of health: when the daemon is ready, degraded or online, and the reasons."""

from __future__ import annotations

import pytest

from daemon.clock import ManualClock
from daemon.serving.confirmations import ForecastStep
from daemon.serving.health import Health, HealthCondition, ServiceState
from daemon.serving.progress import ComponentState, Judgement
from features.market import Instrument

BITCOIN = Instrument("binance", "BTC-USDT")
ETHER = Instrument("binance", "ETH-USDT")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000_000_000)


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health(clock, [BITCOIN, ETHER])


def all_components_up(health: Health) -> None:
    for part in ("store", "control socket", "http"):
        health.component_up(part)


def confirm(health: Health, instrument: Instrument, close_us: int) -> None:
    """A bar closes, and its forecast is made, stored and confirmed."""
    health.bar_closed(instrument, close_us)
    for step in ForecastStep:
        health.forecast_done(instrument, close_us, step)


def online(health: Health) -> None:
    """Everything is up, and the last close of each symbol is confirmed."""
    all_components_up(health)
    for instrument in (BITCOIN, ETHER):
        health.symbol_warm(instrument)
        confirm(health, instrument, 1)
    health.ready_reported()
    assert (health.condition.state, health.readiness_problems()) == (ServiceState.ONLINE, [])


def judged(component: str, state: ComponentState) -> Judgement:
    return Judgement(component=component, state=state, reason="a round makes no progress for 30 s", waiting_s=31.0)


def test_ready_waits_for_every_symbol(health: Health) -> None:
    """READY with a cold buffer would promise forecasts that cannot come."""
    all_components_up(health)
    health.symbol_warm(BITCOIN)
    assert not health.may_report_ready()
    health.symbol_warm(ETHER)
    assert health.may_report_ready()


def test_a_live_symbol_is_warm_once_the_history_is_loaded(health: Health) -> None:
    """Trades that come in before that fill no feature buffer, also after the venue was away for a while."""
    all_components_up(health)
    health.symbol_live(BITCOIN)
    health.symbol_unreachable(ETHER, "the stream is silent")
    health.symbol_live(ETHER)
    assert not health.may_report_ready()
    assert [problem for problem in health.readiness_problems() if "warming up" in problem] == [
        "binance:BTC-USDT warming up",
        "binance:ETH-USDT warming up",
    ]
    health.history_loaded()
    assert health.may_report_ready()
    health.symbol_unreachable(ETHER, "the stream is silent")
    health.symbol_live(ETHER)
    assert health.may_report_ready()


def test_a_shard_without_symbols_is_ready(clock: ManualClock) -> None:
    """No forecast is due, so none is missing; a component that is down is still named."""
    health = Health(clock, [])
    assert health.readiness_problems() == ["store is not up", "control socket is not up", "http is not up"]
    all_components_up(health)
    assert health.may_report_ready()
    assert health.readiness_problems() == []
    health.observe([judged("store", ComponentState.UNHEALTHY)])
    assert health.readiness_problems() != []


def test_an_unreachable_venue_does_not_block_the_boot(health: Health) -> None:
    """An unreachable instrument no longer delays READY, and the state names it."""
    all_components_up(health)
    health.symbol_warm(BITCOIN)
    health.symbol_unreachable(ETHER, "HTTP 503")
    assert health.may_report_ready()
    health.ready_reported()
    assert health.condition.state is ServiceState.DEGRADED
    assert health.condition.reason == "binance:ETH-USDT unreachable: HTTP 503"


def test_the_ready_timeout_is_ninety_seconds(health: Health, clock: ManualClock) -> None:
    """A longer backfill continues after READY."""
    all_components_up(health)
    clock.set(clock.now_us + 89_000_000)
    assert not health.may_report_ready()
    clock.set(clock.now_us + 1_000_000)
    assert health.may_report_ready()
    health.ready_reported()
    assert health.condition.state is ServiceState.DEGRADED
    assert "binance:BTC-USDT warming up" in health.condition.reason


@pytest.mark.parametrize("missing", ["store", "control socket", "http"])
def test_the_ready_timeout_does_not_replace_the_daemons_own_components(
    health: Health, clock: ManualClock, missing: str
) -> None:
    """Without its store, socket or HTTP the daemon is not up, however long it waits."""
    all_components_up(health)
    health.component_up(missing, up=False)
    clock.set(clock.now_us + 1_000_000_000)
    assert not health.may_report_ready()


def test_readiness_needs_a_forecast(health: Health) -> None:
    """/readyz means forecasting, not waiting for the first bar."""
    all_components_up(health)
    health.symbol_warm(BITCOIN)
    health.symbol_warm(ETHER)
    assert health.readiness_problems() == ["no forecast yet"]
    confirm(health, BITCOIN, 1)
    assert health.readiness_problems() == []


def test_a_fault_degrades_until_it_is_cleared(health: Health, clock: ManualClock) -> None:
    """A broker outage is visible for exactly as long as it lasts."""
    all_components_up(health)
    health.symbol_warm(BITCOIN)
    health.symbol_warm(ETHER)
    health.ready_reported()
    assert health.condition == HealthCondition(ServiceState.ONLINE, "", 1_000_000_000)
    clock.set(2_000_000_000)
    health.fault("mqtt", "broker unreachable")
    assert health.condition == HealthCondition(ServiceState.DEGRADED, "mqtt: broker unreachable", 2_000_000_000)
    clock.set(3_000_000_000)
    health.clear_fault("mqtt")
    assert health.condition == HealthCondition(ServiceState.ONLINE, "", 3_000_000_000)


def test_another_reason_keeps_the_time_since_when_it_is_degraded(clock: ManualClock) -> None:
    """`since` belongs to the state, not to the wording of its reason."""
    health = Health(clock, [])
    all_components_up(health)
    health.ready_reported()
    health.fault("mqtt", "broker unreachable")
    since_us = health.condition.since_us
    clock.set(clock.now_us + 60_000_000)
    health.fault("model", "feature hash does not fit")
    assert health.condition.since_us == since_us


def test_changes_are_announced_once(clock: ManualClock) -> None:
    """The MQTT status topic is published per change, not per report."""
    changes: list[HealthCondition] = []
    health = Health(clock, [BITCOIN], on_change=changes.append)
    all_components_up(health)
    health.symbol_warm(BITCOIN)
    health.ready_reported()
    health.symbol_warm(BITCOIN)
    confirm(health, BITCOIN, 1)
    assert [condition.state for condition in changes].count(ServiceState.ONLINE) == 1
    assert changes[-1].reason == ""


def test_an_unknown_component_is_refused(health: Health) -> None:
    """A misspelt component would hold READY back for ever."""
    with pytest.raises(ValueError, match="component was 'sotre'"):
        health.component_up("sotre")


@pytest.mark.parametrize("missing", list(ForecastStep))
def test_readiness_ends_when_the_last_close_is_not_confirmed(
    health: Health, clock: ManualClock, missing: ForecastStep
) -> None:
    """It is evidence of the last close, not of the first; the state follows."""
    online(health)
    health.bar_closed(ETHER, 2)
    for step in ForecastStep:
        if step is not missing:
            health.forecast_done(ETHER, 2, step)
    clock.set(clock.now_us + 59_000_000)
    assert health.readiness_problems() == []
    clock.set(clock.now_us + 1_000_000)
    problem = f"binance:ETH-USDT: the forecast of the last close is not {missing}"
    assert health.readiness_problems() == [problem]
    health.observe([])
    assert health.condition.state is ServiceState.DEGRADED
    assert health.condition.reason == problem
    health.forecast_done(ETHER, 2, missing)
    health.observe([])
    assert (health.condition.state, health.readiness_problems()) == (ServiceState.ONLINE, [])


def test_a_symbol_that_is_not_live_needs_no_forecast(health: Health, clock: ManualClock) -> None:
    """A venue that is out is named as such and does not take readiness from the other symbols."""
    online(health)
    health.bar_closed(ETHER, 2)
    health.symbol_unreachable(ETHER, "HTTP 503")
    clock.set(clock.now_us + 3_600_000_000)
    assert health.readiness_problems() == []
    health.symbol_unreachable(BITCOIN, "HTTP 503")
    assert health.readiness_problems() == ["no symbol is live"]


def test_an_idle_hour_changes_nothing(health: Health, clock: ManualClock) -> None:
    """Between two closes there is nothing to confirm."""
    online(health)
    clock.set(clock.now_us + 100 * 3_600_000_000)
    health.observe([Judgement(component="store", state=ComponentState.HEALTHY)])
    assert (health.condition.state, health.readiness_problems()) == (ServiceState.ONLINE, [])
    assert health.fatal_reason() is None


@pytest.mark.parametrize("component", ["bars", "features", "rounds", "store", "publisher"])
def test_a_stalled_component_is_named_everywhere(health: Health, component: str) -> None:
    """Degraded and not ready first, then to be restarted; progress ends both."""
    online(health)
    line = f"{component}: a round makes no progress for 30 s"
    health.observe([judged(component, ComponentState.DEGRADED)])
    assert (health.condition.state, health.condition.reason) == (ServiceState.DEGRADED, line)
    assert health.readiness_problems() == [line]
    assert health.fatal_reason() is None
    health.observe([judged(component, ComponentState.UNHEALTHY)])
    assert health.fatal_reason() == line
    health.observe([Judgement(component=component, state=ComponentState.HEALTHY)])
    assert health.fatal_reason() is None
    assert (health.condition.state, health.readiness_problems()) == (ServiceState.ONLINE, [])


def test_a_stalled_training_takes_no_readiness(health: Health) -> None:
    """The daemon forecasts meanwhile; the state names it."""
    online(health)
    health.observe([judged("retraining", ComponentState.DEGRADED), judged("inference", ComponentState.DEGRADED)])
    assert health.condition.state is ServiceState.DEGRADED
    assert health.readiness_problems() == []
