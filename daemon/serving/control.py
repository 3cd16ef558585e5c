"""Server and client of the control socket: one JSON line in, JSON lines out until ``{"done": true}``.

Request: ``{"command": "retrain", ...arguments}``. Replies: the objects that the handler yields, then
``{"done": true}``, or ``{"error": "...", "exit_code": 75}``. A connection that ends without either means
that the daemon ended. Mode 0600: only the owner of the file may connect and send commands.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from daemon.errors import EXIT_INTERNAL, EXIT_USAGE, ConfigError, ForecastdError, Retryable, Unreachable

log = structlog.get_logger(__name__)

SOCKET_NAME = "control.sock"
PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 with the closing NUL
REQUEST_BYTES = 64 * 1024
REPLY_BYTES = 64 * 1024 * 1024  # the status of 2,000 symbols takes 10 to 20 MB
REQUEST_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
_TEMPORARY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

Reply = dict[str, Any]
Handler = Callable[[str, dict[str, Any]], AsyncGenerator[Reply, None]]


class _PeerDisconnected(Exception):
    """The peer closed its connection or stopped reading."""


class ControlRefused(ForecastdError):
    """The daemon replied with an error; ``exit_code`` is the exit code for the command."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def search_paths(instance: str, state_dir: Path, environment: Mapping[str, str]) -> list[Path]:
    """The possible paths of the socket of ``instance``, in the order in which clients try them."""
    folders: list[Path] = []
    if runtime := environment.get("RUNTIME_DIRECTORY"):
        folders.append(Path(runtime.split(":")[0]))
    folders.append(Path("/run/forecastd") / instance)
    if session := environment.get("XDG_RUNTIME_DIR"):
        folders.append(Path(session) / "forecastd" / instance)
    folders.append(state_dir)
    return list(dict.fromkeys(folder / SOCKET_NAME for folder in folders))


def serving_path(instance: str, state_dir: Path, environment: Mapping[str, str]) -> Path:
    """The path on which the daemon listens: the first search path that is writable.

    Raises ConfigError where none is, and Retryable where the disk has no room for one now.
    """
    full: OSError | None = None
    for path in search_paths(instance, state_dir, environment):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            full = error if error.errno in _TEMPORARY else full
        else:
            if os.access(path.parent, os.W_OK | os.X_OK):
                return path
    if full is not None:
        raise Retryable(f"no folder for the control socket: {full.filename}: {full.strerror}; free space there")
    raise ConfigError([f"no folder for the control socket: [instance] state_dir {state_dir} is not writable"])


