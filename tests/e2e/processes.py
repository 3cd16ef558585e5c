"""forecastd's commands as processes of their own, with their output in files."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.limits import LIMIT_S, SLACK_S
from tests.paths import ROOT

INSTANCE = "e2e"
TOPICS = f"forecastd/v1/{INSTANCE}"
END_S = 3.0 + SLACK_S  # an end takes three seconds


class Process:
    """One running command; ``out`` and ``log`` are what it wrote so far to its standard output and error."""

    def __init__(self, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self._out, self._log = folder / f"{arguments[0]}.out", folder / f"{arguments[0]}.log"
        self.started_s = time.monotonic()
        with self._out.open("ab") as out, self._log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "daemon", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "RUNTIME_DIRECTORY": str(folder), **(environ or {})},
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8")

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's entries of this name."""
        entries = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [entry for entry in entries if entry["event"] == name]

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def until(self, condition: Callable[[], bool], *, timeout_s: float = LIMIT_S) -> None:
        """Waits for a condition; a process that ends before it is met is an error."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline_s, f"waited for {timeout_s} s:\n{self.log[-4000:]}"
            time.sleep(0.05)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code. Raises TimeoutExpired after END_S."""
        self.send(number)
        return self.popen.wait(END_S)

    def destroy(self) -> None:
        """Kills the process, and whatever it started in its own session, if it still runs."""
        if self.popen.poll() is None:
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(LIMIT_S)


@contextmanager
def process(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A command for the length of the block."""
    running = Process(folder, *arguments, environ=environ)
    try:
        yield running
    finally:
        running.destroy()


@contextmanager
def simulator(folder: Path, *, interval: str) -> Iterator[dict[str, Any]]:
    """``forecastd simulate`` on the system clock: its addresses and symbols."""
    with process(folder, "simulate", "--interval", interval) as running:
        running.until(lambda: running.out.endswith("\n"))
        addresses: dict[str, Any] = json.loads(running.out)
        yield addresses


def configuration(
    folder: Path,
    *,
    ws_url: str,
    rest_url: str,
    interval: str,
    symbols: Sequence[str] = ("BTC-USDT", "ETH-USDT"),
    kind: str = "random_walk",
    mqtt_url: str = "embedded",
    level: str = "info",
    extra: str = "",
) -> Path:
    """Writes a configuration file for a simulated exchange."""
    file = folder / "forecastd.toml"
    file.write_text(
        f"""
        [instance]
        name = "{INSTANCE}"
        state_dir = "{folder / "state"}"
        [[feeds]]
        venue = "binance"
        symbols = {json.dumps(list(symbols))}
        ws_url = "{ws_url}"
        rest_url = "{rest_url}"
        [bars]
        interval = "{interval}"
        grace_s = 1.0
        [model]
        kind = "{kind}"
        [retrain]
        every = "off"
        history = "1h"
        [mqtt]
        url = "{mqtt_url}"
        [http]
        listen = "127.0.0.1:0"
        [log]
        level = "{level}"
        format = "json"
        {extra}
        """,
        encoding="utf-8",
    )
    return file


class ServiceManager:
    """systemd's end of the notification socket; ``lines`` are the assignments received so far, oldest first.

    A thread empties the socket: the kernel queues ten datagrams, and the daemon never waits.
    """

    def __init__(self, path: Path) -> None:
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._receive, name="service manager")
        self._thread.start()

    def _receive(self) -> None:
        while datagram := self._socket.recv(4096):
            self.lines += datagram.decode().split("\n")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(LIMIT_S)
        self._socket.close()
