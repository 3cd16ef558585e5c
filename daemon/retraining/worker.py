"""The training process: ``python -m daemon.retraining.worker SPEC.json``, started by the supervisor.

It lowers its own priority, trains, and reports by messages on standard output (progress.py). It executes orders from
standard input between two steps. It ends with its parent: by a signal of the kernel, or else at the end of standard
input. A worker that is started by hand therefore needs a standard input that stays open.

Exit codes: 0 finished, 2 usage, 70 training failed, 75 cancelled or the parent is gone, 78 invalid specification.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from daemon.errors import EXIT_CONFIG, EXIT_DONE, EXIT_INTERNAL, EXIT_TRY_AGAIN, EXIT_USAGE
from daemon.retraining.priority import die_with_parent, limit_threads, lower_priority, spare_cores
from daemon.retraining.progress import Alive, Finished, Log, Message, Order, Reported, Started, TrainingFailed, encode
from daemon.retraining.sandbox import limit_resources, memory_limit
from models.specification import Progress, TrainingSpec

LONGEST_PAUSE_S = 120.0  # a missing resume must not stop training for ever
_ALIVE_EVERY_S = 5.0
_PROGRESS_EVERY_S = 0.2


class TrainingCancelled(Exception):
    """The daemon asked training to stop."""


class Channel:
    """Sends messages to the daemon, from the training thread only; limits the rate of progress messages."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._sent_s = 0.0
        self._step: tuple[str, int] | None = None

    def send(self, message: Message) -> None:
        try:
            self._stream.write(encode(message))
        except BrokenPipeError:
            os._exit(EXIT_TRY_AGAIN)  # the daemon is gone: no result is needed
        self._sent_s = time.monotonic()

    def progress(self, progress: Progress) -> None:
        """Reports progress: every new phase and epoch, anything else five times a second at most."""
        step = (progress.phase, progress.epoch)
        if step != self._step or time.monotonic() - self._sent_s >= _PROGRESS_EVERY_S:
            self._step = step
            self.send(Reported(progress))

    def alive(self) -> None:
        if time.monotonic() - self._sent_s >= _ALIVE_EVERY_S:
            self.send(Alive())


class ControlReader:
    """Orders from the daemon: a thread reads them, ``checkpoint`` executes them between two training steps."""

    def __init__(self, stream: IO[str], channel: Channel) -> None:
        self._channel = channel
        self._stream = stream
        self._running = threading.Event()
        self._running.set()
        self._cancelled = threading.Event()
        # Not joined: a blocking read ends only when the parent does.
        threading.Thread(target=self._read_orders, name="orders", daemon=True).start()

    def checkpoint(self) -> None:
        """Returns at once, or when a pause ends. Raises TrainingCancelled."""
        self._channel.alive()
        if not self._running.is_set():
            self._wait_for_resume()
        if self._cancelled.is_set():
            raise TrainingCancelled

    def _wait_for_resume(self) -> None:
        self._channel.send(Log("paused"))
        paused_s = time.monotonic()
        while not self._running.wait(timeout=1.0):
            self._channel.alive()
            if time.monotonic() - paused_s > LONGEST_PAUSE_S:
                self._channel.send(Log(f"no resume within {LONGEST_PAUSE_S:.0f} s: training continues"))
                self._running.set()
        self._channel.send(Log("resumed"))

    def _read_orders(self) -> None:
        for line in self._stream:
            match line.strip():
                case Order.PAUSE:
                    self._running.clear()
                case Order.RESUME:
                    self._running.set()
                case Order.CANCEL:
                    self._cancelled.set()
                    self._running.set()
        os._exit(EXIT_TRY_AGAIN)


def main(arguments: Sequence[str]) -> int:
    """One training run; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m daemon.retraining.worker SPEC.json\n")
        return EXIT_USAGE
    shortfalls = (*_lower_priority(), *_limit_resources())
    channel = Channel(_reserve_standard_output())
    try:
        spec = TrainingSpec.from_json(Path(arguments[0]).read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        channel.send(TrainingFailed(f"{arguments[0]} is not a training specification: {error!r}"))
        return EXIT_CONFIG
    limit_threads(spec.threads or spare_cores())
    channel.send(Started(os.getpid(), shortfalls))
    return _train(spec, channel, ControlReader(sys.stdin, channel))


def _lower_priority() -> tuple[str, ...]:
    shortfalls = lower_priority()
    try:
        die_with_parent()
    except OSError as error:
        return (*shortfalls, f"die with parent: {error.strerror}")
    return shortfalls


def _limit_resources() -> tuple[str, ...]:
    try:
        memory_bytes = memory_limit()
    except (OSError, ValueError) as error:
        return (f"limit of memory: {error}", *limit_resources(memory_bytes=None))
    return limit_resources(memory_bytes=memory_bytes)


def _reserve_standard_output() -> IO[bytes]:
    """Keeps the pipe to the daemon for messages; standard output of libraries goes to standard error from now on."""
    own = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return own


def _train(spec: TrainingSpec, channel: Channel, orders: ControlReader) -> int:
    try:
        # Imported here because torch reads its thread settings when it is imported.
        from models.train import train  # noqa: PLC0415  # see above

        artifact = train(spec, on_progress=channel.progress, checkpoint=orders.checkpoint)
        scores = json.loads((artifact / "manifest.json").read_text("utf-8"))["scores"]
    except TrainingCancelled:
        return EXIT_TRY_AGAIN
    except Exception as error:  # noqa: BLE001  # every error of training is reported, and the process ends
        channel.send(_failure(error))
        return EXIT_INTERNAL
    channel.send(Finished(str(artifact), scores))
    return EXIT_DONE


def _failure(error: Exception) -> TrainingFailed:
    from models.history import UnusableBars  # noqa: PLC0415  # numpy reads its thread settings, too

    if isinstance(error, UnusableBars):
        return TrainingFailed(str(error), unusable_bars=True)
    traceback.print_exc()
    return TrainingFailed(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
