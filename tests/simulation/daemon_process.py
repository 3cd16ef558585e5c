"""One process of the daemon in a simulated world, from its start to its end or its death."""

from __future__ import annotations

import asyncio
import contextvars
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from daemon.config import load_config
from daemon.forecasting.records import IssuedForecast
from daemon.runtime.app import App
from daemon.runtime.hooks import Hooks
from daemon.runtime.ports import Ports
from daemon.simulator.exchange import Addresses
from daemon.store.ledger import LEDGER_NAME
from features.market import Bar
from tests.simulation.broker import SimulatedBroker
from tests.simulation.clocks import MachineClock
from tests.simulation.disk import Disk
from tests.simulation.network import SimulatedProcess, current_process
from tests.simulation.threads import Device, SimulatedStoreThread, SimulatedWorkerThread

_NOT_COPIED = shutil.ignore_patterns("*.sock", "*.lock", "*.shm", "*-shm", "lock")
_HEADER_BYTES = 32  # of SQLite's write-ahead log


class DaemonProcess:
    """``app`` is the real one; sockets, threads, clock and broker are simulated."""

    def __init__(
        self,
        folder: Path,
        *,
        feeds: dict[str, tuple[tuple[str, ...], Addresses]],
        interval: str,
        clock: MachineClock,
        disk: Disk,
        device: Device,
        broker: SimulatedBroker,
        rng: random.Random,
        on_bar: Callable[[DaemonProcess, Bar], None],
        on_forecast: Callable[[DaemonProcess, IssuedForecast, bytes], None],
    ) -> None:
        self.folder = folder
        self.clock = clock
        self._process = SimulatedProcess()
        self._app: App | None = None
        self._task: asyncio.Task[None] | None = None
        settings = {
            "instance.name": "simulated",
            "instance.state_dir": str(folder),
            "feeds": [
                {"venue": venue, "symbols": list(symbols), **at._asdict()} for venue, (symbols, at) in feeds.items()
            ],
            "bars.interval": interval,
            "model.kind": "random_walk",
            "retrain.every": "off",
            "retrain.history": "1h",
            "http.listen": "127.0.0.1:0",
            "mqtt.url": "mqtt://127.0.0.1:1",
        }
        self._config = load_config(None, command_line=settings, environ={})
        self._hooks = Hooks(
            on_bar=partial(on_bar, self),
            on_forecast=partial(on_forecast, self),
            ports=Ports(
                connect_broker=broker.connect,
                store_thread=partial(SimulatedStoreThread, disk=disk, rng=rng),
                worker_thread=partial(SimulatedWorkerThread, device=device),
                gpu_metrics=_no_gpu,
            ),
        )

    @property
    def dead(self) -> bool:
        return self._process.dead

    @property
    def network(self) -> SimulatedProcess:
        return self._process

    @property
    def app(self) -> App:
        assert self._app is not None
        return self._app

    @property
    def running(self) -> bool:
        """Whether it is past its start."""
        return self._app is not None and not self.dead and self._app.started.is_set()

    @property
    def ended(self) -> asyncio.Task[None]:
        """The task that runs it."""
        assert self._task is not None
        return self._task

    def start(self, *, after_s: float = 0.0) -> None:
        """Starts it a while from now."""
        context = contextvars.copy_context()
        context.run(current_process.set, self._process)
        self._task = asyncio.get_running_loop().create_task(self._run(after_s), context=context)

    async def _run(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._app = App(
            self._config, clock=self.clock, environ={"RUNTIME_DIRECTORY": str(self.folder)}, hooks=self._hooks
        )
        await self._app.run()

    def kill(self, folder: Path, rng: random.Random, *, power_cut: bool) -> None:
        """The process dies now; what its disk holds is in ``folder``.

        A power cut loses the end of the write-ahead log, which nothing has synced.
        """
        self._process.die()
        shutil.copytree(self.folder, folder, ignore=_NOT_COPIED)
        log = folder / f"{LEDGER_NAME}-wal"
        if power_cut and log.exists():
            with log.open("r+b") as file:
                file.truncate(rng.randrange(_HEADER_BYTES, max(log.stat().st_size, _HEADER_BYTES) + 1))
        self.ended.cancel()


async def _no_gpu(_metrics: Any) -> None:
    """This machine has none."""
