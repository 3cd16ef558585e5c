"""Handle of one training process: starts it, reads its messages, sends it orders, and kills it when it misbehaves.

Every run returns an ``Ending``: also after a crash, a kill, a hang, an invalid line on standard output or a flood of
standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from daemon.retraining.progress import LONGEST_LINE_BYTES, Finished, Message, Order, TrainingFailed, decode

_STDERR_KEPT_BYTES = 4_096
_LAST_LINES = 5
_EXIT_POLL_S = 0.1
_REAP_S = 5.0  # a killed process that is still there hangs in the kernel


class State(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """How long, in wall seconds, a training process may be silent, linger after its order to stop, and run at all."""

    silence_s: float = 600.0
    cancel_s: float = 10.0
    run_s: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the process ended. ``reason`` is None for a finished run, ``artifact`` for any other.

    unusable_bars: the run failed because nothing can be trained on its bars.
    """

    state: State
    artifact: Path | None = None
    reason: str | None = None
    unusable_bars: bool = False
    scores: Mapping[str, Any] = field(default_factory=dict)


class Child:
    """A training process. ``run`` once; orders are accepted at any time, also before and after the run."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], limits: ProcessLimits) -> None:
        self._command = command
        self._environment = environment
        self._limits = limits
        self._process: _Process | None = None
        self._paused = False
        self._stderr = b""
        self._result: Finished | TrainingFailed | None = None
        self._cancelled: str | None = None
        self._killed: str | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------------- orders

    def pause(self) -> None:
        self._paused = True
        self._order(Order.PAUSE)

    def resume(self) -> None:
        self._paused = False
        self._order(Order.RESUME)

    def cancel(self, reason: str) -> None:
        """Asks the process to stop between two steps; kills it if it does not within ``limits.cancel_s``."""
        self._cancelled = self._cancelled or reason
        self._order(Order.CANCEL)
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(self._limits.cancel_s, self._kill_group)

    def stop(self, reason: str) -> None:
        """Ends the process at once; the run counts as cancelled."""
        self._cancelled = self._cancelled or reason
        self._kill_group()

    # ---------------------------------------------------------------- life

    async def run(self, on_message: Callable[[Message], None]) -> Ending:
        """Starts the process, passes its messages to ``on_message`` and returns how it ended.

        The process and all its children are gone on return, also after a cancellation or an error of ``on_message``.
        """
        if self._cancelled is not None:
            return Ending(state=State.CANCELLED, reason=self._cancelled)
        try:
            self._process = await _start(self._command, self._environment)
        except OSError as error:
            return Ending(state=State.FAILED, reason=f"{self._command[0]} does not start: {error.strerror}")
        return await self._supervise(self._process, on_message)

    async def _supervise(self, process: _Process, on_message: Callable[[Message], None]) -> Ending:
        # A child that outlives the process would hold its pipes open, and reading them would not end.
        cleanup = asyncio.create_task(self._kill_group_after_exit(process))
        errors = asyncio.create_task(self._keep_last_errors(process.stderr))
        try:
            self._repeat_orders()
            await self._read_messages(process.stdout, on_message)
            await asyncio.wait({cleanup}, timeout=self._limits.cancel_s)
            if not cleanup.done():
                self._kill("did not end after its last line")
        finally:
            self._kill_group()
            if self._deadline is not None:
                self._deadline.cancel()
            await asyncio.wait({cleanup, errors}, timeout=_REAP_S)
            cleanup.cancel()
            errors.cancel()
            process.transport.close()
            await asyncio.sleep(0)  # the pipes close on the loop's next turn
        return self._ending(process.returncode)

    def _repeat_orders(self) -> None:
        """Sends the orders that were given while the process was being started."""
        if self._cancelled is not None:
            self._kill_group()
        elif self._paused:
            self._order(Order.PAUSE)

    async def _kill_group_after_exit(self, process: _Process) -> None:
        while process.returncode is None:  # noqa: ASYNC110  # asyncio has no event for the exit alone
            await asyncio.sleep(_EXIT_POLL_S)
        self._kill_group()

    async def _read_messages(self, stdout: asyncio.StreamReader, on_message: Callable[[Message], None]) -> None:
        """Passes messages on until the result, or until the process misbehaves and is killed."""
        deadline_s = asyncio.get_running_loop().time() + self._limits.run_s
        try:
            while self._result is None and (message := await self._next_message(stdout, deadline_s)):
                on_message(message)
                if isinstance(message, Finished | TrainingFailed):
                    self._result = message
        except _Misbehaved as error:
            self._kill(str(error))

    async def _next_message(self, stdout: asyncio.StreamReader, deadline_s: float) -> Message | None:
        """The next message, None at the end of the output. Raises _Misbehaved."""
        left_s = deadline_s - asyncio.get_running_loop().time()
        try:
            line = await asyncio.wait_for(stdout.readline(), min(left_s, self._limits.silence_s))
        except TimeoutError as error:
            if left_s < self._limits.silence_s:
                raise _Misbehaved(f"still running after {self._limits.run_s:g} s") from error
            raise _Misbehaved(f"hung: silent for {self._limits.silence_s:g} s") from error
        except ValueError as error:
            raise _Misbehaved(f"wrote an invalid line: a line of more than {LONGEST_LINE_BYTES} bytes") from error
        try:
            return decode(line) if line else None
        except ValueError as error:
            raise _Misbehaved(f"wrote an invalid line: {error}") from error

    async def _keep_last_errors(self, stderr: asyncio.StreamReader) -> None:
        while chunk := await stderr.read(LONGEST_LINE_BYTES):
            self._stderr = (self._stderr + chunk)[-_STDERR_KEPT_BYTES:]

    # ---------------------------------------------------------------- endings

    def _order(self, order: Order) -> None:
        if self._process is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(f"{order}\n".encode())

    def _kill(self, reason: str) -> None:
        self._killed = self._killed or reason
        self._kill_group()

    def _kill_group(self) -> None:
        """Kills the process and all its children that still run."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _ending(self, exit_code: int | None) -> Ending:
        if self._cancelled is not None:
            return Ending(state=State.CANCELLED, reason=self._cancelled)
        if isinstance(self._result, Finished):  # the artifact is complete: the exit code does not matter
            return Ending(state=State.FINISHED, artifact=Path(self._result.artifact), scores=self._result.scores)
        if isinstance(self._result, TrainingFailed):
            unusable = self._result.unusable_bars
            return Ending(state=State.FAILED, reason=self._result.reason, unusable_bars=unusable)
        reason = self._killed or _exit_reason(exit_code)
        return Ending(state=State.FAILED, reason=f"{reason}{self._last_error_lines()}")

    def _last_error_lines(self) -> str:
        lines = self._stderr.decode(errors="replace").splitlines()[-_LAST_LINES:]
        return "".join(f"\n  {line}" for line in lines)


