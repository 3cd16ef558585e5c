"""``python -m tests.simulation``: plays seeds until the time is over, or the first one that breaks a promise."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields

import structlog

from tests.simulation.faults import Faults
from tests.simulation.invariants import InvariantBroken
from tests.simulation.world import World

_BROKEN = (InvariantBroken, AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_FAULTS = tuple(each.name for each in fields(Faults))


def broken_by(seed: int, bars: int, without: frozenset[str]) -> tuple[World, Exception | None]:
    """Plays one world; an assertion or any other error of the code is a broken promise, too."""
    world = World(seed, without=without)
    try:
        world.run(bars)
    except (
        InvariantBroken,
        AssertionError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        return world, error
    return world, None


def shrink(seed: int, bars: int, without: frozenset[str]) -> frozenset[str]:
    """Turns off every fault without which the seed still fails."""
    for name in _FAULTS:
        tried = without | {name}
        if broken_by(seed, bars, tried)[1] is not None:
            without = tried
    return without


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=1_000_000_000, help="how many")
    parser.add_argument("--first", type=int, help="the first seed; by default others at every run")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--bars", type=int, default=200, help="bars of one world")
    parser.add_argument("--without", default="", help="faults to turn off, separated by commas")
    parser.add_argument("--go-on", action="store_true", help="count the failing seeds instead of ending at the first")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    without = frozenset(filter(None, arguments.without.split(",")))
    started_s, bars, proven, failed, played = time.monotonic(), 0, 0, [], 0
    first = arguments.first or time.time_ns() // 10**6
    for seed in range(first, first + arguments.seeds):
        world, error = broken_by(seed, arguments.bars, without)
        bars, proven, played = bars + world.bars, proven + world.proven, played + 1
        if error is not None:
            failed.append(seed)
            if not arguments.go_on:
                report(seed, arguments.bars, without)
                break
        if time.monotonic() - started_s > arguments.seconds:
            break
    wall_s = time.monotonic() - started_s
    rate = f"{bars / wall_s:.0f} bars a second"
    print(f"{played} seeds from {first} on, {bars} bars, {proven} proven or empty, {rate}, {len(failed)} failed")
    if failed:
        print("failing seeds:", *failed[:50])
    sys.exit(bool(failed))


def report(seed: int, bars: int, without: frozenset[str]) -> None:
    """The failing seed with as few faults as it takes, and what happened last."""
    needed = shrink(seed, bars, without)
    world, error = broken_by(seed, bars, needed)
    print(*world.trace, sep="\n")
    print(f"seed {seed}: {type(error).__name__}: {error}")
    options = f"--first {seed} --seeds 1 --bars {bars} --without {','.join(sorted(needed))}"
    print(f"again with: python -m tests.simulation {options}")


if __name__ == "__main__":
    main()
