"""Collects GPU figures through NVML in a thread of its own, because a call into the driver can hang for ever.

The gauges keep the values between polls, so a scrape never calls the driver; when it hangs,
``forecastd_gpu_last_collect_timestamp_seconds`` stops advancing and one log line gives the reason.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml
import structlog

from daemon.serving.metrics import Metrics

log = structlog.get_logger(__name__)

POLL_S = 5.0
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one poll; None where the board does not report the figure."""

    uuid: str
    name: str
    utilization_ratio: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: float | None
    power_watts: float | None


class Nvml:
    """The few NVML calls that forecastd needs, over the ``pynvml`` module of nvidia-ml-py. Every call may block."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handles: list[Any] = []

    def open(self) -> int:
        """Loads the driver's library once and returns the number of GPUs."""
        self._library.nvmlInit()
        count: int = self._library.nvmlDeviceGetCount()
        self._handles = [self._library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        return count

    def read(self) -> list[GpuReading]:
        """One reading per GPU that answers. Raises the library's NVMLError when a GPU is lost."""
        return [self._read_one(handle) for handle in self._handles]

    def close(self) -> None:
        self._library.nvmlShutdown()

    def _read_one(self, handle: Any) -> GpuReading:
        nvml = self._library
        utilization = self._supported(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._supported(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = self._supported(nvml.nvmlDeviceGetPowerUsage, handle)
        return GpuReading(
            uuid=nvml.nvmlDeviceGetUUID(handle),
            name=nvml.nvmlDeviceGetName(handle),
            utilization_ratio=None if utilization is None else utilization.gpu / 100,
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            temperature_celsius=self._supported(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            power_watts=None if milliwatts is None else milliwatts / 1000,
        )

    def _supported(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._library.NVMLError_NotSupported:
            return None


class GpuCollector:
    """Polls NVML every ``poll_s`` seconds and sets the GPU gauges; ``run`` returns where there is no GPU."""

    def __init__(
        self, metrics: Metrics, *, library: Any = None, poll_s: float = POLL_S, deadline_s: float = DEADLINE_S
    ) -> None:
        self._library = pynvml if library is None else library
        self._metrics = metrics
        self._poll_s = poll_s
        self._deadline_s = deadline_s
        self._stop = threading.Event()

    async def run(self) -> None:
        """Sets the gauges until cancelled. A thread that hangs in the driver is abandoned: it is a daemon thread."""
        polls: asyncio.Queue[list[GpuReading] | None] = asyncio.Queue(maxsize=1)  # only the newest poll
        loop = asyncio.get_running_loop()

        def deliver(readings: list[GpuReading] | None) -> None:
            if polls.full():
                polls.get_nowait()
            polls.put_nowait(readings)

        def deliver_from_thread(readings: list[GpuReading] | None) -> None:
            if not self._stop.is_set():
                loop.call_soon_threadsafe(deliver, readings)

        threading.Thread(target=self._poll, args=(deliver_from_thread,), name="nvml", daemon=True).start()
        try:
            await self._follow(polls)
        finally:
            self._stop.set()

    async def _follow(self, polls: asyncio.Queue[list[GpuReading] | None]) -> None:
        hanging = False
        while True:
            try:
                async with asyncio.timeout(self._poll_s + self._deadline_s):
                    readings = await polls.get()
            except TimeoutError:
                if not hanging:
                    log.warning("gpu_not_answering", deadline_s=self._deadline_s, effect="GPU metrics stand still")
                hanging = True
                continue
            if readings is None:
                return
            if hanging:
                log.info("gpu_answering_again")
            hanging = False
            for reading in readings:
                self._show(reading)

    def _poll(self, deliver: Callable[[list[GpuReading] | None], None]) -> None:
        """Body of the thread: opens NVML once, then polls until ``_stop`` is set."""
        nvml = Nvml(self._library)
        try:
            count = nvml.open()
        except (self._library.NVMLError_LibraryNotFound, self._library.NVMLError_DriverNotLoaded):
            log.info("gpu_absent", reason="no NVIDIA driver on this machine")
            deliver(None)
            return
        except self._library.NVMLError as error:
            log.warning("gpu_unavailable", reason=str(error), effect="no GPU metrics until a restart")
            deliver(None)
            return
        if count == 0:
            log.info("gpu_absent", reason="the NVIDIA driver lists no GPU")
            deliver(None)
            return
        self._poll_open(nvml, deliver)

    def _poll_open(self, nvml: Nvml, deliver: Callable[[list[GpuReading] | None], None]) -> None:
        failing = False
        while not self._stop.is_set():
            try:
                deliver(nvml.read())
                failing = False
            except self._library.NVMLError as error:
                if not failing:
                    log.warning("gpu_read_failed", reason=str(error), effect="GPU metrics stand still")
                failing = True
                deliver([])
            self._stop.wait(self._poll_s)
        nvml.close()

    def _show(self, reading: GpuReading) -> None:
        metrics = self._metrics
        metrics.gpu.labels(reading.uuid, reading.name).set(1)
        for gauge, value in (
            (metrics.gpu_utilization_ratio, reading.utilization_ratio),
            (metrics.gpu_memory_used_bytes, reading.memory_used_bytes),
            (metrics.gpu_memory_total_bytes, reading.memory_total_bytes),
            (metrics.gpu_temperature_celsius, reading.temperature_celsius),
            (metrics.gpu_power_watts, reading.power_watts),
        ):
            if value is not None:
                gauge.labels(reading.uuid).set(value)
        metrics.gpu_last_collect_timestamp.labels(reading.uuid).set(time.time())
