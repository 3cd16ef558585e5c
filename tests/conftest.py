"""The order of the tests, and one line about those that were skipped for want of a program."""

from __future__ import annotations

import pytest

from tests.programs import missing_packages


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first; tests that run real processes or train a network last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the Debian packages that the skipped tests need."""
    reports: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    line = missing_packages([str(report.longrepr) for report in reports])
    if line:
        terminalreporter.write_line(line)
