"""The Grafana dashboard: generated files, existing metrics, rules for queries, and a real Prometheus."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.clock import SystemClock
from daemon.config.types import listen_address
from daemon.forecasting.records import Skill
from daemon.serving.gpu import GpuCollector
from daemon.serving.health import Health
from daemon.serving.http import HttpServer
from daemon.serving.metrics import STAGES, Metrics
from daemon.serving.status import StatusDocument
from features.market import Instrument
from grafana import build, verify
from grafana.rows import ROWS
from models.forecast import ModelInfo
from tests.programs import program

BITCOIN = Instrument("binance", "BTC-USDT")
PROVISIONING = build.FOLDER / "provisioning"

PANELS = [panel for row in ROWS for panel in row.panels]
EXPRESSIONS = [(panel.title, query.expression) for panel in PANELS for query in panel.queries]


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(version="0.1.0", market_us=SystemClock().market_us)
    made.prepare([BITCOIN], horizons=(1, 24), baselines=("random_walk", "har"), skill_window="30d")
    return made


def kinds(metrics: Metrics) -> dict[str, str]:
    """Type of metric by the name of each series that Prometheus stores."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "info": ["_info"]}
    families = [*metrics.registry.collect()]
    return {family.name + suffix: family.type for family in families for suffix in suffixes.get(family.type, [""])}


def metric_names(expression: str) -> set[str]:
    """Names of the metrics in a PromQL expression."""
    return set(re.findall(r"\b((?:forecastd|process)_\w+)", expression))


def test_the_committed_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """Run `python -m grafana.build` after changing a panel."""
    assert (build.main(["--check"]), capsys.readouterr().err) == (0, "")


def test_a_changed_file_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check compares the content, writes no file and names the one that differs."""
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    assert build.main([]) == 0
    dashboard = tmp_path / "dashboards" / "forecastd.json"
    dashboard.write_text(dashboard.read_text().replace("Feed delay", "Feed delays"))
    assert build.main(["--check"]) == 1
    assert f"{dashboard} differs from the generated file" in capsys.readouterr().err
    assert "Feed delays" in dashboard.read_text()


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_every_metric_in_a_query_exists(metrics: Metrics, title: str, expression: str) -> None:
    """A renamed metric cannot leave a panel without data."""
    assert metric_names(expression), title
    assert metric_names(expression) <= set(kinds(metrics)), title


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_only_counters_are_queried_by_rate_or_increase(metrics: Metrics, title: str, expression: str) -> None:
    """rate() of a gauge is meaningless, and a bare counter mostly shows the daemon's uptime."""
    counted = {name for name, kind in kinds(metrics).items() if kind in {"counter", "histogram"}}
    inside = set(re.findall(r"(?:rate|increase)\((\w+)\{", expression))
    assert inside == metric_names(expression) & counted, title


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_every_query_filters_by_the_selected_instances(title: str, expression: str) -> None:
    """Two daemons in one Prometheus must not be mixed."""
    selectors = re.findall(r"\b(?:forecastd|process)_\w+(\{[^}]*\})?", expression)
    assert all('instance=~"$instance"' in selector for selector in selectors), title


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_per_bar_metrics_are_not_rated_over_minutes(title: str, expression: str) -> None:
    """For an hourly event a rate over $__rate_interval is empty in most minutes of the hour."""
    if "$__rate_interval" in expression:
        assert metric_names(expression) <= {"forecastd_trades_total", "process_cpu_seconds_total"}, title


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_panel_is_described(panel: Any) -> None:
    """Each panel has a title, description and unit, and each query a legend."""
    assert panel.title
    assert len(panel.description) > 20
    assert panel.description.endswith(".")
    assert panel.unit
    assert panel.queries
    assert all(query.legend for query in panel.queries)


def test_titles_are_unique() -> None:
    """grafana.verify names a failing query by its panel's title."""
    titles = [panel.title for panel in PANELS]
    assert len(set(titles)) == len(titles)


