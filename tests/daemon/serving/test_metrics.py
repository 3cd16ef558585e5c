"""Metrics: names, labels and series that exist before their first event."""

from __future__ import annotations

import math
import re
import subprocess

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase

from daemon.clock import ManualClock
from daemon.forecasting.records import Skill
from daemon.serving.metrics import Metrics
from features.market import Instrument
from models.forecast import ModelInfo
from tests.paths import ROOT
from tests.programs import program

BITCOIN = Instrument("binance", "BTC-USDT")
ETHER = Instrument("binance", "ETH-USDT")

SUFFIXES = {"counter": "_total", "info": "_info"}

CONTRACT = """
trades_total trades_duplicate_total frames_malformed_total feed_connected feed_reconnects_total
feed_last_trade_timestamp_seconds feed_delay_seconds clock_skew_seconds trade_gaps_total trade_gaps_repaired_total
trades_missing bars_total bar_last_close_timestamp_seconds bar_revisions_total bar_audits_total forecasts_total
forecast_last_timestamp_seconds bar_to_publish_seconds bar_to_publish_last_seconds inference_seconds mqtt_connected
mqtt_published_total mqtt_outbox_depth mqtt_expired_total model_info model_trained_until_timestamp_seconds
model_loaded_timestamp_seconds retrain_running retrain_progress_ratio retrain_runs_total
retrain_last_success_timestamp_seconds retrain_duration_seconds skill_pinball_ratio skill_rmse_ratio
skill_coverage_ratio gpu_utilization_ratio gpu_memory_used_bytes gpu_memory_total_bytes gpu_temperature_celsius
gpu_power_watts gpu_info gpu_last_collect_timestamp_seconds queue_depth queue_capacity clock_timestamp_seconds
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_767_618_000_000_000)


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    made = Metrics(version="0.1.0", market_us=clock.market_us)
    made.prepare([BITCOIN, ETHER], horizons=(1, 24), baselines=("random_walk", "har"), skill_window="30d")
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"forecastd_{name}", labels)


def exposed_names(metrics: Metrics) -> set[str]:
    text = generate_latest(metrics.registry).decode()
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


@pytest.mark.parametrize("name", CONTRACT.split())
def test_every_metric_of_the_contract_is_exposed(metrics: Metrics, name: str) -> None:
    """Dashboards and alerts of users are written against these names."""
    assert f"forecastd_{name}" in exposed_names(metrics)


def test_counters_start_at_zero_for_every_configured_instrument(metrics: Metrics) -> None:
    """increase() sees the first event only when the series existed before it."""
    for instrument in (BITCOIN, ETHER):
        labels = {"venue": instrument.venue, "symbol": instrument.symbol}
        assert value(metrics, "trades_total", **labels) == 0
        assert value(metrics, "bars_total", **labels, completeness="gap") == 0
        assert value(metrics, "forecasts_total", **labels, source="baseline") == 0


def test_a_gauge_without_a_value_is_not_a_number_rather_than_zero(metrics: Metrics) -> None:
    """A last trade at 0 would be a trade in 1970."""
    labels = {"venue": "binance", "symbol": "BTC-USDT"}
    unknown = [
        value(metrics, "feed_last_trade_timestamp_seconds", **labels),
        value(metrics, "bar_to_publish_last_seconds", **labels, stage="publish"),
        value(metrics, "skill_pinball_ratio", **labels, horizon="24", baseline="har", window="30d"),
        value(metrics, "model_trained_until_timestamp_seconds"),
    ]
    assert [each is not None and math.isnan(each) for each in unknown] == [True] * 4


def test_the_clock_is_market_time(metrics: Metrics, clock: ManualClock) -> None:
    """Ages are differences to this clock, which the demo runs faster than the wall."""
    clock.set(1_767_621_600_000_000)
    assert value(metrics, "clock_timestamp_seconds") == 1_767_621_600


def test_skill_is_shown_beside_both_baselines_with_its_standard_error(metrics: Metrics) -> None:
    """No figure about skill stands alone."""
    skill = Skill(
        window="30d",
        scored=718,
        pinball_vs_har=0.981,
        pinball_vs_har_se=0.012,
        pinball_vs_random_walk=0.95,
        pinball_vs_random_walk_se=0.02,
        rmse_vs_random_walk=0.999,
        coverage_80=0.797,
    )
    metrics.skill_scored(BITCOIN, skill, horizon=1)
    labels = {"venue": "binance", "symbol": "BTC-USDT", "horizon": "1", "window": "30d"}
    assert value(metrics, "skill_pinball_ratio", **labels, baseline="har") == 0.981
    assert value(metrics, "skill_pinball_ratio_standard_error", **labels, baseline="har") == 0.012
    assert value(metrics, "skill_pinball_ratio", **labels, baseline="random_walk") == 0.95
    assert value(metrics, "skill_rmse_ratio", **labels, baseline="random_walk") == 0.999
    assert value(metrics, "skill_coverage_ratio", **labels, level="0.8") == 0.797
    assert value(metrics, "skill_scored_forecasts", **labels) == 718
    missing = value(metrics, "skill_coverage_ratio", **labels, level="0.95")
    assert missing is not None
    assert math.isnan(missing)


def test_calibration_is_shown_before_and_after(metrics: Metrics) -> None:
    """CRPS in log return, the base unit; widths by the interval's coverage."""
    skill = Skill(
        window="30d",
        scored=718,
        crps_bp=31.5,
        raw_crps_bp=32.0,
        crps_vs_raw=0.984,
        crps_vs_raw_se=0.004,
        coverage_80=0.797,
        raw_coverage_80=0.71,
    )
    metrics.skill_scored(BITCOIN, skill, horizon=1)
    metrics.calibrated(BITCOIN, {0.8: 1.2, 0.95: 1.25}, horizon=1)
    of_horizon = {"venue": "binance", "symbol": "BTC-USDT", "horizon": "1"}
    labels = of_horizon | {"window": "30d"}
    assert value(metrics, "skill_crps", **labels) == pytest.approx(31.5e-4)
    assert value(metrics, "skill_raw_crps", **labels) == pytest.approx(32e-4)
    assert value(metrics, "skill_crps_over_raw_ratio", **labels) == 0.984
    assert value(metrics, "skill_crps_over_raw_ratio_standard_error", **labels) == 0.004
    assert value(metrics, "skill_raw_coverage_ratio", **labels, level="0.8") == 0.71
    assert value(metrics, "calibration_width_ratio", **of_horizon, level="0.95") == 1.25
    assert math.isnan(value(metrics, "skill_raw_coverage_ratio", **labels, level="0.95") or 0.0)


