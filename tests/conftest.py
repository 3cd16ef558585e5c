"""The order of the tests, their logging, and one line about skipped programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.programs import missing_packages, wants_program
from tests.properties import register_profiles

# Before torch is imported: beside other busy processes its threads can wait for each other for seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

register_profiles()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Names bytes that are no text after their argument: compressed ones hold the time, and workers would differ."""
    return argname if isinstance(val, bytes) and not val.isascii() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first; tests that run real processes or train a network last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Undoes a test's configuration of structlog, with which later tests of the process could not capture the log."""
    before = structlog.get_config()["wrapper_class"]
    yield
    if structlog.get_config()["wrapper_class"] is not before:
        structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the Debian packages that the skipped tests need, and lists those tests in the file SKIPPED_TESTS."""
    if hasattr(terminalreporter.config, "workerinput"):  # a process of xdist, whose reports the main one has too
        return
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    reasons = {report.nodeid: report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)}
    reasons = {test: reason for test, reason in reasons.items() if wants_program(reason)}
    if not reasons:
        return
    terminalreporter.write_line(missing_packages(list(reasons.values())))
    if path := os.environ.get("SKIPPED_TESTS"):
        with Path(path).open("a") as listed:
            listed.writelines(f"{test}\n" for test in reasons)
