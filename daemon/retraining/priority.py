"""Scheduling priority, thread limits and lifetime of a training process, below those of the daemon. Linux only."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path

NICENESS = 10
OOM_SCORE = 500  # of 1000: when memory runs out the kernel takes the training process first

_PR_SET_PDEATHSIG = 1
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}


def die_with_parent() -> None:
    """Makes the kernel kill this process when the thread that started it ends. Raises OSError if the call fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise _last_error("prctl")


def lower_priority() -> tuple[str, ...]:
    """Sets batch scheduling, niceness, idle disk access and a high out-of-memory score.

    Call it before any thread starts: threads inherit the caller's settings. Returns one line for each setting that
    failed; training runs without it.
    """
    steps: tuple[Callable[[], None], ...] = (_schedule_as_batch, _raise_niceness, _use_idle_disk_time, _raise_oom_score)
    return tuple(shortfall for step in steps if (shortfall := _attempt(step)) is not None)


def limit_threads(threads: int) -> None:
    """Sets the number of threads of numerical libraries, whose idle threads sleep. Call it before importing them."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = str(threads)
    os.environ["OMP_WAIT_POLICY"] = "passive"


def spare_cores() -> int:
    """The number of cores that this process may use, minus one; at least 1."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _attempt(step: Callable[[], None]) -> str | None:
    try:
        step()
    except OSError as error:
        return f"{step.__name__.strip('_').replace('_', ' ')}: {error.strerror or error}"
    return None


def _schedule_as_batch() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _raise_niceness() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def _use_idle_disk_time() -> None:
    number = _SYS_IOPRIO_SET.get(platform.machine())
    if number is None:
        raise OSError(f"the system call's number on {platform.machine()} is not known")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE) != 0:
        raise _last_error("ioprio_set")


def _raise_oom_score() -> None:
    Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