class ControlServer:
    """Serves commands on ``path``. ``handler(command, arguments)`` yields the replies; it is closed early when the
    client disconnects, so it cleans up in ``finally``. ForecastdError and ValueError become error replies.
    """

    def __init__(self, path: Path, handler: Handler, *, max_clients: int = 16) -> None:
        self.path = path
        self._handler = handler
        self._clients: set[asyncio.Task[None]] = set()
        self._max_clients = max_clients  # each client holds one handler
        self._server: asyncio.Server | None = None
        self._inode: int | None = None

    async def start(self) -> None:
        """Listens. Raises ConfigError for an unusable path, and Retryable when another daemon listens there or the
        system has no room now.
        """
        check_path_length(self.path)
        await _remove_stale(self.path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(self.path))
            # No client can connect before listen(), so the wider mode is never usable.
            self.path.chmod(0o600)
            self._inode = self.path.stat().st_ino
            self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=REQUEST_BYTES)
        except OSError as error:
            listening.close()
            if error.errno in _TEMPORARY:
                raise Retryable(f"control socket {self.path}: {error.strerror}; free space or files there") from error
            raise ConfigError([f"control socket {self.path}: {error.strerror}"]) from error

    async def stop(self) -> None:
        """Closes every connection and removes the socket file, unless another process has replaced it."""
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # asyncio runs this callback as a task
        self._clients.add(task)
        try:
            if len(self._clients) > self._max_clients:
                await _write(
                    writer, {"error": "too many clients on the control socket", "exit_code": Retryable.exit_code}
                )
                return
            await self._serve_client(reader, writer)
        except (_PeerDisconnected, ConnectionError) as error:
            log.debug("control_client_left", reason=repr(error))
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
            command, arguments = _parse_request(line)
        except TimeoutError:
            return
        except ValueError as error:
            await _write(writer, {"error": str(error), "exit_code": EXIT_USAGE})
            return
        answering = asyncio.create_task(self._answer(command, arguments, writer), name=f"control.{command}")
        leaving = asyncio.create_task(_end_of(reader), name="control.client_leaves")
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()
            outcomes = await asyncio.gather(answering, leaving, return_exceptions=True)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]

    async def _answer(self, command: str, arguments: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        try:
            async with aclosing(self._handler(command, arguments)) as replies:
                async for reply in replies:
                    if (size := await _write(writer, reply)) > REPLY_BYTES:
                        log.error("control_reply_too_long", command=command, bytes=size)
                        excess = f"{command}: a reply of {size} bytes exceeds the limit of {REPLY_BYTES}"
                        await _write(writer, {"error": excess, "exit_code": EXIT_INTERNAL})
                        return
        except _PeerDisconnected:
            raise
        except (ForecastdError, ValueError) as error:
            exit_code = error.exit_code if isinstance(error, ForecastdError) else EXIT_USAGE
            await _write(writer, {"error": str(error), "exit_code": exit_code})
        except Exception:  # a defect in one command must not end the daemon; the log has its traceback
            log.exception("control_command_failed", command=command)
            await _write(
                writer, {"error": f"{command} failed inside the daemon, see its log", "exit_code": EXIT_INTERNAL}
            )
        else:
            await _write(writer, {"done": True})


class ControlClient:
    """Connects to the first of ``paths`` that answers and streams the replies."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    async def stream(self, command: str, **arguments: Any) -> AsyncGenerator[Reply, None]:
        """The replies to ``command``. Raises Unreachable without a daemon, ControlRefused for its error reply."""
        reader, writer = await self._connect()
        try:
            await _write(writer, {"command": command, **arguments})
            while line := await reader.readline():
                reply: Reply = msgspec.json.decode(line, type=dict[str, Any])
                if reply.get("done") is True:
                    return
                if "error" in reply:
                    raise ControlRefused(reply["error"], exit_code=reply.get("exit_code", EXIT_INTERNAL))
                yield reply
        except (ConnectionError, _PeerDisconnected) as error:
            raise Unreachable(f"the daemon went away during {command!r}: {error}") from error
        except ValueError as error:  # of readline a line over the limit, of msgspec anything but a JSON object
            raise Unreachable(f"the reply to {command!r} cannot be read: {error}") from error
        finally:
            writer.close()
        raise Unreachable(f"the daemon went away during {command!r}; see its log")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tried: list[str] = []
        for path in self._paths:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return await asyncio.open_unix_connection(path, limit=REPLY_BYTES)
            except OSError as error:
                tried.append(f"{path} ({_connect_error(error)})")
        raise Unreachable(f"no running forecastd: tried {', '.join(tried)}")


def check_path_length(path: Path) -> None:
    """Raises ConfigError when the kernel cannot hold the path of a UNIX socket."""
    length = len(os.fsencode(path))
    if length > PATH_BYTES:
        raise ConfigError(
            [f"control socket {path}: {length} bytes, at most {PATH_BYTES} fit; choose a shorter [instance] state_dir"]
        )


async def _remove_stale(path: Path) -> None:
    """Removes a socket file without a listening process."""
    if (mode := _mode(path)) is None:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError([f"control socket {path}: a file that is not a socket is in the way; move it"])
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_unix_connection(path)
    except ConnectionRefusedError:
        os.unlink(path)  # noqa: PTH108  # fast enough for the event loop
        return
    except OSError as error:
        raise Retryable(f"control socket {path}: in use, but it does not answer ({_connect_error(error)})") from error
    writer.close()
    raise Retryable(
        f"control socket {path}: another forecastd listens there; stop it or choose another [instance] name"
    )


def _parse_request(line: bytes) -> tuple[str, dict[str, Any]]:
    if not line.endswith(b"\n"):
        raise ValueError("the request was not one line of JSON")
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the request was not a JSON object: {error}") from error
    match request:
        case {"command": str(command), **arguments}:
            return command, arguments
    raise ValueError('the request had no "command"')


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Returns when the client closes its side, or has sent more after its request than any client needs."""
    excess = 0
    while excess <= REQUEST_BYTES and (chunk := await reader.read(REQUEST_BYTES)):
        excess += len(chunk)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> int:
    """Sends one line and returns its length in bytes; a reply over the limit is not sent."""
    line = msgspec.json.encode(reply) + b"\n"
    if len(line) > REPLY_BYTES:
        return len(line)
    writer.write(line)
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await writer.drain()
    except (ConnectionError, TimeoutError) as error:
        raise _PeerDisconnected(repr(error)) from error
    return len(line)


def _mode(path: Path) -> int | None:
    """The file's type and permissions, None where there is no file."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _connect_error(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "not there"
    if isinstance(error, ConnectionRefusedError):
        return "no process listens"
    return error.strerror or "timed out"
