"""Tests of what the control socket and its client accept: long replies, and what follows a request."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.errors import Unreachable
from daemon.serving import control
from daemon.serving.control import ControlClient, ControlRefused, ControlServer
from daemon.serving.status import (
    AttentionStatus,
    BarStatus,
    ForecastStatus,
    HorizonStatus,
    StatusDocument,
    SymbolStatus,
)
from tests.daemon.serving.status_documents import status_document
from tests.limits import LIMIT_S

MEGABYTE = 1_000_000


def status_of(symbols: int) -> StatusDocument:
    """The status of so many symbols, each with everything that a symbol can have."""
    one = SymbolStatus(
        venue="bybit_linear",
        symbol="1000000BABYDOGE-USDT",
        state="live",
        reason="x" * 500,
        price=0.001234567890123,
        last_trade_at="2026-01-05T13:00:02.123456Z",
        bar=BarStatus(close_time="2026-01-05T13:00:00Z", completeness="proven", missing_trades=0, revision=0, trades=9),
        forecast=ForecastStatus(
            bar_close="2026-01-05T13:00:00Z",
            issued_at="2026-01-05T13:00:02.114Z",
            source="model",
            kind="attention_lstm",
            reference_price=0.001234567890123,
            horizons=[
                HorizonStatus(bars=n, median=0.1234567890123, low_80=0.1234567890123, high_80=0.12345, prob_up=0.5)
                for n in range(24)
            ],
            attention_top=AttentionStatus(bars_ago=1, weight=0.123456789, weights=[0.0123456789012345] * 168),
        ),
    )
    return status_document([one] * symbols)


class Commands:
    """``status`` of a number of symbols, ``fill`` with a reply of so many bytes, ``wait`` until the client leaves."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, command: str, arguments: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        if command == "status":
            yield msgspec.to_builtins(status_of(arguments["symbols"]))
        elif command == "fill":
            yield {"text": "x" * arguments["bytes"]}
        else:
            self.waiting.set()
            try:
                await asyncio.sleep(60)
            finally:
                self.left.set()
            yield {}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[ControlServer, None]:
    made = ControlServer(tmp_path / "control.sock", Commands())
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("symbols", [26, 27, 2_000])
async def test_the_status_of_many_symbols_arrives_whole(server: ControlServer, symbols: int) -> None:
    """27 symbols once exceeded the line limit of the client."""
    async for reply in ControlClient([server.path]).stream("status", symbols=symbols):
        assert msgspec.convert(reply, StatusDocument) == status_of(symbols)


async def test_a_reply_over_the_limit_is_an_error_that_names_it(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon says that the reply is too long, on a line that the client can read."""
    monkeypatch.setattr(control, "REPLY_BYTES", MEGABYTE)
    with pytest.raises(ControlRefused, match="fill: a reply of 2000012 bytes exceeds the limit of 1000000") as refused:
        await anext(ControlClient([server.path]).stream("fill", bytes=2 * MEGABYTE))
    assert refused.value.exit_code == 70


@pytest.mark.parametrize("line", [b"x" * 2 * MEGABYTE, b"nonsense\n", b"[1]\n", b"\xff\n"])
async def test_a_client_reports_a_reply_that_it_cannot_read(
    tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, no traceback: another program may listen there."""
    monkeypatch.setattr(control, "REPLY_BYTES", MEGABYTE)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(line)
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "control.sock"):
        with pytest.raises(Unreachable, match="reply to 'status' cannot be read"):
            await anext(ControlClient([tmp_path / "control.sock"]).stream("status"))


async def flood(writer: asyncio.StreamWriter, *, megabytes: int) -> None:
    chunk = b"x" * MEGABYTE
    for _ in range(megabytes):
        writer.write(chunk)
        await asyncio.wait_for(writer.drain(), LIMIT_S)


async def test_what_follows_a_request_takes_no_memory(tmp_path: Path) -> None:
    """A client that goes on sending is disconnected; its command ends and nothing is kept."""
    commands = Commands()
    server = ControlServer(tmp_path / "control.sock", commands)
    await server.start()
    _, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"command": "wait"}\n')
    await commands.waiting.wait()
    tracemalloc.start()
    with pytest.raises(ConnectionError):
        await flood(writer, megabytes=64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await asyncio.wait_for(commands.left.wait(), LIMIT_S)
    assert peak < 8 * MEGABYTE
    await server.stop()


async def test_a_few_bytes_after_a_request_are_ignored(server: ControlServer) -> None:
    """Some programs end a line with more than a newline."""
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"command": "fill", "bytes": 3}\n\r\n\n')
    assert await asyncio.wait_for(reader.readline(), LIMIT_S) == b'{"text":"xxx"}\n'
    assert await asyncio.wait_for(reader.readline(), LIMIT_S) == b'{"done":true}\n'
    writer.close()
