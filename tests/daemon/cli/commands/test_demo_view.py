"""The demo's views: lines for pipes, a screen for people."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from daemon.cli.commands.demo_view import HeadlessView, LastLines, forecast_line, subscribe_command
from daemon.logs import start_logging
from daemon.publishing import payloads
from models.specification import Progress
from tests.daemon.publishing.samples import issued_forecast


def app(port: int = 4711) -> SimpleNamespace:
    """As much of an app as names its addresses."""
    return SimpleNamespace(
        http_address="http://127.0.0.1:9464",
        mqtt_address=f"mqtt://127.0.0.1:{port}",
        control_path=Path("/run/forecastd/demo/control.sock"),
        config=SimpleNamespace(mqtt=SimpleNamespace(base_topic="forecastd/v1"), instance=SimpleNamespace(name="demo")),
    )


def test_a_forecast_is_one_line() -> None:
    """Close, price, a band for each shown horizon, who made it, and the bar's verdict."""
    line = forecast_line(issued_forecast())
    assert line.startswith("2026-01-05T13:00:00Z BTC-USDT 93250.1 1h 93,250.10 [92,877.84 93,635.41], 24h ")
    assert line.endswith("[model: attention_lstm, bar proven]")


def test_json_lines_are_the_published_payloads(capsys: pytest.CaptureFixture[str]) -> None:
    """What --json prints is byte for byte what the broker got, and nothing else is on standard output."""
    view, payload = HeadlessView(json=True), payloads.forecast(issued_forecast())
    view.started(app(), Path("/state"))  # type: ignore[arg-type]
    view.forecast(issued_forecast())
    view.published(payload)
    assert capsys.readouterr().out == payload.decode() + "\n"


def test_the_start_is_announced_in_one_machine_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts wait for demo_started and read the addresses from it."""
    HeadlessView(json=False).started(app(), Path("/state"))  # type: ignore[arg-type]
    started = json.loads(capsys.readouterr().err)
    assert (started["event"], started["http"]) == ("demo_started", "http://127.0.0.1:9464")
    assert started["subscribe"] == "mosquitto_sub -p 4711 -v -t 'forecastd/v1/demo/#'"


def test_progress_is_printed_in_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets at most eleven lines of a training, however often it reports."""
    view = HeadlessView(json=False)
    for thousandth in range(1001):
        view.progress(Progress(phase="training", ratio=thousandth / 1000, elapsed_s=1.0, epoch=1, epochs=2))
    assert len(capsys.readouterr().err.splitlines()) == 11


def test_the_subscription_names_port_and_topic() -> None:
    """What is printed can be pasted into a shell."""
    assert subscribe_command(app(1883)) == "mosquitto_sub -p 1883 -v -t 'forecastd/v1/demo/#'"  # type: ignore[arg-type]


def test_warnings_are_kept_as_a_person_reads_them() -> None:
    """Below the live table stands the newest log line, not JSON; only the last few are kept."""
    lines = LastLines()
    control = start_logging(level="warning", stream=lines)
    try:
        for number in range(9):
            logging.getLogger("some.part").warning("broker away %d", number)
    finally:
        control.close()
    assert len(lines.lines) == 5
    assert "broker away 8" in lines.lines[-1]
    assert not lines.lines[-1].startswith("{")
