"""The order of the tests, their logging, and one line about skipped programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.programs import missing_packages

# No property is about speed, and a loaded machine is slow.
settings.register_profile("forecastd", deadline=None)
settings.load_profile("forecastd")


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
    """Names the Debian packages that the skipped tests need."""
    reports: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    line = missing_packages([str(report.longrepr) for report in reports])
    if line:
        terminalreporter.write_line(line)
