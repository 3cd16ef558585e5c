"""Tests of the control socket, server and client, over real UNIX sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import ConfigError, Retryable, Unreachable
from daemon.serving.control import (
    ControlClient,
    ControlRefused,
    ControlServer,
    check_path_length,
    search_paths,
    serving_path,
)
from tests.limits import LIMIT_S


class CommandHandler:
    """A handler that counts, fails or waits, and records whether it was cleaned up."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cleaned_up = asyncio.Event()

    async def __call__(self, command: str, arguments: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        try:
            match command:
                case "count":
                    for number in range(arguments["to"]):
                        yield {"number": number}
                case "wait":
                    yield {"event": "started"}
                    self.waiting.set()
                    await asyncio.sleep(60)
                case "busy":
                    raise Retryable("a retraining is running")
                case "broken":
                    raise RuntimeError("a secret detail")
                case _:
                    raise ValueError(f"unknown command {command!r}")
        finally:
            self.cleaned_up.set()


@pytest.fixture
def handler() -> CommandHandler:
    return CommandHandler()


@pytest.fixture
async def server(tmp_path: Path, handler: CommandHandler) -> AsyncIterator[ControlServer]:
    made = ControlServer(tmp_path / "control.sock", handler)
    await made.start()
    yield made
    await made.stop()


async def replies(client: ControlClient, command: str, **arguments: Any) -> list[dict[str, Any]]:
    async with asyncio.timeout(LIMIT_S):
        return [reply async for reply in client.stream(command, **arguments)]


async def test_replies_stream_back_in_order(server: ControlServer) -> None:
    """One line per reply, then the end."""
    client = ControlClient([server.path])
    assert await replies(client, "count", to=3) == [{"number": 0}, {"number": 1}, {"number": 2}]


async def test_the_socket_is_for_its_owner_alone(server: ControlServer) -> None:
    """Every process that can open it can send commands."""
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("command", "message", "exit_code"),
    [
        ("busy", "a retraining is running", 75),
        ("dance", "unknown command 'dance'", 2),
        ("broken", "broken failed inside the daemon, see its log", 70),
    ],
)
async def test_errors_come_back_with_their_exit_code(
    server: ControlServer, command: str, message: str, exit_code: int
) -> None:
    """The command line ends as the daemon decided, and details of a crash stay in the log."""
    with pytest.raises(ControlRefused) as refused:
        await replies(ControlClient([server.path]), command)
    assert (str(refused.value), refused.value.exit_code) == (message, exit_code)


@pytest.mark.parametrize(
    "request_line",
    [b"status\n", b"[1]\n", b'{"order": "status"}\n', b'{"command": 1}\n', b"[" * 5000 + b"\n", b"x" * 70_000 + b"\n"],
)
async def test_an_invalid_request_gets_an_error(server: ControlServer, request_line: bytes) -> None:
    """A malformed request gets an error reply."""
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(request_line)
    async with asyncio.timeout(LIMIT_S):
        assert (await reader.readline()).startswith(b'{"error":')
    writer.close()


async def test_a_client_that_leaves_ends_its_command(server: ControlServer, handler: CommandHandler) -> None:
    """Ctrl-C in the terminal leaves nothing waiting in the daemon."""
    stream = ControlClient([server.path]).stream("wait")
    assert await anext(stream) == {"event": "started"}
    await handler.waiting.wait()
    await stream.aclose()
    async with asyncio.timeout(LIMIT_S):
        await handler.cleaned_up.wait()


async def test_a_lost_connection_is_not_a_success(server: ControlServer, handler: CommandHandler) -> None:
    """Without the closing line the command did not succeed."""
    stream = ControlClient([server.path]).stream("wait")
    await anext(stream)
    await server.stop()
    with pytest.raises(Unreachable, match="the daemon went away during 'wait'"):
        await anext(stream)
    assert handler.cleaned_up.is_set()


