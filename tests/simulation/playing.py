"""Plays the seeds of one kind of world and shrinks the faults of a failing one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import NamedTuple, Protocol

import structlog

from tests.simulation.daemon_faults import fault_names
from tests.simulation.daemon_world import DaemonWorld
from tests.simulation.faults import Faults
from tests.simulation.world import World

_SHRINK_S = 60.0


class PlayableWorld(Protocol):
    """One world of one seed."""

    @property
    def bars(self) -> int: ...

    @property
    def proven(self) -> int: ...

    @property
    def trace(self) -> Sequence[str]: ...

    def run(self, bars: int) -> None: ...


class WorldKind(NamedTuple):
    """bars: of one world, without another choice. faults: the names that ``--without`` knows."""

    make: Callable[[int, frozenset[str]], PlayableWorld]
    bars: int
    faults: tuple[str, ...]


KINDS = {
    "pipeline": WorldKind(
        lambda seed, without: World(seed, without=without), 200, tuple(each.name for each in fields(Faults))
    ),
    "daemon": WorldKind(lambda seed, without: DaemonWorld(seed, without=without), 150, tuple(fault_names())),
}


class Played(NamedTuple):
    """What one process has played."""

    worlds: int
    bars: int
    proven: int
    failed: tuple[int, ...]


def broken_by(kind: WorldKind, seed: int, bars: int, without: frozenset[str]) -> tuple[PlayableWorld, Exception | None]:
    """Plays one world; any error of the code is a broken promise, too."""
    world = kind.make(seed, without)
    try:
        world.run(bars)
    except Exception as error:  # noqa: BLE001  # reported with the seed
        return world, error
    return world, None


def shrink(kind: WorldKind, seed: int, bars: int, without: frozenset[str]) -> frozenset[str]:
    """Turns off faults without which the seed still fails, many at once first, then each of them, in bounded time."""
    until_s = time.monotonic() + _SHRINK_S
    size = len(kind.faults)
    while size := size // 2:
        left = [name for name in kind.faults if name not in without]
        for start in range(0, len(left), size):
            tried = without | frozenset(left[start : start + size])
            if time.monotonic() > until_s:
                return without
            if broken_by(kind, seed, bars, tried)[1] is not None:
                without = tried
    return without


def play(name: str, seeds: range, *, bars: int, without: frozenset[str], until_s: float, go_on: bool) -> Played:
    """Plays seeds until the time is over or, unless it is to go on, the first that fails."""
    worlds, closed, proven, failed = 0, 0, 0, []
    for seed in seeds:
        world, error = broken_by(KINDS[name], seed, bars, without)
        worlds, closed, proven = worlds + 1, closed + world.bars, proven + world.proven
        if error is not None:
            failed.append(seed)
        if time.monotonic() > until_s or (failed and not go_on):
            break
    return Played(worlds, closed, proven, tuple(failed))


def silence() -> None:
    """Drops the log of the simulated worlds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    logging.disable()
