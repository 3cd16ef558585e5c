"""Tests of the HTTP server over real sockets."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from daemon.clock import ManualClock
from daemon.config.types import listen_address
from daemon.errors import ConfigError, Retryable
from daemon.serving.confirmations import ForecastStep
from daemon.serving.health import Health
from daemon.serving.http import HttpServer
from daemon.serving.metrics import Metrics
from daemon.serving.progress import ComponentState, Judgement
from daemon.serving.status import StatusDocument
from features.market import Instrument
from tests.daemon.serving.status_documents import status_document
from tests.limits import LIMIT_S

BITCOIN = Instrument("binance", "BTC-USDT")


def make_server(listen: str = "127.0.0.1:0", *, token: str | None = None, health: Health | None = None) -> HttpServer:
    clock = ManualClock()
    metrics = Metrics(version="0.1.0", market_us=clock.market_us)
    health = health or Health(clock, [])
    return HttpServer(
        listen_address(listen), registry=metrics.registry, status=status_document, health=health, token=token
    )


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = make_server()
    yield await server.start()
    await server.stop()


@pytest.fixture
async def guarded() -> AsyncIterator[str]:
    server = make_server(token="s3cret")
    yield await server.start()
    await server.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def test_the_status_document_is_served_as_json(address: str, client: aiohttp.ClientSession) -> None:
    """What the page and scripts read decodes into the very document that the daemon filled."""
    async with client.get(f"{address}/api/v1/status") as answer:
        assert answer.content_type == "application/json"
        assert msgspec.json.decode(await answer.read(), type=StatusDocument) == status_document()


async def test_the_page_fetches_nothing_from_elsewhere(address: str, client: aiohttp.ClientSession) -> None:
    """It works on a machine without a network, and its policy forbids anything else."""
    async with client.get(f"{address}/") as answer:
        page = await answer.text()
        assert answer.content_type == "text/html"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "api/v1/status" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert "innerHTML" not in page


async def test_metrics_are_those_of_the_registry(address: str, client: aiohttp.ClientSession) -> None:
    """Nothing of the library's global registry leaks in."""
    async with client.get(f"{address}/metrics") as answer:
        text = await answer.text()
    assert "forecastd_clock_timestamp_seconds 0.0" in text
    assert "process_resident_memory_bytes" in text


async def test_readiness_names_its_problems(client: aiohttp.ClientSession) -> None:
    """503 with the reasons until the daemon forecasts, 200 then."""
    health = Health(ManualClock(), [BITCOIN])
    server = make_server(health=health)
    address = await server.start()
    async with client.get(f"{address}/readyz") as answer:
        body: dict[str, Any] = await answer.json()
        assert (answer.status, body["ready"]) == (503, False)
        assert "no forecast yet" in body["problems"]
    for part in ("store", "control socket", "http"):
        health.component_up(part)
    health.symbol_warm(BITCOIN)
    health.bar_closed(BITCOIN, 1)
    for step in ForecastStep:
        health.forecast_done(BITCOIN, 1, step)
    async with client.get(f"{address}/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"ready": True, "problems": []})
    await server.stop()


async def test_a_daemon_with_a_fatal_reason_is_unhealthy(client: aiohttp.ClientSession) -> None:
    """A supervisor that asks /healthz restarts it, as systemd's watchdog does."""
    health = Health(ManualClock(), [])
    server = make_server(health=health)
    address = await server.start()
    async with client.get(f"{address}/healthz") as answer:
        body: dict[str, Any] = await answer.json()
        assert (answer.status, body["healthy"], body["problems"]) == (200, True, [])
    hung = Judgement(component="features", state=ComponentState.UNHEALTHY, reason="a round makes no progress for 180 s")
    health.observe([hung, Judgement(component="store", state=ComponentState.HEALTHY)])
    async with client.get(f"{address}/healthz") as answer:
        assert (answer.status, await answer.json()) == (
            503,
            {
                "healthy": False,
                "problems": ["features: a round makes no progress for 180 s"],
                "components": {"features": "unhealthy", "store": "healthy"},
            },
        )
    async with client.get(f"{address}/readyz") as answer:
        body = await answer.json()
        assert "features: a round makes no progress for 180 s" in body["problems"]
    await server.stop()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/metrics"])
async def test_nothing_can_be_changed(address: str, client: aiohttp.ClientSession, method: str, path: str) -> None:
    """Only the control socket accepts commands."""
    async with client.request(method, address + path) as answer:
        assert answer.status == 405


async def test_an_unknown_path_is_not_found(address: str, client: aiohttp.ClientSession) -> None:
    """No listing, no stub."""
    async with client.get(f"{address}/api/v1/nothing") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:9464", "127.0.0.1.attacker.example", ""])
@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/metrics", "/healthz"])
async def test_a_foreign_host_name_is_refused(
    address: str, client: aiohttp.ClientSession, host: str, path: str
) -> None:
    """A web site whose DNS name is bound to 127.0.0.1 gets no data."""
    async with client.get(address + path, headers={"Host": host}) as answer:
        assert answer.status == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:9464", "LOCALHOST", "127.0.0.1:1", "[::1]:9464"])
async def test_loopback_names_are_answered(address: str, client: aiohttp.ClientSession, host: str) -> None:
    """Tunnels and port mappings keep working."""
    async with client.get(f"{address}/api/v1/status", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/status", "/api/v1/nothing"])
@pytest.mark.parametrize(
    "authorization", ["", "Bearer wrong", "Bearer", "Basic !", "Basic czNjcmV0", "s3cret", "Bearer é"]
)
async def test_a_token_is_asked_for(guarded: str, client: aiohttp.ClientSession, path: str, authorization: str) -> None:
    """Every path but the health checks needs it, also paths that do not exist."""
    async with client.get(guarded + path, headers={"Authorization": authorization}) as answer:
        assert answer.status == 401
        assert "Basic" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/status"])
async def test_a_token_opens(guarded: str, client: aiohttp.ClientSession, path: str) -> None:
    """As a bearer token for programs, as a password for browsers."""
    async with client.get(guarded + path, headers={"Authorization": "Bearer s3cret"}) as answer:
        assert answer.status == 200
    encoded = base64.b64encode(b"anyone:s3cret").decode()
    async with client.get(guarded + path, headers={"Authorization": "Basic " + encoded}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 503)])
async def test_health_checks_need_no_token(guarded: str, client: aiohttp.ClientSession, path: str, status: int) -> None:
    """A supervisor has no secret to know."""
    async with client.get(guarded + path) as answer:
        assert answer.status == status


async def test_a_taken_port_is_named_and_worth_another_try(address: str) -> None:
    """A restart may find the old process still closing."""
    taken = address.removeprefix("http://")
    with pytest.raises(Retryable, match=f"listen {taken}: the port is taken"):
        await make_server(taken).start()


async def test_an_address_of_another_machine_is_a_configuration_error() -> None:
    """192.0.2.1 belongs to no machine."""
    with pytest.raises(ConfigError, match=r"\[http\] listen 192\.0\.2\.1:0"):
        await make_server("192.0.2.1:0").start()


async def test_stopping_ends_within_its_second_despite_an_idle_connection() -> None:
    """A browser that keeps its connection open does not hold up the shutdown."""
    server = make_server()
    address = await server.start()
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(LIMIT_S):
        await server.stop()
    writer.close()
