"""Health of a running daemon, asked over HTTP while one of its components hangs, fails or is lost."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from daemon.runtime import app
from daemon.runtime.health_watch import ComponentHung
from daemon.serving.health_limits import HealthLimits
from daemon.serving.progress import ProgressBounds
from daemon.store.errors import StoreDamaged
from tests.daemon.publishing.brokers import Mosquitto
from tests.daemon.publishing.conftest import start_mosquitto
from tests.e2e import rig
from tests.e2e.rig import Daemon
from tests.limits import LIMIT_S

__all__ = ["start_mosquitto"]  # a fixture

SHORT = ProgressBounds(1.0, 3.0)
LIMITS = HealthLimits(round=SHORT, damaged=SHORT, store=SHORT, end_s=600.0)


async def ask(daemon: Daemon, path: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as client, client.get(f"{daemon.app.http_address}{path}") as answer:
        body: dict[str, Any] = await answer.json()
        return answer.status, body


async def until_status(daemon: Daemon, path: str, status: int, *, timeout_s: float = LIMIT_S) -> dict[str, Any]:
    """The body of the first answer with this status. The daemon must not end meanwhile."""
    async with asyncio.timeout(timeout_s):
        while True:
            answered, body = await ask(daemon, path)
            if answered == status:
                return body
            assert not daemon.running.done()
            await asyncio.sleep(0.1)


def hung(daemon: Daemon, released: threading.Event) -> None:
    """Makes the features of every further round hang until they are released."""
    engine = daemon.app.components.inference._engine
    prepare = engine.prepare
    engine.prepare = lambda *given: (released.wait(60), prepare(*given))[1]  # type: ignore[method-assign]  # a hung thread


@pytest.mark.slow
async def test_a_daemon_is_ready_by_its_last_confirmed_close(tmp_path: Path) -> None:
    """503 with "no forecast yet", then 200 for as long as closes are confirmed; every component is healthy."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        body = await until_status(daemon, "/readyz", 200)
        assert body["problems"] == []
        status, health = await ask(daemon, "/healthz")
        assert (status, set(health["components"].values())) == (200, {"healthy"})
        await daemon.until_bars(12)  # more than the ten seconds in which a close must be confirmed
        assert (await ask(daemon, "/readyz"))[0] == 200
        assert (await ask(daemon, "/api/v1/status"))[1]["not_ready"] == []


@pytest.mark.slow
async def test_a_hung_feature_thread_is_named_and_ends_health(tmp_path: Path) -> None:
    """Not online after the first bound, unhealthy after the second; in HTTP, status and metrics."""
    released = threading.Event()
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, options={"health_limits": LIMITS}) as daemon:
        await until_status(daemon, "/readyz", 200)
        hung(daemon, released)
        body = await until_status(daemon, "/healthz", 503)
        assert any(
            problem.startswith("features: a round makes no progress") for problem in [*body["problems"][0].split("; ")]
        )
        assert body["components"]["features"] == "unhealthy"
        _, ready = await ask(daemon, "/readyz")
        assert not ready["ready"]
        _, status = await ask(daemon, "/api/v1/status")
        assert status["state"] == "degraded"
        assert "features" in status["reason"]
        registry = daemon.app.components.metrics.registry
        assert registry.get_sample_value("forecastd_component_state", {"component": "features"}) == 2
        assert registry.get_sample_value("forecastd_ready") == 0
        released.set()
        await until_status(daemon, "/healthz", 200)
        await until_status(daemon, "/readyz", 200)


@pytest.mark.slow
async def test_a_component_that_hangs_for_good_ends_the_daemon(tmp_path: Path) -> None:
    """Also without a watchdog the daemon ends, so that its service manager starts it again."""
    released = threading.Event()
    limits = msgspec.structs.replace(LIMITS, end_s=1.0)
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, options={"health_limits": limits}) as daemon:
        await until_status(daemon, "/readyz", 200)
        hung(daemon, released)
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait({daemon.running})
        released.set()
        error = daemon.running.exception()
        assert isinstance(error, ComponentHung)
        assert error.exit_code == 70
        assert "features: a round makes no progress" in str(error)


@pytest.mark.slow
async def test_an_end_that_hangs_itself_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a dead disk closing the store never returns, and nothing but the end of the process helps."""
    monkeypatch.setattr(app, "_HUNG_END_S", 0.5)
    released, ended = threading.Event(), threading.Event()
    options = {"health_limits": msgspec.structs.replace(LIMITS, end_s=1.0), "end_process": ended.set}
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, options=options) as daemon:
        await until_status(daemon, "/readyz", 200)
        close = daemon.app.components.ledger.close
        daemon.app.components.ledger.close = lambda: (ended.wait(20), close())[1]  # type: ignore[method-assign]
        hung(daemon, released)
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait({daemon.running})
        released.set()
        assert ended.is_set()


@pytest.mark.slow
async def test_a_damaged_store_is_not_online_and_ends_health(tmp_path: Path) -> None:
    """The forecasts after it cannot be stored."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, options={"health_limits": LIMITS}) as daemon:
        await until_status(daemon, "/readyz", 200)
        daemon.app.components.store.report_fault(StoreDamaged("ledger.sqlite: database disk image is malformed"))
        body = await until_status(daemon, "/healthz", 503)
        assert body["problems"][0].startswith("store: the damaged store")
        _, status = await ask(daemon, "/api/v1/status")
        assert status["state"] == "degraded"
        assert "malformed" in status["reason"]


@pytest.mark.slow
async def test_a_frozen_broker_ends_readiness_and_not_health(
    tmp_path: Path, start_mosquitto: Callable[..., Mosquitto]
) -> None:
    """No close is confirmed; a restart would not help."""
    broker = start_mosquitto()
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange, mqtt__url=broker.url) as daemon:
        await until_status(daemon, "/readyz", 200)
        broker.freeze()
        body = await until_status(daemon, "/readyz", 503)
        assert any("not confirmed by the broker" in problem for problem in body["problems"]), json.dumps(body)
        assert (await ask(daemon, "/healthz"))[0] == 200
