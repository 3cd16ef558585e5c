"""The engine of several machines: a Ray cluster (extra ``forecastd[ray]``), or one that is started here.

Every machine of the cluster needs this version of forecastd, Python and Ray. Ray runs what it is sent: its ports belong
on a network that is trusted, or behind its own token authentication (``RAY_AUTH_MODE=token``), which a cluster that is
started here has.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Generic

from daemon.errors import EXIT_UNAVAILABLE, Fatal
from daemon.executing.base import ATTEMPTS, Cancelled, Result, Step, Task, Work, WorkerLost
from daemon.executing.worker import TaskDone, TaskFailed, attempt

_POLL_S = 0.25  # how often steps are asked for
_KNOCK_S = 5.0
_AHEAD = 2  # tasks sent for each core of the cluster; the rest wait here, where they take no memory twice
_LIMITS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1"),
    "OMP_WAIT_POLICY": "passive",
}


class RayUnreachable(Fatal):
    """There is no cluster at the address, or none could be started."""

    exit_code = EXIT_UNAVAILABLE


class RayCluster:
    """Tasks on the cluster at ``address``, without one on a cluster of ``workers`` cores that is started here.

    A task takes one core, and where ``gpu`` says so one GPU: a task that asks for none sees none. ``map`` connects and
    disconnects.
    """

    def __init__(self, *, address: str | None, workers: int, gpu: bool = False) -> None:
        """Raises ImportError without the extra; ``check_engine`` says so in words."""
        self.address = address
        self.workers = workers
        self._needs = {"num_cpus": 1, "num_gpus": 1 if gpu else 0}
        self._ray = _import_ray(own_cluster=address is None)

    def map(
        self,
        work: Work[Task, Step, Result],
        tasks: Sequence[Task],
        *,
        on_step: Callable[[int, Step], None] = lambda _index, _step: None,
        on_done: Callable[[int, Result], None] = lambda _index, _result: None,
        on_lost: Callable[[int, str], None] = lambda _index, _reason: None,
    ) -> list[Result]:
        """See ``Executor.map``. Raises RayUnreachable too."""
        results: dict[int, Result] = {}
        try:
            self._connect()
            _Job(
                self._ray,
                needs=self._needs,
                work=work,
                tasks=tasks,
                results=results,
                on_step=on_step,
                on_done=on_done,
                on_lost=on_lost,
            ).run()
        except KeyboardInterrupt:
            raise Cancelled(f"cancelled; {len(results)} of {len(tasks)} tasks were done") from None
        finally:
            self._ray.shutdown()  # what a job has begun ends with its connection
        return [results[index] for index in range(len(tasks))]

    def _connect(self) -> None:
        if self.address is not None:
            _check_reachable(self.address)
        where: dict[str, Any] = {"address": self.address}
        if self.address is None:
            where = {"address": "local", "num_cpus": self.workers, "include_dashboard": False}
        try:
            self._ray.init(**where, logging_level="error", log_to_driver=False, runtime_env={"env_vars": _LIMITS})
        except Exception as error:
            # Whatever Ray raises here, of a dozen classes: there is no cluster, and its first line says why.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            at = f"no Ray cluster answers at {self.address}" if self.address else "no Ray cluster could be started here"
            raise RayUnreachable(f"--engine ray: {at}: {reason}") from error


class _Job(Generic[Task, Step, Result]):
    """One call of ``map``: the waiting tasks, the running tasks, and the results."""

    def __init__(
        self,
        ray: ModuleType,
        *,
        needs: Mapping[str, int],
        work: Work[Task, Step, Result],
        tasks: Sequence[Task],
        results: dict[int, Result],
        on_step: Callable[[int, Step], None],
        on_done: Callable[[int, Result], None],
        on_lost: Callable[[int, str], None],
    ) -> None:
        self._ray = ray
        self._tasks = tasks
        self._results = results
        self._on_step, self._on_done, self._on_lost = on_step, on_done, on_lost
        self._waiting = deque(range(len(tasks)))
        self._begun = [0] * len(tasks)
        self._under_way: dict[Any, int] = {}
        self._work = work
        # This class retries; Ray would do so without calling on_lost.
        self._perform = ray.remote(**needs, max_retries=0)(_perform)
        self._steps = _steps_here(ray)
        self._asked = self._steps.take.remote()

    def run(self) -> None:
        while len(self._results) < len(self._tasks):
            self._send()
            ready, _ = self._ray.wait([*self._under_way], num_returns=1, timeout=_POLL_S)
            self._report_steps()
            for reference in ready:
                self._finish(reference, self._under_way.pop(reference))

    def _send(self) -> None:
        capacity = _AHEAD * max(int(self._ray.cluster_resources().get("CPU", 0)), 1) - len(self._under_way)
        for _ in range(min(capacity, len(self._waiting))):
            index = self._waiting.popleft()
            self._begun[index] += 1
            reference = self._perform.remote(self._work, index, self._tasks[index], self._steps)
            self._under_way[reference] = index

    def _finish(self, reference: Any, index: int) -> None:
        try:
            message = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._begin_again(index, _reason(error))
            return
        if isinstance(message, TaskFailed):
            raise message.error
        self._results[index] = message.result
        self._on_done(index, message.result)

    def _begin_again(self, index: int, reason: str) -> None:
        if self._begun[index] >= ATTEMPTS:
            raise WorkerLost(f"task {index + 1} of {len(self._tasks)} was lost {ATTEMPTS} times, at last to {reason}")
        self._waiting.appendleft(index)
        self._on_lost(index, reason)

    def _report_steps(self) -> None:
        """Reports the steps since the last call, if the actor has answered; never waits."""
        ready, _ = self._ray.wait([self._asked], timeout=0)
        if not ready:
            return
        for index, step in self._ray.get(self._asked).items():
            if index not in self._results:
                self._on_step(index, step)
        self._asked = self._steps.take.remote()


class _Steps:
    """An actor on the driver's machine that keeps only the newest step of each task, so its size is bounded."""

    def __init__(self) -> None:
        self._newest: dict[int, Any] = {}

    def put(self, index: int, step: Any) -> None:
        self._newest[index] = step

    def take(self) -> dict[int, Any]:
        newest, self._newest = self._newest, {}
        return newest


def _steps_here(ray: ModuleType) -> Any:
    """On the driver's own machine: one that is lost must not take it along."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415  # an extra

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Steps).remote()


def _perform(work: Callable[..., Any], index: int, task: Any, steps: Any) -> TaskDone | TaskFailed:
    """Performs one task on the cluster and reports its steps, a few times a second at most."""
    reported_s = -1.0

    def report_step(step: Any) -> None:
        nonlocal reported_s
        if time.monotonic() - reported_s >= _POLL_S:
            reported_s = time.monotonic()
            steps.put.remote(index, step)

    return attempt(work, index, task, report_step)


def _reason(error: Exception) -> str:
    """What Ray lost, in its own name for it: ``NodeDiedError`` or ``WorkerCrashedError``."""
    return type(error).__name__


def _check_reachable(address: str) -> None:
    """Raises RayUnreachable where no cluster answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise RayUnreachable(
            f"--engine ray: the address was {address!r}; write the head node's HOST:PORT, e.g. head:6379"
        )
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise RayUnreachable(f"--engine ray: no Ray cluster answers at {address}: {error.strerror or error}") from error


def _import_ray(*, own_cluster: bool) -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would replace the environment of a program that was started by uv with one of its own.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if own_cluster and "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray  # noqa: PLC0415  # an extra
    import ray.exceptions  # noqa: PLC0415  # an extra

    module: ModuleType = ray
    return module
