"""Priority of a training process, read from /proc in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from daemon.retraining.priority import NICENESS, OOM_SCORE, spare_cores

_PROGRAM = """
import ctypes, json, os
from daemon.retraining.priority import limit_threads, lower_priority
shortfalls = lower_priority()
limit_threads(3)
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
io_priority = ctypes.CDLL(None).syscall({"x86_64": 252, "aarch64": 31}[os.uname().machine], 1, 0)
print(json.dumps({
    "shortfalls": shortfalls,
    "niceness": int(stat[16]),
    "policy": int(stat[38]),
    "io_class": io_priority >> 13,
    "oom_score": int(open("/proc/self/oom_score_adj").read()),
    "environment": {name: os.environ[name] for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OMP_WAIT_POLICY")},
}))
"""


def _report(preparation: str = "") -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", preparation + _PROGRAM], capture_output=True, text=True, timeout=20, check=True
    )
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_everything_is_lowered() -> None:
    """Batch scheduling, niceness 10, the idle class for disk access, and a high out-of-memory score."""
    report = _report()
    assert report["shortfalls"] == []
    assert report["policy"] == os.SCHED_BATCH
    assert report["niceness"] == NICENESS
    assert report["io_class"] == 3
    assert report["oom_score"] == OOM_SCORE


def test_threads_are_limited_and_sleep_when_idle() -> None:
    """The numerical libraries find their thread count, and the wait policy, in the environment."""
    assert _report()["environment"] == {
        "OMP_NUM_THREADS": "3",
        "POLARS_MAX_THREADS": "3",
        "OMP_WAIT_POLICY": "passive",
    }


def test_a_higher_niceness_is_kept() -> None:
    """Where the daemon is started at niceness 15 the child is not raised to 10."""
    assert _report("import os; os.setpriority(os.PRIO_PROCESS, 0, 15)\n")["niceness"] == 15


def test_a_refused_setting_is_reported_and_the_others_are_applied() -> None:
    """A step that the kernel refuses is reported, and the others are applied."""
    report = _report(
        """
import os
def refuse(*_):
    raise PermissionError(1, "Operation not permitted")
os.sched_setscheduler = refuse
"""
    )
    assert report["shortfalls"] == ["schedule as batch: Operation not permitted"]
    assert report["niceness"] == NICENESS


def test_one_core_is_spared() -> None:
    """All usable cores but one, at least one."""
    assert spare_cores() == max(1, len(os.sched_getaffinity(0)) - 1)
