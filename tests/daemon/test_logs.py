"""Logging: formats, journal priorities, levels, and the limit on repeats."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.logs import REMEMBERED_MESSAGES, LogControl, RepeatFilter, is_journal, start_logging


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def start() -> Iterator[Callable[..., LogControl]]:
    """start_logging, undone after the test."""
    running: list[LogControl] = []

    def begin(**settings: Any) -> LogControl:
        running.append(start_logging(**{"environ": {}, **settings}))
        return running[-1]

    yield begin
    structlog.contextvars.clear_contextvars()
    for control in reversed(running):
        control.close()


def records(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_off_a_terminal(start: Callable[..., LogControl]) -> None:
    """Off a terminal a record is one line of JSON with level, logger and UTC time."""
    start(stream=(stream := io.StringIO()))
    structlog.get_logger("daemon.runtime.app").info("bar_closed", symbol="BTC-USDT", path=Path("x"))
    (record,) = records(stream)
    assert record["event"] == "bar_closed"
    assert (record["level"], record["logger"], record["symbol"], record["path"]) == (
        "info",
        "daemon.runtime.app",
        "BTC-USDT",
        "x",
    )
    assert str(record["timestamp"]).endswith("Z")


def test_console_on_a_terminal(start: Callable[..., LogControl]) -> None:
    """On a terminal the record is text for people."""
    start(stream=(stream := Terminal()))
    structlog.get_logger("daemon.runtime.app").warning("feed stale", symbol="BTC-USDT")
    assert "feed stale" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_format_is_forced(start: Callable[..., LogControl]) -> None:
    """``json`` writes JSON even on a terminal, ``console`` text off one."""
    start(stream=(terminal := Terminal()), log_format="json")
    structlog.get_logger("x").info("one")
    assert records(terminal)[0]["event"] == "one"
    start(stream=(plain := io.StringIO()), log_format="console")
    structlog.get_logger("x").info("two")
    assert "two" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()


def test_standard_library_is_routed_through(start: Callable[..., LogControl]) -> None:
    """A library's record has the same form as ours."""
    start(stream=(stream := io.StringIO()))
    logging.getLogger("somelibrary").warning("lost %d frames", 3)
    (record,) = records(stream)
    assert (record["event"], record["level"], record["logger"]) == ("lost 3 frames", "warning", "somelibrary")


def test_chatty_libraries_need_debug(start: Callable[..., LogControl]) -> None:
    """websockets' own "info" is left out at our "info" and logged at our "debug"."""
    control = start(stream=(stream := io.StringIO()))
    logging.getLogger("websockets.server").info("connection open")
    control.set_level("debug")
    logging.getLogger("websockets.server").info("connection open")
    assert len(records(stream)) == 1


def test_context_variables_are_bound(start: Callable[..., LogControl]) -> None:
    """What is bound to the context appears in every record."""
    start(stream=(stream := io.StringIO()))
    structlog.contextvars.bind_contextvars(bar="2026-01-05T13:00:00Z")
    structlog.get_logger("x").info("published")
    assert records(stream)[0]["bar"] == "2026-01-05T13:00:00Z"


def test_level_changes_while_running(start: Callable[..., LogControl]) -> None:
    """A logger made before the reload obeys the new level."""
    control = start(stream=(stream := io.StringIO()), level="warning")
    logger = structlog.get_logger("x")
    logger.info("before")
    control.set_level("info")
    logger.info("after")
    assert [record["event"] for record in records(stream)] == ["after"]


def test_exception_stays_on_one_json_line(start: Callable[..., LogControl]) -> None:
    """A traceback is a field of its record, not further lines."""
    start(stream=(stream := io.StringIO()))
    try:
        int("no such bar")
    except ValueError:
        structlog.get_logger("x").exception("failed")
    (record,) = records(stream)
    assert "no such bar" in str(record["exception"])


def test_journal_priorities(start: Callable[..., LogControl], tmp_path: Path) -> None:
    """When the stream is the journal's, every line begins with its priority, each line of a traceback too."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        control = start(stream=stream, environ=environ, level="debug")
        for level in ("debug", "info", "warning", "error"):
            getattr(structlog.get_logger("x"), level)("event")
        control.close()
        start(stream=stream, environ=environ, log_format="console")
        try:
            int("x")
        except ValueError:
            structlog.get_logger("x").exception("failed")
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line[:3] for line in lines[:4]] == ["<7>", "<6>", "<4>", "<3>"]
    assert len(lines) > 6
    assert {line[:3] for line in lines[4:]} == {"<3>"}


def test_journal_only_where_the_stream_is_the_journal(tmp_path: Path) -> None:
    """JOURNAL_STREAM of another file, or an in-memory stream, is no journal."""
    with (tmp_path / "log").open("w") as stream:
        assert not is_journal(stream, {"JOURNAL_STREAM": "1:1"})
        assert not is_journal(stream, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


def test_repeats_are_limited_and_counted(start: Callable[..., LogControl]) -> None:
    """Only the first few of a minute's equal messages are written; other symbols have a count of their own."""
    start(stream=(stream := io.StringIO()), repeats_per_minute=2)
    for _ in range(5):
        structlog.get_logger("x").warning("malformed frame", symbol="BTC-USDT")
    structlog.get_logger("x").warning("malformed frame", symbol="ETH-USDT")
    assert [record["symbol"] for record in records(stream)] == ["BTC-USDT", "BTC-USDT", "ETH-USDT"]


def repeat(message: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, message, (), None)


def test_the_next_that_passes_says_how_many_were_held_back() -> None:
    """A minute later the message passes again, with the count, once."""
    now_s = [0.0]
    limit = RepeatFilter(per_minute=1, now_s=lambda: now_s[0])
    passed = [limit.filter(repeat({"event": "e"})) for _ in range(4)]
    assert passed == [True, False, False, False]
    now_s[0] = 60.0
    later = repeat({"event": "e"})
    assert limit.filter(later)
    assert later.msg == {"event": "e", "suppressed": 3}
    now_s[0] = 120.0
    assert limit.filter(last := repeat({"event": "e"}))
    assert "suppressed" not in last.msg


def test_a_library_message_says_so_in_its_text() -> None:
    """A record of the standard library carries the count in its text, %-signs left alone."""
    now_s = [0.0]
    limit = RepeatFilter(per_minute=1, now_s=lambda: now_s[0])
    limit.filter(repeat("at %d"))
    limit.filter(repeat("at %d"))
    now_s[0] = 61.0
    limit.filter(record := repeat("at %d"))
    assert record.msg == "at %d [1 more were suppressed]"


def test_memory_for_repeats_is_bounded() -> None:
    """A million different messages do not grow the filter beyond its bound."""
    limit = RepeatFilter(per_minute=1)
    for number in range(REMEMBERED_MESSAGES + 100):
        limit.filter(repeat({"event": f"e{number}"}))
    assert len(limit._kinds) == REMEMBERED_MESSAGES


def test_close_restores_the_root_logger() -> None:
    """After close the root logger has its former handlers and level."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    start_logging(stream=io.StringIO(), environ={}).close()
    assert (root.handlers[:], root.level) == before
