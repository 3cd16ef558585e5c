"""sd_notify against a real bound datagram socket, file and abstract."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.clock import SystemClock
from daemon.serving.health import Health
from daemon.serving.notify import Notifier, announce_ready, run_watchdog, start_timeout_extended
from features.market import Instrument
from tests.limits import LIMIT_S


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(2.0)

    def receive(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def received(self) -> list[list[str]]:
        """Everything that has arrived by now."""
        messages: list[list[str]] = []
        self._socket.setblocking(False)
        try:
            while True:
                messages.append(self.receive())
        except BlockingIOError:
            return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "file" else f"@forecastd-test-{os.getpid()}"
    made = Manager(address)
    yield made
    made.close()


def test_every_message_reaches_the_manager(manager: Manager) -> None:
    """The assignments are those of sd_notify(3)."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    assert notifier.ready("online")
    assert manager.receive() == ["READY=1", "STATUS=online"]
    notifier.status("degraded: mqtt")
    assert manager.receive() == ["STATUS=degraded: mqtt"]
    notifier.watchdog()
    assert manager.receive() == ["WATCHDOG=1"]
    notifier.extend_timeout(2.5)
    assert manager.receive() == ["EXTEND_TIMEOUT_USEC=2500000"]
    notifier.stopping()
    assert manager.receive() == ["STOPPING=1", "STATUS=stopping"]


def test_a_reload_carries_the_monotonic_time(manager: Manager) -> None:
    """Type=notify-reload compares it with the moment of its signal."""
    before_us = time.monotonic_ns() // 1000
    Notifier(manager.address).reloading()
    reloading, monotonic = manager.receive()
    assert reloading == "RELOADING=1"
    assert before_us <= int(monotonic.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_a_status_cannot_smuggle_in_another_assignment(manager: Manager) -> None:
    """A reason from a venue may hold newlines."""
    Notifier(manager.address).status("venue said:\nREADY=1\x00" + "x" * 1000)
    (line,) = manager.receive()
    assert line.startswith("STATUS=venue said: READY=1 x")
    assert len(line) == len("STATUS=") + 500


def test_without_a_manager_nothing_happens() -> None:
    """A daemon in a terminal has no service manager to notify."""
    notifier = Notifier.from_environment({})
    assert not notifier.ready("online")
    assert notifier.watchdog_s is None


def test_a_manager_that_is_gone_is_logged_once_and_never_raises(tmp_path: Path) -> None:
    """Notifying is not worth a crash."""
    notifier = Notifier(str(tmp_path / "gone"))
    with capture_logs() as logs:
        assert not notifier.status("a")
        assert not notifier.status("b")
    assert [line["event"] for line in logs] == ["sd_notify_failed"]


@pytest.mark.parametrize(
    ("environment", "period_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_a_watchdog_meant_for_another_process_is_left_alone(
    environment: dict[str, str], period_s: float | None
) -> None:
    """WATCHDOG_PID names the one process that has to ping."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "@unused", **environment})
    assert notifier.watchdog_s == period_s


async def test_the_watchdog_pings_at_half_its_period(manager: Manager) -> None:
    """Two chances for each deadline."""
    notifier = Notifier(manager.address, watchdog_s=0.1)
    assert notifier.watchdog_s is not None
    watchdog = asyncio.create_task(run_watchdog(notifier, fatal_reason=lambda: None))
    for _ in range(6):
        await asyncio.sleep(notifier.watchdog_s / 2)  # as late as the pings, where the machine is
    watchdog.cancel()
    pings = manager.received()
    assert 4 <= len(pings) <= 9
    assert all(ping == ["WATCHDOG=1"] for ping in pings)


async def test_an_unhealthy_daemon_withholds_the_ping_and_says_why(manager: Manager) -> None:
    """systemd then restarts it, and its journal has the reason."""
    notifier = Notifier(manager.address, watchdog_s=0.04)
    watchdog = asyncio.create_task(run_watchdog(notifier, fatal_reason=lambda: "the store cannot be written"))
    await asyncio.sleep(0.1)
    watchdog.cancel()
    messages = manager.received()
    assert messages
    assert all(each == ["STATUS=unhealthy, watchdog withheld: the store cannot be written"] for each in messages)


async def test_a_blocked_event_loop_is_measured(manager: Manager) -> None:
    """Lateness is known before systemd has to act on it."""
    lateness: list[float] = []
    notifier = Notifier(manager.address, watchdog_s=0.1)
    with capture_logs() as logs:
        watchdog = asyncio.create_task(run_watchdog(notifier, fatal_reason=lambda: None, on_late=lateness.append))
        await asyncio.sleep(0.01)
        time.sleep(0.3)
        await asyncio.sleep(0.02)
        watchdog.cancel()
    assert lateness[0] > 0.15
    assert logs[0]["event"] == "event_loop_late"


async def test_ready_is_announced_when_health_allows_it(manager: Manager) -> None:
    """Until then the manager is asked for more time."""
    instrument = Instrument("binance", "BTC-USDT")
    health = Health(SystemClock(), [instrument])
    announcing = asyncio.create_task(announce_ready(Notifier(manager.address), health, poll_s=0.01))
    await asyncio.sleep(0.05)
    assert manager.received() == [["EXTEND_TIMEOUT_USEC=10000000"]]
    for part in ("store", "control socket", "http"):
        health.component_up(part)
    health.symbol_unreachable(instrument, "HTTP 503")
    async with asyncio.timeout(LIMIT_S):
        await announcing
    assert manager.received() == [["READY=1", "STATUS=degraded: binance:BTC-USDT unreachable: HTTP 503"]]


async def test_the_start_timeout_is_extended_while_the_store_is_opened(manager: Manager) -> None:
    """systemd gets an extension at once and again before the last one ends; none comes afterwards."""
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address})
    async with start_timeout_extended(notifier, extension_s=0.1):
        await asyncio.sleep(0.23)
    sent = manager.received()
    assert len(sent) >= 4
    assert {line for (line,) in sent} == {"EXTEND_TIMEOUT_USEC=100000"}
    await asyncio.sleep(0.1)
    assert manager.received() == []
