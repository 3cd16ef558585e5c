"""``forecastd run`` with a fault that only the operator can mend, in the configuration or at the venue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon.errors import EXIT_CONFIG
from tests.e2e import rig
from tests.e2e.processes import configuration, process
from tests.limits import LIMIT_S

pytestmark = pytest.mark.slow


async def ended(folder: Path, file: Path) -> tuple[int, str]:
    """Exit code and the last line of a daemon that ends by itself."""
    with process(folder, "run", "-c", str(file)) as daemon:
        code = await asyncio.to_thread(daemon.popen.wait, LIMIT_S)
        return code, daemon.log.strip().splitlines()[-1]


async def test_a_refused_region_is_named_and_does_not_end_the_daemon(tmp_path: Path) -> None:
    """HTTP 451 from the only venue: the log names the key to change, and the daemon runs until it is stopped."""
    async with rig.exchange() as exchange:
        exchange.simulated.refuse_region(451)
        file = configuration(tmp_path, interval="1h", **exchange.addresses._asdict())
        with process(tmp_path, "run", "-c", str(file)) as daemon:
            await asyncio.to_thread(daemon.until, lambda: bool(daemon.events("venue_refused")))
            assert "rest_url" in daemon.events("venue_refused")[0]["reason"]
            assert await asyncio.to_thread(daemon.end) == 0


async def test_a_broken_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Exit code 78, and nothing was created."""
    file = configuration(tmp_path, interval="7s", ws_url="ws://127.0.0.1:9", rest_url="http://127.0.0.1:9")
    code, message = await ended(tmp_path, file)
    assert code == EXIT_CONFIG
    assert "bars.interval" in message
    assert not (tmp_path / "state").exists()
