"""``forecastd run`` with a fault that only the operator can mend: one line, the cure, and an exit code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon.errors import EXIT_CONFIG, EXIT_UNAVAILABLE
from tests.e2e import rig
from tests.e2e.processes import configuration, process

pytestmark = pytest.mark.slow


async def ended(folder: Path, file: Path) -> tuple[int, str]:
    """Exit code and the last line of a daemon that ends by itself."""
    with process(folder, "run", "-c", str(file)) as daemon:
        code = await asyncio.to_thread(daemon.popen.wait, 20)
        return code, daemon.log.strip().splitlines()[-1]


async def test_a_refused_region_is_named_with_its_cure(tmp_path: Path) -> None:
    """HTTP 451 from the venue: exit code 69, and which key to change."""
    async with rig.exchange() as exchange:
        exchange.simulated.rest_failing(451)
        code, message = await ended(tmp_path, configuration(tmp_path, interval="1h", **exchange.addresses._asdict()))
    assert code == EXIT_UNAVAILABLE, message
    assert message.startswith("forecastd: binance")
    assert "rest_url" in message


async def test_a_broken_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Exit code 78, and nothing was created."""
    file = configuration(tmp_path, interval="7s", ws_url="ws://127.0.0.1:9", rest_url="http://127.0.0.1:9")
    code, message = await ended(tmp_path, file)
    assert code == EXIT_CONFIG
    assert "bars.interval" in message
    assert not (tmp_path / "state").exists()
