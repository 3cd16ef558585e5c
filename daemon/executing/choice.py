"""Selection of the task engine from a command's options."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

from daemon.errors import EXIT_USAGE, Fatal
from daemon.executing.base import Executor
from daemon.executing.local import InProcess, Processes
from daemon.retraining.priority import spare_cores

ENGINES = ("local", "ray")


class EngineRefused(Fatal):
    """The engine does not exist, or cannot be used here."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Engine options of a command. workers: processes at a time, None for what suits the machine.

    ray_address: of a Ray cluster, None for that in the environment, or one that is started here.
    """

    engine: str = "local"
    workers: int | None = None
    ray_address: str | None = None

    @property
    def cluster(self) -> str | None:
        """The address of the Ray cluster that is there already."""
        return self.ray_address or os.environ.get("RAY_ADDRESS") or None


def check_engine(options: EngineOptions) -> None:
    """Checks the options before any data is read. Raises EngineRefused."""
    if options.engine not in ENGINES:
        raise EngineRefused(f"--engine was {options.engine!r}; there are {', '.join(ENGINES)}")
    if options.engine == "ray" and find_spec("ray") is None:
        raise EngineRefused('--engine ray: Ray is not installed: pip install "forecastd[ray]"')
    if options.engine == "ray" and options.workers and options.cluster:
        raise EngineRefused(
            "--workers counts processes of this machine, and a Ray cluster uses its own cores: leave --workers out"
        )
    if options.engine != "ray" and options.ray_address:
        raise EngineRefused("--ray-address needs --engine ray: add that")


def make_executor(options: EngineOptions, *, tasks: int, on_gpu: bool) -> Executor:
    """The engine for ``tasks`` tasks. Raises EngineRefused.

    on_gpu: whether they compute on a GPU: here they would only take turns on it, on a cluster each takes one.
    """
    check_engine(options)
    if options.engine == "ray":
        from daemon.executing.ray_engine import RayCluster  # noqa: PLC0415  # an extra

        return RayCluster(address=options.cluster, workers=options.workers or spare_cores(), gpu=on_gpu)
    workers = options.workers or (1 if on_gpu else spare_cores())
    return InProcess() if min(workers, tasks) <= 1 else Processes(workers)
