"""What happens to a simulated daemon's network, disk, device and broker, at random moments."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from tests.simulation.broker import SimulatedBroker
from tests.simulation.daemon_faults import DaemonFaults
from tests.simulation.disk import Disk
from tests.simulation.network import SimulatedProcess
from tests.simulation.threads import Device
from tests.simulation.virtual_loop import VirtualTimeLoop

_DENIED = ("/forecast/", "/bar/", "/status", "/event", "BTC")


class Accidents:
    """``jobs`` are to be run as tasks; ``end`` repairs everything.

    process: the daemon's process now. kill: ends it. note: called with each accident's name.
    """

    def __init__(
        self,
        faults: DaemonFaults,
        seed: int,
        *,
        loop: VirtualTimeLoop,
        disk: Disk,
        device: Device,
        broker: SimulatedBroker,
        process: Callable[[], SimulatedProcess],
        kill: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self._faults = faults
        self._seed = seed
        self._rng = random.Random(f"accidents {seed}")
        self._loop = loop
        self._disk = disk
        self._device = device
        self._broker = broker
        self._process = process
        self._kill = kill
        self._note = note
        disk.slow_s = faults.slow_disk_s
        broker.lost_chance = faults.broker_lost_chance

    def jobs(self) -> Iterator[Coroutine[Any, Any, None]]:
        faults = self._faults
        yield self._at_random(faults.kills_per_hour, "kill", self._kill)
        yield self._at_random(faults.cuts_per_hour, "network cut", self._cut)
        yield self._at_random(faults.freezes_per_hour, "network frozen", self._freeze)
        yield self._at_random(faults.refusals_per_hour, "network refuses", self._refuse)
        yield self._at_random(faults.disk_stalls_per_hour, "disk stalls", self._stall_disk)
        yield self._at_random(faults.disk_full_per_hour, "disk full", self._fill_disk)
        yield self._at_random(faults.failed_writes_per_hour, "write fails", self._disk.fail_once)
        yield self._at_random(faults.device_hangs_per_hour, "device hangs", self._hang_device)
        yield self._at_random(faults.broker_restarts_per_hour, "broker restarts", self._restart_broker)
        yield self._at_random(faults.broker_hangs_per_hour, "broker hangs", self._hang_broker)
        yield self._at_random(faults.broker_denials_per_hour, "broker denies", self._deny)

    def end(self) -> None:
        """From now on nothing goes wrong any more."""
        self._disk.stalled_until_s = self._disk.slow_s = self._device.hung_until_s = 0.0
        self._disk.full = self._broker.away = self._loop.network.refusing = False
        self._disk.failing.clear()
        self._broker.denied, self._broker.lost_chance, self._broker.hanging_until_s = "", 0.0, 0.0

    async def _at_random(self, per_hour: float, name: str, call: Callable[[], None]) -> None:
        rng = random.Random(f"{name} {self._seed}")
        while per_hour:
            await asyncio.sleep(rng.expovariate(per_hour / 3600))
            self._note(name)
            call()

    def _cut(self) -> None:
        self._loop.network.cut_all(self._process())

    def _freeze(self) -> None:
        self._loop.network.frozen_until_s = self._for(60)

    def _refuse(self) -> None:
        self._loop.network.refusing = True
        self._cut()
        self._later(60, lambda: setattr(self._loop.network, "refusing", False))

    def _stall_disk(self) -> None:
        self._disk.stalled_until_s = self._for(60)

    def _fill_disk(self) -> None:
        self._disk.full = True
        self._later(60, lambda: setattr(self._disk, "full", False))

    def _hang_device(self) -> None:
        self._device.hung_until_s = self._for(30)

    def _restart_broker(self) -> None:
        self._broker.leave()
        self._later(30, lambda: setattr(self._broker, "away", False))

    def _hang_broker(self) -> None:
        self._broker.hanging_until_s = self._for(30)

    def _deny(self) -> None:
        self._broker.denied = self._rng.choice(_DENIED)
        self._later(60, lambda: setattr(self._broker, "denied", ""))

    def _for(self, most_s: float) -> float:
        return self._loop.time() + self._rng.uniform(0.5, most_s)

    def _later(self, most_s: float, call: Callable[[], None]) -> None:
        self._loop.call_later(self._rng.uniform(0.5, most_s), call)
