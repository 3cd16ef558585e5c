"""What a person reads: every part of it, whole at every width, for every kind of network."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from daemon.cli.commands.console import open_console
from daemon.explaining.charts import UNKNOWN
from daemon.explaining.finding import Explained
from daemon.explaining.labels import before_close, moment, percent
from daemon.explaining.text import print_explanation
from models.explain import top_hours
from tests.daemon.explaining.conftest import Filled
from tests.daemon.explaining.test_finding import found


def printed(explained: Explained, width: int | None = None) -> str:
    file = io.StringIO()
    print_explanation(open_console(file, width=width), explained)
    return file.getvalue()


def test_the_five_heaviest_hours(filled: Filled) -> None:
    """Each on a line of its own, with its place before the close, its time in UTC and its weight."""
    explained = found(filled.folder)
    lines = printed(explained).splitlines()
    shown = top_hours(explained.hours)
    assert len(shown) == (1 if filled.kind == "lstm" else 5)
    for hour in shown:
        cells = (before_close(hour.bars_ago, explained.stored.interval_us), moment(hour.from_us), percent(hour.weight))
        assert any(all(cell in line for cell in cells) for line in lines), cells


def test_every_recent_forecast_has_a_row(filled: Filled) -> None:
    """Oldest first, each with its close; a baseline's says so."""
    explained = found(filled.folder, last=20)
    text = printed(explained)
    rows = text.split("The last 20 forecasts")[1].splitlines()[1:21]
    assert [row[:17] for row in rows] == [moment(each.close_time_us) for each in explained.recent]
    assert ["har, a baseline" in row for row in rows] == [each.attention is None for each in explained.recent]
    assert any("har, a baseline" in row for row in rows)


def test_hours_that_were_not_known_are_marked(filled_by_tft: Filled) -> None:
    """On the axis, as many as there are."""
    explained = found(filled_by_tft.folder)
    (axis,) = [line for line in printed(explained).splitlines() if "┼" in line]
    assert axis.count(UNKNOWN) == sum(hour.known is False for hour in explained.hours) > 0


def test_features_are_listed_for_tft_alone(filled: Filled) -> None:
    """Where they are not, a sentence at the end states why."""
    explained = found(filled.folder)
    text = printed(explained)
    assert ("By family" in text) == (filled.kind == "tft")
    if filled.kind == "tft":
        assert explained.features[0].name in text
        assert "and 98 more" in text
    else:
        assert text.endswith(f"not known of {filled.kind}: only tft selects features ([model] kind).\n")


@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
def test_nothing_is_wider_than_the_terminal(filled_by_tft: Filled, width: int) -> None:
    """The charts keep within the width, and no line of the heat map is broken in two."""
    text = printed(found(filled_by_tft.folder, last=5), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    rows = text.split("The last 5 forecasts")[1].splitlines()[1:6]
    assert all(row[:2] == "20" for row in rows)


def test_a_terminal_gets_colours_and_a_pipe_does_not(filled_by_tft: Filled, tmp_path: Path) -> None:
    """The same words either way."""
    explained = found(filled_by_tft.folder, last=5)
    assert "\x1b" not in printed(explained)
    file = io.StringIO()
    print_explanation(Console(file=file, force_terminal=True, width=80, color_system="standard"), explained)
    assert "\x1b[32m" in file.getvalue()
