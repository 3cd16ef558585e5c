"""Logging set-up: structlog on one standard-library handler, for records of forecastd and of libraries.

Records are coloured text on a terminal and JSON elsewhere. Under systemd every line has its journal priority. A
repeated message is limited to a few lines a minute; the next line has the number of suppressed ones.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "json", "console"]

REPEATS_PER_MINUTE = 20
# A key is an event and a symbol: 4,096 keys are dozens of events for a hundred symbols. The least recent is evicted.
REMEMBERED_MESSAGES = 4_096
# Libraries that log every packet at "info".
_CHATTY = ("aiohttp", "aiomqtt", "asyncio", "mqtt", "websockets")
_JOURNAL_PRIORITIES = {"critical": 2, "error": 3, "exception": 3, "warning": 4, "info": 6, "debug": 7}


class LogControl:
    """Handle of the active logging: changes the level, and ``close`` restores the previous handlers."""

    def __init__(self, handler: logging.Handler) -> None:
        root = logging.getLogger()
        self._handler = handler
        self._before = (root.handlers[:], root.level)
        root.handlers[:] = [handler]

    def set_level(self, level: str) -> None:
        """Sets ``debug``, ``info``, ``warning`` or ``error``; chatty libraries log below warning only at ``debug``."""
        number = logging.getLevelNamesMapping()[level.upper()]
        logging.getLogger().setLevel(number)
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.NOTSET if number <= logging.DEBUG else logging.WARNING)

    def close(self) -> None:
        root = logging.getLogger()
        root.handlers[:], level = self._before
        root.setLevel(level)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()


def start_logging(
    *,
    level: str = "info",
    log_format: LogFormat = "auto",
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    repeats_per_minute: int = REPEATS_PER_MINUTE,
) -> LogControl:
    """Routes structlog and the standard library to ``stream`` (default: standard error). Call once per process."""
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.addFilter(RepeatFilter(per_minute=repeats_per_minute))
    journal = is_journal(stream, os.environ if environ is None else environ)
    handler.setFormatter(_formatter(console=console, colors=stream.isatty(), journal=journal))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    control = LogControl(handler)
    control.set_level(level)
    return control


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` is systemd's journal, whose device and inode ``JOURNAL_STREAM`` names."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, AttributeError):  # an in-memory stream has no file behind it
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class RepeatFilter(logging.Filter):
    """Rate limit: passes ``per_minute`` records of one kind in any 60 s; the next one has the count ``suppressed``.

    Records with the same logger, level, event and symbol are of one kind.
    """

    def __init__(self, *, per_minute: int, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._per_minute = per_minute
        self._now_s = now_s
        self._lock = threading.Lock()
        self._kinds: OrderedDict[tuple[str, int, str, str], _Passed] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            passed = self._passed(_kind(record))
            suppressed = passed.admit(self._now_s(), self._per_minute)
        if suppressed:
            _add_suppressed(record, suppressed)
        return suppressed is not None

    def _passed(self, kind: tuple[str, int, str, str]) -> _Passed:
        passed = self._kinds.setdefault(kind, _Passed())
        self._kinds.move_to_end(kind)
        if len(self._kinds) > REMEMBERED_MESSAGES:
            self._kinds.popitem(last=False)
        return passed


class _Passed:
    """The times of the last passed records of one kind, and the number suppressed since."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque()
        self._suppressed = 0

    def admit(self, now_s: float, per_minute: int) -> int | None:
        """The number of records suppressed before this one; None if this one is suppressed, too."""
        while self._times_s and now_s - self._times_s[0] >= 60:
            self._times_s.popleft()
        if len(self._times_s) >= per_minute:
            self._suppressed += 1
            return None
        self._times_s.append(now_s)
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


def _kind(record: logging.LogRecord) -> tuple[str, int, str, str]:
    if isinstance(record.msg, dict):
        return record.name, record.levelno, str(record.msg.get("event")), str(record.msg.get("symbol"))
    return record.name, record.levelno, str(record.msg), ""


def _add_suppressed(record: logging.LogRecord, suppressed: int) -> None:
    if isinstance(record.msg, dict):
        record.msg["suppressed"] = suppressed
    else:
        record.msg = f"{record.msg} [{suppressed} more were suppressed]"


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(*, console: bool, colors: bool, journal: bool) -> logging.Formatter:
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=colors)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str, ensure_ascii=False)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared_processors(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(_with_priority(render) if journal else render),
        ],
    )


def _with_priority(render: list[Processor]) -> list[Processor]:
    """``render`` with the prefix ``<3>`` to ``<7>`` on every line, which the journal reads as its priority."""

    def prefixed(logger: WrappedLogger, name: str, event: EventDict) -> str:
        priority = _JOURNAL_PRIORITIES[str(event["level"])]
        rendered: Any = event
        for processor in render:
            rendered = processor(logger, name, rendered)
        return "\n".join(f"<{priority}>{line}" for line in str(rendered).splitlines())

    return [prefixed]