def test_a_loaded_model_replaces_the_earlier_one(metrics: Metrics) -> None:
    """Two models never serve at once."""
    assert value(metrics, "model_info", id="", kind="none") == 1
    metrics.model_loaded(ModelInfo("har-1", "har", None), at_us=1_000_000)
    metrics.model_loaded(ModelInfo("01J", "attention_lstm", 5_000_000), at_us=9_000_000)
    assert value(metrics, "model_info", id="har-1", kind="har") is None
    assert value(metrics, "model_info", id="01J", kind="attention_lstm") == 1
    assert value(metrics, "model_trained_until_timestamp_seconds") == 5
    assert value(metrics, "model_loaded_timestamp_seconds") == 9


def test_a_queue_is_read_when_it_is_scraped(metrics: Metrics) -> None:
    """The depth is the queue's own, not a copy."""
    waiting: list[int] = []
    metrics.watch_queue("outbox", lambda: len(waiting), capacity=64)
    waiting.extend([1, 2, 3])
    assert value(metrics, "queue_depth", queue="outbox") == 3
    assert value(metrics, "queue_capacity", queue="outbox") == 64


def test_a_symbol_that_is_no_longer_configured_leaves_no_series(metrics: Metrics) -> None:
    """A removed symbol must not look like a stale feed."""
    metrics.forget(ETHER)
    text = generate_latest(metrics.registry).decode()
    assert "ETH-USDT" not in text
    assert "BTC-USDT" in text


def test_two_daemons_in_one_process_share_nothing(clock: ManualClock) -> None:
    """The registry is the instance's own."""
    first = Metrics(version="0.1.0", market_us=clock.market_us)
    second = Metrics(version="0.1.0", market_us=clock.market_us)
    first.mqtt_published.inc()
    assert value(second, "mqtt_published_total") == 0


def test_process_figures_and_the_version_are_exposed(metrics: Metrics) -> None:
    """Memory, open files and the build help to diagnose a daemon."""
    names = exposed_names(metrics)
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info", "forecastd_build_info"} <= names


def test_the_documentation_lists_every_metric_with_its_labels(metrics: Metrics) -> None:
    """docs/metrics.md and the code list the same metrics."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = dict(re.findall(r"^\| `forecastd_(\w+?)(?:\{([\w, ]*)\})?` \|", page, flags=re.MULTILINE))
    defined = {
        attribute._name.removeprefix("forecastd_") + SUFFIXES.get(attribute._type or "", ""): ", ".join(
            attribute._labelnames
        )
        for attribute in vars(metrics).values()
        if isinstance(attribute, MetricWrapperBase)
    }
    defined["model_info"] = "id, kind"
    own = {"clock_timestamp_seconds": "", "build_info": "version"}
    assert documented == defined | own


def test_promtool_accepts_the_exposition(metrics: Metrics) -> None:
    """Prometheus' own linter finds nothing to say."""
    metrics.skill_scored(BITCOIN, Skill(window="30d", scored=3), horizon=1)
    exposition = generate_latest(metrics.registry)
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=exposition, capture_output=True, timeout=20
    )
    assert (checked.returncode, checked.stderr.decode()) == (0, "")
