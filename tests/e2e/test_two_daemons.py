"""Two daemons on one machine, and signals during a start, through the real command."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from daemon.errors import EXIT_TRY_AGAIN
from tests.e2e import rig
from tests.e2e.processes import Process, configuration, process
from tests.limits import LIMIT_S

pytestmark = pytest.mark.slow

NO_BROKER = "mqtt://127.0.0.1:1"


async def test_one_state_directory_or_one_name_serves_one_daemon(tmp_path: Path) -> None:
    """Exit code 75 with the right cure for each, before anything is opened; the first daemon runs on."""
    async with rig.exchange() as exchange:
        first = configuration(tmp_path, interval="1h", mqtt_url=NO_BROKER, **exchange.addresses._asdict())
        other_name = tmp_path / "beta.toml"
        other_name.write_text(first.read_text().replace('"e2e"', '"beta"'))
        other_state = tmp_path / "other.toml"
        other_state.write_text(first.read_text().replace(f"{tmp_path}/state", f"{tmp_path}/other"))
        with process(tmp_path, "run", "-c", str(first)) as daemon:
            await asyncio.to_thread(daemon.until, lambda: bool(daemon.events("started")))
            for file, cure in ((other_name, "instance 'e2e'"), (other_state, "choose another [instance] name")):
                (folder := tmp_path / file.stem).mkdir(exist_ok=True)
                with process(folder, "run", "-c", str(file), environ={"RUNTIME_DIRECTORY": str(tmp_path)}) as second:
                    assert await asyncio.to_thread(second.popen.wait, LIMIT_S) == EXIT_TRY_AGAIN
                    assert cure in second.log.strip().splitlines()[-1]
            assert daemon.popen.poll() is None


async def test_a_reload_during_the_start_is_kept_for_later(tmp_path: Path) -> None:
    """SIGHUP before the imports are done kills nothing, and the reload follows the start."""
    async with rig.exchange() as exchange:
        file = configuration(tmp_path, interval="1h", mqtt_url=NO_BROKER, **exchange.addresses._asdict())
        with process(tmp_path, "run", "-c", str(file)) as daemon:
            await asyncio.to_thread(_signal_until_started, daemon)
            await asyncio.to_thread(daemon.until, lambda: bool(daemon.events("configuration_reloaded")))
            assert "Traceback" not in daemon.log


def _signal_until_started(daemon: Process) -> None:
    while not _handles_hangups(daemon.popen.pid):  # the interpreter itself takes some hundredths of a second
        time.sleep(0.002)
    while not daemon.events("started"):
        daemon.send(signal.SIGHUP)
        assert daemon.popen.poll() is None, daemon.log
        time.sleep(0.05)


def _handles_hangups(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)