class _Misbehaved(Exception):
    """The process hangs, exceeds its run time or breaks the protocol; the message says which."""


class _Process(NamedTuple):
    """A running process. asyncio's own class cannot be closed, and waits for every other holder of its pipes."""

    transport: asyncio.SubprocessTransport
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    @property
    def pid(self) -> int:
        return self.transport.get_pid()

    @property
    def returncode(self) -> int | None:
        return self.transport.get_returncode()


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> _Process:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=LONGEST_LINE_BYTES, loop=loop),
        *command,
        env=environment,
        start_new_session=True,  # Ctrl-C in a terminal goes to the daemon alone, which then ends the run
    )
    if protocol.stdin is None or protocol.stdout is None or protocol.stderr is None:
        raise RuntimeError("the process was started without pipes")
    return _Process(transport, protocol.stdin, protocol.stdout, protocol.stderr)


def _exit_reason(exit_code: int | None) -> str:
    """The exit code as the reason of a failure."""
    if exit_code is None:
        return "cannot be killed"
    if exit_code == 0:
        return "ended without a result"
    if exit_code > 0:
        return f"ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else f"signal {-exit_code}"
    hint = " (by hand, or because memory ran out)" if -exit_code == signal.SIGKILL else ""
    return f"killed by {name}{hint}"
