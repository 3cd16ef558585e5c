"""Tests of the environment and the resource limits of training, the limits in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.clock import ManualClock
from daemon.retraining.sandbox import MEMORY_SHARE, chosen_environment, memory_limit
from daemon.retraining.supervisor import RetrainSupervisor
from tests.daemon.retraining.programs import command, specification
from tests.limits import LIMIT_S

SECRET = {
    "FORECASTD__MQTT__USERNAME": "ann",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "MQTT_PASSWORD": "hunter2",
    "HTTPS_PROXY": "http://ann:hunter2@proxy:3128",
    "NOTIFY_SOCKET": "/run/systemd/notify",
    "WATCHDOG_USEC": "30000000",
    "CREDENTIALS_DIRECTORY": "/run/credentials/forecastd",
    "STATE_DIRECTORY": "/var/lib/forecastd",
    "SSH_AUTH_SOCK": "/run/ssh",
    "PYTHONSTARTUP": "/home/ann/x.py",
}
NEEDED = {"PATH": "/usr/bin", "LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "1", "TORCHINDUCTOR_CACHE_DIR": "/c"}
GIB = 1024**3


def test_training_gets_what_it_needs_and_no_secret() -> None:
    """Every other variable stays with the daemon."""
    assert chosen_environment({**SECRET, **NEEDED, "SOMETHING_NEW": "x"}) == NEEDED


async def test_the_process_has_only_the_chosen_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the environment of a real child."""
    for name, value in {**SECRET, **NEEDED}.items():
        monkeypatch.setenv(name, value)
    seen = tmp_path / "seen.json"
    supervisor = RetrainSupervisor(
        run_dir=tmp_path / "runs",
        models_dir=tmp_path / "models",
        clock=ManualClock(),
        on_progress=lambda _progress: None,
        command=command(tmp_path, f"json.dump(dict(os.environ), open({str(seen)!r}, 'w')); finish()"),
    )
    await supervisor.start(specification(tmp_path))
    await asyncio.wait_for(supervisor.wait(), LIMIT_S)
    environment = json.loads(seen.read_text())
    assert not SECRET.keys() & environment.keys()
    assert NEEDED.items() <= environment.items()
    assert Path(environment["TMPDIR"]).is_relative_to(tmp_path / "runs")


def limited(body: str, *, memory_bytes: int | None = None, before: str = "") -> list[str]:
    """What a process prints that limits itself and then runs the body; first the limits that could not be set."""
    lines = ["import resource", "from daemon.retraining.sandbox import limit_resources", before]
    lines += [f"print(limit_resources(memory_bytes={memory_bytes}))", body]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.splitlines()


def test_an_allocation_past_the_limit_fails_and_the_process_can_report_it() -> None:
    """The machine does not run out of memory first."""
    body = """
small = bytearray(100_000_000)
try:
    large = bytearray(600_000_000)
except MemoryError:
    print("refused")
"""
    assert limited(body, memory_bytes=512_000_000) == ["()", "refused"]


def test_no_core_dump_and_bounded_files() -> None:
    """The limits are hard: training cannot raise them again."""
    body = """
for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    print(*resource.getrlimit(kind))
"""
    assert limited(body) == ["()", "0 0", f"{16 * GIB} {16 * GIB}", "1024 1024"]


def test_lower_limits_of_the_service_stay() -> None:
    """The limits are only ever lowered."""
    before = "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    assert limited("print(*resource.getrlimit(resource.RLIMIT_NOFILE))", before=before) == ["()", "64 64"]


def machine(root: Path, *, gib: int, group: str | None = None, limits: dict[str, str] | None = None) -> Path:
    """A file system with so much memory, this process in ``group``, and limit files by their paths."""
    files = {"proc/meminfo": f"MemFree: 1 kB\nMemTotal: {gib * GIB // 1024} kB\n"}
    if group is not None:
        files["proc/self/cgroup"] = f"1:cpu:/other\n0::{group}\n"
    files |= {f"sys/fs/cgroup/{path}": text for path, text in (limits or {}).items()}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize(
    ("group", "limits", "gib"),
    [
        (None, {}, 16),
        ("/", {}, 16),
        ("/system.slice/forecastd.service", {}, 16),
        ("/system.slice/forecastd.service", {"system.slice/forecastd.service/memory.max": "max\n"}, 16),
        ("/system.slice/forecastd.service", {"system.slice/forecastd.service/memory.max": f"{4 * GIB}\n"}, 4),
        ("/system.slice/forecastd.service", {"system.slice/forecastd.service/memory.high": f"{3 * GIB}\n"}, 3),
        ("/system.slice/forecastd.service", {"system.slice/memory.max": f"{2 * GIB}\n"}, 2),
        ("/", {"memory.max": f"{5 * GIB}\n"}, 5),
        ("/gone/away", {"memory.max": f"{64 * GIB}\n"}, 16),
    ],
)
def test_the_memory_limit_follows_the_service(
    tmp_path: Path, group: str | None, limits: dict[str, str], gib: int
) -> None:
    """The smallest limit of the service's control groups and of the machine counts."""
    assert memory_limit(root=machine(tmp_path, gib=16, group=group, limits=limits)) == int(MEMORY_SHARE * gib * GIB)


def test_beside_a_gpu_memory_is_not_limited(tmp_path: Path) -> None:
    """The driver maps more address space than the machine has memory."""
    machine(tmp_path, gib=16)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert memory_limit(root=tmp_path) is None


def test_this_machine_has_a_limit() -> None:
    """The real files of the kernel can be read."""
    limit = memory_limit()
    assert limit is None or 0 < limit <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
