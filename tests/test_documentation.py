"""What the pages of docs/ name exists: metrics, and the log events of the table of faults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compatibility.test_interface_0_1 import logged_events
from tests.paths import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
_METRIC = re.compile(r"\bforecastd_[a-z0-9_]+")
_SUFFIXES = ("_bucket", "_sum", "_count")
_EVENT = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+)*)`")


def documented_metrics() -> set[str]:
    """The rows of docs/metrics.md, which the tests of the metrics hold equal to the code."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    return set(re.findall(r"^\| `(forecastd_\w+)", page, flags=re.MULTILINE))


def fault_rows() -> list[list[str]]:
    """The cells of the table of faults in docs/operations.md, without its head."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    table = page.partition("### Faults and their signs")[2].partition("\n\n| what ends a start")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return rows[2:]


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    """A histogram's series have suffixes; a name that ends in an underscore begins that of several."""
    known = documented_metrics()
    unknown = {
        name
        for name in _METRIC.findall(page.read_text("utf-8"))
        if not ({name, *map(name.removesuffix, _SUFFIXES)} & known)
        and not (name.endswith("_") and any(each.startswith(name) for each in known))
    }
    assert unknown == set()


def test_every_log_event_of_the_table_of_faults_exists() -> None:
    """Each row has five cells; the fourth names events of the log."""
    rows = fault_rows()
    assert len(rows) > 20
    assert {len(row) for row in rows} == {5}
    named = {event for row in rows for event in _EVENT.findall(row[3])}
    assert named - logged_events("daemon", "models") == set()
    assert all(_EVENT.search(row[3]) or row[3] == "none" for row in rows)


def test_every_fault_names_a_metric_or_says_that_it_has_none() -> None:
    assert all("`forecastd_" in row[2] or row[2] == "none" for row in fault_rows())
