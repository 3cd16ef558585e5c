"""Client of systemd's sd_notify protocol: readiness, status and the watchdog, one datagram a message.

Without NOTIFY_SOCKET every call is a no-op. See sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from daemon.serving.health import Health, ServiceState

log = structlog.get_logger(__name__)

MICROSECONDS_PER_SECOND = 1_000_000
STATUS_CHARACTERS = 500
MOST_EXTENSION_S = 1800.0  # a check of the largest store on a slow disk


class Notifier:
    """Sends notifications to the service manager at ``address`` (a path, or ``@name`` for an abstract socket)."""

    def __init__(self, address: str | None, *, watchdog_s: float | None = None) -> None:
        self._address = address
        self._refused = False
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Notifier:
        """Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; a watchdog for another process is ignored."""
        address = environment.get("NOTIFY_SOCKET") or None
        period_us = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = address is not None and ours and period_us.isdecimal() and int(period_us) > 0
        return cls(address, watchdog_s=int(period_us) / MICROSECONDS_PER_SECOND if watched else None)

    def ready(self, status: str) -> bool:
        return self._send("READY=1", _status(status))

    def status(self, text: str) -> bool:
        return self._send(_status(text))

    def watchdog(self) -> bool:
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """To be followed by ``ready`` when the reload is over, whatever its outcome."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "stopping") -> bool:
        return self._send("STOPPING=1", _status(status))

    def extend_timeout(self, seconds: float) -> bool:
        """Requests ``seconds`` from now before systemd treats a start or stop as hung."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS_PER_SECOND)}")

    def _send(self, *lines: str) -> bool:
        """Whether the datagram was sent; a failure is logged once and never stops the daemon."""
        if self._address is None:
            return False
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
                datagrams.setblocking(False)
                datagrams.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            if not self._refused:
                log.warning("sd_notify_failed", address=self._address, reason=str(error))
            self._refused = True
            return False
        self._refused = False
        return True


@asynccontextmanager
async def start_timeout_extended(notifier: Notifier, *, extension_s: float = 10.0) -> AsyncIterator[None]:
    """Extends the start timeout while its body runs, for at most ``MOST_EXTENSION_S``."""

    async def extend() -> None:
        for _ in range(int(MOST_EXTENSION_S / extension_s * 2)):
            notifier.extend_timeout(extension_s)
            await asyncio.sleep(extension_s / 2)

    extending = asyncio.create_task(extend(), name="start timeout")
    try:
        yield
    finally:
        extending.cancel()


async def announce_ready(notifier: Notifier, health: Health, *, poll_s: float = 0.1, extension_s: float = 10.0) -> None:
    """Waits until ``health`` may report ready, then sends READY=1; meanwhile extends the start timeout.

    Returns at the latest after the ready timeout of ``health``, provided that store, control socket and HTTP are up.
    """
    extended_until_s = 0.0
    while not health.may_report_ready():
        if time.monotonic() > extended_until_s - extension_s / 2:
            notifier.extend_timeout(extension_s)
            extended_until_s = time.monotonic() + extension_s
        await asyncio.sleep(poll_s)
    health.ready_reported()
    notifier.ready(status_line(health))


def status_line(health: Health) -> str:
    """The condition as systemd shows it, e.g. ``degraded: mqtt: broker unreachable``."""
    condition = health.condition
    if condition.state is ServiceState.ONLINE:
        return "online"
    return f"{condition.state}: {condition.reason}"


async def run_watchdog(
    notifier: Notifier,
    *,
    fatal_reason: Callable[[], str | None],
    on_late: Callable[[float], None] | None = None,
) -> None:
    """Pings from the event loop at half the watchdog's period, until cancelled; returns at once without a watchdog.

    Args:
        fatal_reason: why only a restart can help (``Health.fatal_reason``), None while the daemon is healthy. While
            there is a reason, the ping is withheld and STATUS shows it, so that systemd restarts the daemon. A lost
            venue or broker is no such reason: a restart repairs neither.
        on_late: called with the seconds by which the event loop was late, when that exceeds a quarter of the period.
    """
    if notifier.watchdog_s is None:
        return
    interval_s = notifier.watchdog_s / 2
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        lateness_s = loop.time() - due_s
        if lateness_s > interval_s / 2:
            log.warning("event_loop_late", lateness_s=round(lateness_s, 3), watchdog_s=notifier.watchdog_s)
            if on_late is not None:
                on_late(lateness_s)
        reason = fatal_reason()
        if reason is None:
            notifier.watchdog()
        else:
            notifier.status(f"unhealthy, watchdog withheld: {reason}")
        due_s = loop.time() + interval_s
        await asyncio.sleep(interval_s)


def _status(text: str) -> str:
    """One line: a newline would start another assignment."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return f"STATUS={printable[:STATUS_CHARACTERS]}"
