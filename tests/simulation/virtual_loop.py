"""An asyncio event loop on simulated time: it never waits, and one seed decides the order of everything."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Any, TypeVar

from aiohttp import connector

from daemon.simulator import player
from tests.simulation.network import SimulatedNetwork

T = TypeVar("T")

_START_US = 1_000_000_000
_STEP_S = 1.0  # of an exchange between two trades: its clock does not jump here


class NothingLeft(RuntimeError):
    """Every task waits for something that never happens."""


class VirtualTimeLoop(asyncio.base_events.BaseEventLoop):
    """``time`` jumps to the next timer as soon as nothing is ready. Calls for a thread run at once, in the loop.

    network: connections and servers of this loop; nothing outside of it can be reached.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._now_us = _START_US
        self._clock_resolution = 0.5e-6
        self._selector = self  # BaseEventLoop asks it for events between two rounds of callbacks
        self._numbers = count()
        self.network = SimulatedNetwork(self, rng)
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # of this loop

    def time(self) -> float:
        return self._now_us / 1e6

    def select(self, timeout: float | None) -> list[Any]:
        """Lets time pass in the place of waiting for a socket."""
        if timeout is None:
            raise NothingLeft("no task is ready and no timer is set")
        self._now_us += round(timeout * 1e6)
        return []

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """In whole microseconds, and a later one than now for any later moment: who waits for a moment gets there."""
        when_us = round(when * 1e6)
        if when_us <= self._now_us < when * 1e6:
            when_us = self._now_us + 1
        return super().call_at(when_us / 1e6, callback, *args, context=context)

    def run_in_executor(self, _executor: Any, call: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        answer: asyncio.Future[T] = self.create_future()
        try:
            answer.set_result(call(*args))
        except Exception as error:  # noqa: BLE001  # raised where the answer is awaited
            answer.set_exception(error)
        return answer

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        return await self.network.connect(*args, **options)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        self.network.bind(sock, address)

    async def create_server(self, *args: Any, **options: Any) -> Any:
        return self.network.listen(*args, **options)

    async def create_unix_server(self, *args: Any, **options: Any) -> Any:
        return self.network.listen(*args, **options)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        return _NumberedTask(work, loop=loop, number=next(self._numbers), **options)

    def _process_events(self, events: list[Any]) -> None:
        """There are none: a simulated socket schedules its callbacks itself."""

    def _write_to_self(self) -> None:
        """Wakes no selector, because none sleeps."""


class _NumberedTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set does not depend on its address, so that sets of tasks have one order."""

    def __init__(self, work: Coroutine[Any, Any, Any], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


@contextmanager
def virtual_time(seed: int) -> Iterator[VirtualTimeLoop]:
    """A loop whose time is the process's monotonic time meanwhile, and a seeded global random source."""
    state = random.getstate()
    random.seed(seed)
    loop = VirtualTimeLoop(random.Random(f"network {seed}"))
    try:
        with (
            _replaced(time, "monotonic", loop.time),
            _replaced(connector, "monotonic", loop.time),
            _replaced(player, "_LONGEST_STEP_S", _STEP_S),
        ):
            asyncio.set_event_loop(loop)
            yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        random.setstate(state)


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
