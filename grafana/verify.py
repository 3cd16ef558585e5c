"""Runs every query of every panel against a running forecastd, through a real Prometheus.

``python -m grafana.verify --metrics-url http://127.0.0.1:9464/metrics`` checks a running daemon;
``python -m grafana.verify --demo`` starts the demo first, with a simulated GPU, and waits until forecasts of a trained
model are scored. A query passes once it has returned a number; queries that never do are printed, with exit code 1.
"""

# ruff: noqa: T201  # a command that prints its result

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

REPOSITORY = Path(__file__).parents[1]
DASHBOARD = Path(__file__).parent / "dashboards" / "forecastd.json"
FAKE_NVML = REPOSITORY / "tests" / "fakes" / "nvml"

SCRAPE_INTERVAL_S = 1
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 60.0
PAUSE_S = 2.0

# Values that Grafana would substitute for its own variables; a rate needs four scrapes.
BUILT_IN_VARIABLES = {"__rate_interval": "10s", "__interval": "5s", "__range": "1h"}

# At 1200 an hour lasts three seconds, so a ratio's 24 scored forecasts exist within two minutes after the training, and
# a busy machine still forecasts an hour before the next one ends.
DEMO_SPEED = 1200

# --demo waits until these hold, so that the skill panels show a model's scores; HAR's ratio to itself is exactly 1.
_RATIO = 'forecastd_skill_pinball_ratio{baseline="har", horizon="1"}'
DEMO_CONDITIONS = {
    "a model has forecast": 'forecastd_forecasts_total{source="model"} > 0',
    "forecasts are scored": "forecastd_skill_scored_forecasts > 0",
    "a model's loss is compared with HAR's": f"{_RATIO} < 1 or {_RATIO} > 1",
}