async def test_too_many_clients_are_refused(tmp_path: Path, handler: CommandHandler) -> None:
    """Each client holds a handler; their number is bounded."""
    server = ControlServer(tmp_path / "control.sock", handler, max_clients=1)
    await server.start()
    client = ControlClient([server.path])
    first = client.stream("wait")
    await anext(first)
    with pytest.raises(ControlRefused, match="too many clients"):
        await replies(client, "count", to=1)
    await server.stop()


async def test_a_stale_socket_is_replaced(tmp_path: Path, handler: CommandHandler) -> None:
    """kill -9 leaves the file behind."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    server = ControlServer(path, handler)
    await server.start()
    assert await replies(ControlClient([path]), "count", to=1) == [{"number": 0}]
    await server.stop()
    assert not path.exists()


async def test_a_second_daemon_is_refused_and_the_first_keeps_its_socket(
    server: ControlServer, handler: CommandHandler
) -> None:
    """Only a socket without a listening process is removed."""
    with pytest.raises(Retryable, match="another forecastd listens there"):
        await ControlServer(server.path, handler).start()
    assert await replies(ControlClient([server.path]), "count", to=1) == [{"number": 0}]


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path, handler: CommandHandler) -> None:
    """It may hold a user's data."""
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="a file that is not a socket is in the way"):
        await ControlServer(path, handler).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, Retryable), (errno.EIO, Retryable), (errno.EACCES, ConfigError)]
)
async def test_a_disk_without_room_is_temporary(
    number: int, kind: type[Exception], tmp_path: Path, handler: CommandHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart may find room, so the service manager tries again; a path that cannot be used needs the operator."""

    def refused(_: object, address: str) -> None:
        raise OSError(number, os.strerror(number), address)

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(kind, match=f"control.sock: {os.strerror(number)}"):
        await ControlServer(tmp_path / "control.sock", handler).start()


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, Retryable), (errno.EACCES, ConfigError)])
def test_no_room_for_the_folder_of_the_socket_is_temporary(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(kind, match="no folder for the control socket"):
        serving_path("main", tmp_path, {})


async def test_stopping_leaves_a_successors_socket_alone(server: ControlServer) -> None:
    """The file may already belong to the next daemon."""
    server.path.unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(server.path))
        await server.stop()
        assert server.path.exists()


async def test_the_client_tries_its_paths_in_order(server: ControlServer, tmp_path: Path) -> None:
    """A dead socket earlier in the order does not hide the living one."""
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(dead))
    client = ControlClient([tmp_path / "missing.sock", dead, server.path])
    assert await replies(client, "count", to=1) == [{"number": 0}]


async def test_without_a_daemon_every_tried_path_is_named(tmp_path: Path) -> None:
    """The message shows whether the instance is wrong or no daemon runs."""
    missing = tmp_path / "missing.sock"
    with pytest.raises(Unreachable, match=rf"no running forecastd: tried {missing} \(not there\)"):
        await replies(ControlClient([missing]), "status")


def test_the_search_order_is_the_documented_one(tmp_path: Path) -> None:
    """Service, then session, then state folder."""
    environment = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert search_paths("main", tmp_path, environment) == [
        Path("/run/a/control.sock"),
        Path("/run/forecastd/main/control.sock"),
        Path("/run/user/7/forecastd/main/control.sock"),
        tmp_path / "control.sock",
    ]


def test_the_daemon_listens_in_its_runtime_directory(tmp_path: Path) -> None:
    """The directory that systemd created comes first."""
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "run")}
    assert serving_path("main", tmp_path / "state", environment) == tmp_path / "run" / "control.sock"


def test_a_path_that_the_kernel_cannot_hold_is_named_with_the_cure(tmp_path: Path) -> None:
    """sockaddr_un holds 107 bytes; the kernel's own message does not name the cause."""
    with pytest.raises(ConfigError, match=r"at most 107 fit; choose a shorter \[instance\] state_dir"):
        check_path_length(tmp_path / ("long" * 30) / "control.sock")
