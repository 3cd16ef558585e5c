"""What a simulation replaces of a daemon: its threads, its connection to the broker, and the reading of GPUs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from daemon.forecasting.worker_thread import WorkerThread
from daemon.publishing.connection import Connect, connect
from daemon.serving.gpu import GpuCollector
from daemon.serving.metrics import Metrics
from daemon.store.thread import StoreThread


def collect_gpu_metrics(metrics: Metrics) -> Coroutine[Any, Any, None]:
    """Reads the GPUs until it is cancelled."""
    return GpuCollector(metrics).run()


class Ports(NamedTuple):
    """The real ones by default. Sockets, time and files need none: the event loop, the clock and a folder give them."""

    connect_broker: Connect = connect
    store_thread: Callable[..., StoreThread] = StoreThread
    worker_thread: Callable[..., WorkerThread] = WorkerThread
    gpu_metrics: Callable[[Metrics], Coroutine[Any, Any, None]] = collect_gpu_metrics
