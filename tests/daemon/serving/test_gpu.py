"""Tests of the GPU collector with a fake NVML library, which can hang."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.serving.gpu import GpuCollector
from daemon.serving.metrics import Metrics
from tests.limits import LIMIT_S, SLACK_S
from tests.paths import ROOT

FAKE = ROOT / "tests" / "fakes" / "nvml" / "pynvml.py"
UUID = "GPU-00000000-0000-0000-0000-000000000000"


@pytest.fixture
def nvml() -> ModuleType:
    """A fresh fake library for each test, as if newly imported."""
    spec = importlib.util.spec_from_file_location("pynvml_fake", FAKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="0.1.0", market_us=lambda: 0)


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"forecastd_gpu_{name}", {"uuid": UUID})


async def collect(metrics: Metrics, nvml: Any, *, for_s: float) -> None:
    """Runs a collector for ``for_s`` seconds or until it ends by itself."""
    collector = GpuCollector(metrics, library=nvml, poll_s=0.02, deadline_s=0.05)
    try:
        async with asyncio.timeout(for_s):
            await collector.run()
    except TimeoutError:
        pass


async def test_a_gpu_is_shown_in_base_units(metrics: Metrics, nvml: Any) -> None:
    """Percent becomes a ratio, milliwatts become watts."""
    started_s = time.time()
    await collect(metrics, nvml, for_s=0.2)
    utilization, power = value(metrics, "utilization_ratio"), value(metrics, "power_watts")
    assert utilization is not None
    assert 0.2 <= utilization <= 0.6
    assert power is not None
    assert 80 <= power <= 180
    assert value(metrics, "memory_total_bytes") == 24 * 2**30
    assert (value(metrics, "last_collect_timestamp_seconds") or 0) >= started_s
    labels = {"uuid": UUID, "name": "Imaginary GPU"}
    assert metrics.registry.get_sample_value("forecastd_gpu_info", labels) == 1


async def test_the_driver_is_opened_once_for_many_polls(metrics: Metrics, nvml: Any) -> None:
    """nvmlInit is the call that hangs most often."""
    await collect(metrics, nvml, for_s=0.3)
    assert nvml.init_calls == 1


async def test_without_a_driver_there_are_no_series_and_one_log_line(metrics: Metrics, nvml: Any) -> None:
    """A machine without a GPU is no fault."""
    nvml.behaviour = "absent"
    with capture_logs() as logs:
        await collect(metrics, nvml, for_s=5)
    assert [(line["event"], line["log_level"]) for line in logs] == [("gpu_absent", "info")]
    assert value(metrics, "utilization_ratio") is None


async def test_a_hanging_driver_keeps_the_last_values_and_blocks_nothing(metrics: Metrics, nvml: Any) -> None:
    """The event loop stays responsive, the figures stay, one line logs it, and an answer ends it."""
    nvml.behaviour = "hang"
    collector = asyncio.create_task(GpuCollector(metrics, library=nvml, poll_s=0.02, deadline_s=0.05).run())
    with capture_logs() as logs:
        await eventually(lambda: value(metrics, "utilization_ratio") is not None)
        nvml.hanging.set()
        await eventually(lambda: any(line["event"] == "gpu_not_answering" for line in logs))
        frozen = value(metrics, "last_collect_timestamp_seconds")
        before_s = time.monotonic()
        await asyncio.sleep(0.2)
        assert time.monotonic() - before_s < 1.0 + SLACK_S
        assert value(metrics, "last_collect_timestamp_seconds") == frozen
        nvml.hanging.clear()
        await eventually(lambda: value(metrics, "last_collect_timestamp_seconds") != frozen)
    collector.cancel()
    await asyncio.gather(collector, return_exceptions=True)
    assert [line["event"] for line in logs] == ["gpu_not_answering", "gpu_answering_again"]


async def test_a_lost_gpu_is_logged_once(metrics: Metrics, nvml: Any) -> None:
    """A GPU that fell off the bus fails at every poll."""
    nvml.behaviour = "lost"
    with capture_logs() as logs:
        await collect(metrics, nvml, for_s=0.2)
    assert [line["event"] for line in logs] == ["gpu_read_failed"]


async def test_a_figure_that_the_board_lacks_has_no_series(metrics: Metrics, nvml: Any) -> None:
    """Unknown power is absent, not zero watts."""
    nvml.behaviour = "no_power"
    await collect(metrics, nvml, for_s=0.1)
    assert value(metrics, "power_watts") is None
    assert value(metrics, "temperature_celsius") is not None


def test_the_real_library_has_every_name_that_the_fake_has(nvml: Any) -> None:
    """The fake cannot drift away from nvidia-ml-py."""
    import pynvml

    names = [name for name in vars(nvml) if name.startswith(("nvml", "NVML"))]
    assert len(names) > 15
    assert [name for name in names if not hasattr(pynvml, name)] == []


def test_pythonpath_puts_the_fake_in_the_place_of_the_real_library() -> None:
    """This is how the dashboard's check gives a whole daemon an imaginary GPU."""
    script = "from daemon.serving import gpu; print(gpu.pynvml.nvmlDeviceGetName(0))"
    environment = {**os.environ, "PYTHONPATH": str(FAKE.parent)}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment)
    assert ran.stdout.strip() == "Imaginary GPU"


async def eventually(condition: object, timeout_s: float = LIMIT_S) -> None:
    assert callable(condition)
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