def test_panels_do_not_overlap() -> None:
    """Grafana would move overlapping panels and mark the dashboard as changed."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(build.dashboard_json())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_dashboard_is_templated_and_read_only() -> None:
    """Data source, instances, symbols and horizons are variables, and the dashboard is not editable."""
    dashboard = json.loads(build.dashboard_json())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "instance", "symbol", "horizon"]
    assert variables["datasource"]["type"] == "datasource"
    assert all(variables[name]["allValue"] == ".+" for name in ("instance", "symbol", "horizon"))
    assert dashboard["editable"] is False
    assert dashboard["uid"] == build.DASHBOARD_UID
    sources = {panel["datasource"]["uid"] for panel in dashboard["panels"] if "targets" in panel}
    assert sources == {"${datasource}"}


def test_provisioning_is_yaml_with_stable_ids() -> None:
    """Links to dashboards and data sources survive a reinstallation."""
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())
    providers = yaml.safe_load((PROVISIONING / "dashboards" / "forecastd.yaml").read_text())
    assert sources["datasources"][0]["uid"] == build.DATASOURCE_UID
    assert providers["providers"][0]["allowUiUpdates"] is False


def test_variables_are_substituted_longest_first() -> None:
    """A shorter name must not replace the prefix of a longer one."""
    values = {"a": "1", "ab": "2", "__range": "1h"}
    assert verify.substitute('x{i=~"$ab", j=~"${a}"}[$__range] + $a', values) == 'x{i=~"2", j=~"1"}[1h] + 1'


async def update_metrics(metrics: Metrics) -> None:
    """Updates all metrics several times a second, as a busy daemon would."""
    metrics.model_loaded(ModelInfo("01J", "attention_lstm", 1_000_000), at_us=2_000_000)
    metrics.mqtt_connected.set(1)
    metrics.watch_queue("outbox", lambda: 3, capacity=64)
    metrics.clock_skew.labels("binance").set(0.01)
    skill = Skill(
        window="30d",
        scored=8,
        pinball_vs_har=0.98,
        pinball_vs_har_se=0.01,
        pinball_vs_random_walk=0.97,
        pinball_vs_random_walk_se=0.01,
        rmse_vs_random_walk=1.0,
        rmse_vs_random_walk_se=0.01,
        coverage_80=0.79,
        coverage_95=0.95,
        crps_bp=31.0,
        raw_crps_bp=32.0,
        crps_vs_raw=0.97,
        crps_vs_raw_se=0.01,
        raw_coverage_80=0.7,
        raw_coverage_95=0.9,
    )
    metrics.skill_scored(BITCOIN, skill, horizon=1)
    metrics.calibrated(BITCOIN, {0.8: 1.2, 0.95: 1.3}, horizon=1)
    while True:
        now_s = time.time()
        metrics.trades.labels(*BITCOIN).inc(7)
        metrics.bars.labels(*BITCOIN, "proven").inc()
        for stamp in (
            metrics.feed_last_trade_timestamp.labels(*BITCOIN),
            metrics.bar_last_close_timestamp.labels(*BITCOIN),
            metrics.forecast_last_timestamp.labels(*BITCOIN),
            metrics.retrain_last_success_timestamp,
        ):
            stamp.set(now_s)
        for stage in STAGES:
            metrics.bar_to_publish_last.labels(*BITCOIN, stage).set(0.01)
        for histogram in (metrics.feed_delay, metrics.bar_to_publish, metrics.inference):
            histogram.labels("binance").observe(0.01)
        metrics.retrain_duration.set(40)
        await asyncio.sleep(0.2)


@pytest.fixture
async def busy_daemon(metrics: Metrics) -> AsyncIterator[str]:
    """/metrics of a busy daemon with the simulated GPU, over a real socket; yields the address."""
    spec = importlib.util.spec_from_file_location("pynvml_fake", verify.FAKE_NVML / "pynvml.py")
    assert spec is not None
    assert spec.loader is not None
    nvml = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nvml)
    health = Health(SystemClock(), [])
    server = HttpServer(listen_address("127.0.0.1:0"), registry=metrics.registry, status=_no_document, health=health)
    address = await server.start()
    tasks = [
        asyncio.create_task(update_metrics(metrics)),
        asyncio.create_task(GpuCollector(metrics, library=nvml).run()),
    ]
    yield address
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.stop()


def _no_document() -> StatusDocument:
    raise AssertionError("Prometheus requests /metrics only")


@pytest.mark.long
@pytest.mark.slow
async def test_every_query_returns_data_and_invalid_queries_are_reported(busy_daemon: str) -> None:
    """Through a real Prometheus; missing series, NaN and syntax errors have different reasons."""
    program("prometheus")
    queries = verify.panel_queries(json.loads(build.dashboard_json()))
    invalid = {
        "forecastd_no_such_metric": "no data",
        "forecastd_clock_timestamp_seconds * NaN": "only NaN",
        "sum(": "parse error",
    }
    queries += [verify.PanelQuery("invalid", expression) for expression in invalid]
    failures = await asyncio.to_thread(verify.queries_without_data, f"{busy_daemon}/metrics", queries, limit_s=10.0)
    assert {query.expression: reason for query, reason in failures.items() if query.panel != "invalid"} == {}
    for query, reason in failures.items():
        assert invalid.pop(query.expression) in reason
    assert invalid == {}


def start(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_demos_address_is_read_from_its_output() -> None:
    """Other lines, JSON or not, may precede and follow it."""
    process = start(
        "import json; print('hello'); print('[1]'); print(json.dumps({'event': 'x'}));"
        "print(json.dumps({'event': 'demo_started', 'http': 'http://127.0.0.1:1'})); print('bye')"
    )
    with verify.stopping(process):
        assert verify.started_address(process) == "http://127.0.0.1:1"


def test_a_demo_that_ends_before_it_starts_is_an_error() -> None:
    """The error names the exit code instead of a timeout."""
    process = start("raise SystemExit(78)")
    with verify.stopping(process), pytest.raises(verify.VerifyError, match="exit code 78"):
        verify.started_address(process)
