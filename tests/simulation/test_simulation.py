"""The simulation: what it promises of itself, a few worlds of each kind, and the faults that it has found."""

from __future__ import annotations

import subprocess
import sys

import pytest
import structlog

from tests.paths import ROOT
from tests.simulation.faults import Faults
from tests.simulation.world import World

BARS = 60


@pytest.fixture(autouse=True)
def silent() -> None:
    """Drops the log of the simulated worlds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def test_a_seed_decides_everything() -> None:
    """Two runs of one seed see the same faults, bars and events."""
    first, second = World(3), World(3)
    first.run(BARS)
    second.run(BARS)
    assert first.faults == second.faults
    assert list(first.trace) == list(second.trace)
    assert (first.bars, first.proven) == (second.bars, second.proven)


def test_turning_a_fault_off_leaves_the_others() -> None:
    """A failing seed can be reduced fault by fault."""
    assert World(5).faults != Faults()
    assert World(5, without=frozenset({"kills_per_minute"})).faults.drop_chance == World(5).faults.drop_chance


@pytest.mark.parametrize("seed", range(1, 9))
def test_no_promise_is_broken(seed: int) -> None:
    """No proven bar is wrong, every gap is counted, and every instrument recovers once the world behaves."""
    world = World(seed)
    world.run(BARS)
    assert world.bars >= BARS


@pytest.mark.parametrize(
    "seed",
    [
        1,  # an id of 9e18 opened a gap of as many trades
        7,
        209,  # an id ten million higher, after minutes without a trade
        242,
        1795871588927,  # a venue lied by 5 s after a pause of ten minutes, and market time followed
    ],
)
def test_seeds_that_failed(seed: int) -> None:
    """Each broke a promise of an earlier state of the code."""
    World(seed).run(200)


@pytest.mark.parametrize("seed", [102, 109, 110, 117])
def test_a_lie_about_the_time_closes_nothing_of_the_future(seed: int) -> None:
    """Broken where market time copies what a venue's time endpoint says."""
    world = World(seed)
    assert world.faults.time_lies_per_minute
    world.run(100)


@pytest.mark.slow
def test_the_command_plays_in_several_processes() -> None:
    """Each process plays seeds of its own, and the result counts them all."""
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "2", "--first", "3", "--bars", "20"]
    done = subprocess.run([*command, "--processes", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pipeline: 2 worlds from seed 3 on" in done.stdout
    assert "in 2 processes, 0 failed" in done.stdout
