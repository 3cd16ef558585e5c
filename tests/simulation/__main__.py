"""``python -m tests.simulation``: plays seeds until the time is over, or the first one that breaks a promise."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from functools import partial

from tests.simulation.playing import KINDS, Played, broken_by, play, shrink, silence


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--world", choices=[*KINDS, "both"], default="pipeline", help="around what the world is made")
    parser.add_argument("--seeds", type=int, default=1_000_000_000, help="how many")
    parser.add_argument("--first", type=int, help="the first seed; by default others at every run")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all kinds of worlds together")
    parser.add_argument("--bars", type=int, help="bars of one world")
    parser.add_argument("--without", default="", help="faults to turn off, separated by commas")
    parser.add_argument("--go-on", action="store_true", help="count the failing seeds instead of ending at the first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # else the order of sets of strings differs from run to run
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606  # itself
    silence()
    names = list(KINDS) if arguments.world == "both" else [arguments.world]
    failed = [name for name in names if not _play_kind(name, arguments, arguments.seconds / len(names))]
    sys.exit(bool(failed))


def _play_kind(name: str, arguments: argparse.Namespace, seconds: float) -> bool:
    """Plays worlds of one kind in all processes; whether every promise was kept."""
    kind, started_s = KINDS[name], time.monotonic()
    bars = arguments.bars or kind.bars
    without = frozenset(filter(None, arguments.without.split(",")))
    first = arguments.first or time.time_ns() // 10**6
    processes = min(arguments.processes, arguments.seeds)
    shares = [range(first + each, first + arguments.seeds, processes) for each in range(processes)]
    perform = partial(play, name, bars=bars, without=without, until_s=started_s + seconds, go_on=arguments.go_on)
    if processes == 1:
        parts = [perform(shares[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(processes, initializer=silence) as pool:
            parts = pool.map(perform, shares)
    played = Played(
        worlds=sum(part.worlds for part in parts),
        bars=sum(part.bars for part in parts),
        proven=sum(part.proven for part in parts),
        failed=tuple(sorted(seed for part in parts for seed in part.failed)),
    )
    wall_s = time.monotonic() - started_s
    if played.failed and not arguments.go_on:
        _report(name, played.failed[0], bars, without)
    print(
        f"{name}: {played.worlds} worlds from seed {first} on, {played.bars} bars, {played.proven} proven or empty, "
        f"{played.bars / wall_s:.0f} bars a second in {processes} processes, {len(played.failed)} failed",
        *(["failing seeds:", *played.failed[:50]] if played.failed else []),
        flush=True,
    )
    return not played.failed


def _report(name: str, seed: int, bars: int, without: frozenset[str]) -> None:
    """The failing seed with as few faults as it takes, and what happened last."""
    needed = shrink(KINDS[name], seed, bars, without)
    world, error = broken_by(KINDS[name], seed, bars, needed)
    print(*world.trace, sep="\n")
    print(f"seed {seed}: {type(error).__name__}: {error}")
    options = f"--world {name} --first {seed} --seeds 1 --bars {bars} --without {','.join(sorted(needed))}"
    print(f"again with: python -m tests.simulation {options}")


if __name__ == "__main__":
    main()