class VerifyError(Exception):
    """The check could not run."""


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of a panel, its variables substituted."""

    panel: str
    expression: str


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every query returned data within the time limit."""
    parser = argparse.ArgumentParser(prog="python -m grafana.verify", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--metrics-url", help="address of /metrics of a running forecastd")
    source.add_argument("--demo", action="store_true", help="start the demo and check it")
    parser.add_argument("--limit", type=float, default=600.0, metavar="SECONDS", help="time limit (default 600)")
    options = parser.parse_args(arguments)
    try:
        if options.demo:
            with running_demo() as address:
                return report(address + "/metrics", limit_s=options.limit, conditions=DEMO_CONDITIONS)
        return report(options.metrics_url, limit_s=options.limit, conditions={})
    except VerifyError as error:
        print(f"grafana.verify: {error}", file=sys.stderr)
        return 1


def report(metrics_url: str, *, limit_s: float, conditions: dict[str, str]) -> int:
    """Runs all queries and prints the result; exit code 1 if any returned no number."""
    queries = panel_queries(json.loads(DASHBOARD.read_text()))
    queries += [PanelQuery(f"condition: {name}", expression) for name, expression in conditions.items()]
    failures = queries_without_data(metrics_url, queries, limit_s=limit_s)
    for query, reason in failures.items():
        print(f"{query.panel}: {reason}: {query.expression}", file=sys.stderr)
    print(f"{len(queries) - len(failures)} of {len(queries)} dashboard queries returned data")
    return 1 if failures else 0


def panel_queries(dashboard: dict[str, Any]) -> list[PanelQuery]:
    """All queries of all panels, including collapsed rows, with each variable set to match everything."""
    values = dict(BUILT_IN_VARIABLES)
    for variable in dashboard["templating"]["list"]:
        values[variable["name"]] = variable.get("allValue") or ".+"
    panels = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", ()))]
    return [
        PanelQuery(panel["title"], substitute(target["expr"], values))
        for panel in panels
        for target in panel.get("targets", ())
    ]


def substitute(expression: str, values: dict[str, str]) -> str:
    """Replaces ``$name`` and ``${name}``, longest names first, because one name may be the prefix of another."""
    for name in sorted(values, key=len, reverse=True):
        expression = expression.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    return expression


def queries_without_data(metrics_url: str, queries: list[PanelQuery], *, limit_s: float) -> dict[PanelQuery, str]:
    """Queries that returned no number within ``limit_s`` seconds of scraping, each with the reason."""
    with running_prometheus(metrics_url) as port:
        failing = dict.fromkeys(queries, "never run")
        deadline_s = time.monotonic() + limit_s
        while failing and time.monotonic() < deadline_s:
            time.sleep(PAUSE_S)
            outcomes = {query: problem(port, query.expression) for query in failing}
            failing = {query: reason for query, reason in outcomes.items() if reason is not None}
        return failing


def problem(port: int, expression: str) -> str | None:
    """Why the query returns no number: an error, no answer, no series, or only NaN; None if it returns one."""
    try:
        answer = get_json(port, "/api/v1/query?" + urlencode({"query": expression}))
    except OSError as error:
        return f"prometheus did not answer: {error}"
    if answer["status"] != "success":
        return str(answer["error"])
    values = [float(series["value"][1]) for series in answer["data"]["result"]]
    if not values:
        return "no data"
    return None if any(not math.isnan(value) for value in values) else "only NaN"


def get_json(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer


@contextlib.contextmanager
def running_prometheus(metrics_url: str) -> Iterator[int]:
    """Runs a Prometheus that scrapes ``metrics_url`` every second into a temporary folder; yields its port."""
    program = shutil.which("prometheus")
    if program is None:
        raise VerifyError("prometheus is missing: apt install prometheus")
    address = urlsplit(metrics_url)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="forecastd-prometheus-") as folder:
        configuration = Path(folder) / "prometheus.json"  # JSON is YAML
        configuration.write_text(json.dumps(scrape_configuration(address.netloc, address.path or "/metrics")))
        command = [
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        with stopping(subprocess.Popen(command)) as process:
            wait_for_prometheus(process, port)
            yield port


def scrape_configuration(target: str, path: str) -> dict[str, Any]:
    job = {
        "job_name": "forecastd",
        "metrics_path": path,
        "static_configs": [{"targets": [target]}],
    }
    return {"global": {"scrape_interval": f"{SCRAPE_INTERVAL_S}s"}, "scrape_configs": [job]}


def wait_for_prometheus(process: subprocess.Popen[Any], port: int) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise VerifyError(f"prometheus ended with exit code {process.returncode}")
        with contextlib.suppress(OSError, json.JSONDecodeError, http.client.HTTPException):
            if get_json(port, "/api/v1/query?query=1")["status"] == "success":
                return
        time.sleep(0.1)
    raise VerifyError(f"prometheus did not answer within {START_TIMEOUT_S:.0f} s")


def free_port() -> int:
    """A free port, chosen here because Prometheus does not report the port it binds for port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_demo() -> Iterator[str]:
    """Runs the demo with a simulated GPU; yields its HTTP address from the ``demo_started`` line."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "FAKE_NVML": "present"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FAKE_NVML), os.environ.get("PYTHONPATH")]))
    options = ["--headless", "--http-port", "0", "--mqtt-port", "0", "--speed", str(DEMO_SPEED)]
    command = [sys.executable, "-m", "daemon", "demo", *options]
    with tempfile.TemporaryDirectory(prefix="forecastd-control-") as runtime:
        environment["RUNTIME_DIRECTORY"] = runtime  # a separate control socket: another demo may be running
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with stopping(process):
            yield started_address(process)


def started_address(process: subprocess.Popen[str]) -> str:
    """The address in the line ``{"event": "demo_started", "http": ...}``; a thread reads the output to its end."""
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=follow_output, args=(process, found), daemon=True).start()
    try:
        address = found.get(timeout=START_TIMEOUT_S)
    except queue.Empty:
        raise VerifyError(f"the demo did not log demo_started within {START_TIMEOUT_S:.0f} s") from None
    if address is None:
        raise VerifyError(f"the demo ended with exit code {process.wait(STOP_TIMEOUT_S)} before it started")
    return address


def follow_output(process: subprocess.Popen[str], found: queue.SimpleQueue[str | None]) -> None:
    """Copies the demo's output to stderr, so that the pipe never fills and errors are visible."""
    assert process.stdout is not None
    for line in process.stdout:
        sys.stderr.write(line)
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict) and record.get("event") == "demo_started":
                found.put(record["http"])
    found.put(None)


@contextlib.contextmanager
def stopping(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """Interrupts the process with SIGINT at the end of the block; kills it if it does not end in time."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
