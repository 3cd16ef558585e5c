"""A stand-in for nvidia-ml-py's ``pynvml``: the same functions and errors over one imaginary GPU.

Put this folder first on PYTHONPATH. FAKE_NVML chooses what happens: ``present`` (default), ``absent`` (no driver),
``hang`` (every read blocks for as long as ``hanging`` is set), ``lost`` (reads fail), ``no_power`` (not supported).
"""

# ruff: noqa: N801, N802  # the names are the library's own

from __future__ import annotations

import math
import os
import threading
import time
from typing import NamedTuple

NVML_TEMPERATURE_GPU = 0
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_GPU_IS_LOST = 15

behaviour = os.environ.get("FAKE_NVML", "present")
hanging = threading.Event()
init_calls = 0

MEMORY_TOTAL_BYTES = 24 * 2**30


class NVMLError(Exception):
    """Base of the library's errors, carrying its return code."""

    def __init__(self, value: int = 999) -> None:
        super().__init__(f"NVML return code {value}")
        self.value = value


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_DriverNotLoaded(NVMLError):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class NVMLError_GpuIsLost(NVMLError):
    pass


class Utilization(NamedTuple):
    gpu: int
    memory: int


class Memory(NamedTuple):
    total: int
    free: int
    used: int


def nvmlInit() -> None:
    global init_calls  # noqa: PLW0603  # the library keeps its state in the module too
    init_calls += 1
    if behaviour == "absent":
        raise NVMLError_LibraryNotFound(NVML_ERROR_LIBRARY_NOT_FOUND)


def nvmlShutdown() -> None:
    pass


def nvmlDeviceGetCount() -> int:
    return 1


def nvmlDeviceGetHandleByIndex(index: int) -> int:
    return index


def nvmlDeviceGetUUID(handle: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{handle:012d}"


def nvmlDeviceGetName(handle: int) -> str:
    return "Imaginary GPU"


def nvmlDeviceGetUtilizationRates(handle: int) -> Utilization:
    if behaviour == "lost":
        raise NVMLError_GpuIsLost(NVML_ERROR_GPU_IS_LOST)
    while behaviour == "hang" and hanging.is_set():
        time.sleep(0.01)
    return Utilization(gpu=_wave(20, 60), memory=_wave(10, 30))


def nvmlDeviceGetMemoryInfo(handle: int, version: int | None = None) -> Memory:
    used = MEMORY_TOTAL_BYTES * _wave(20, 30) // 100
    return Memory(total=MEMORY_TOTAL_BYTES, free=MEMORY_TOTAL_BYTES - used, used=used)


def nvmlDeviceGetTemperature(handle: int, sensor: int) -> int:
    return _wave(45, 62)


def nvmlDeviceGetPowerUsage(handle: int) -> int:
    """Milliwatts, as NVML has it."""
    if behaviour == "no_power":
        raise NVMLError_NotSupported(NVML_ERROR_NOT_SUPPORTED)
    return 1000 * _wave(80, 180)


def _wave(low: int, high: int) -> int:
    """A value between ``low`` and ``high`` that swings once a minute, so that panels show a line that lives."""
    return round(low + (high - low) * (0.5 + 0.5 * math.sin(time.time() / 60 * 2 * math.pi)))
