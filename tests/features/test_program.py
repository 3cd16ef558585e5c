"""Expressions as programs: shared steps, memory, sources, and the canonical text."""

from __future__ import annotations

import polars as pl
import pytest

from features.algebra import choose, column, count, exponential, known, lag, logarithm, market_mean, mean, since
from features.polars_evaluator import as_polars
from features.program import memory_rows, program, sources

CLOSE, VOLUME = column("close"), column("volume")


def test_equal_expressions_share_a_step() -> None:
    """Two features that average the same column do so once, however often it was written."""
    shared = program({"a": mean(column("close"), 6), "b": mean(column("close"), 6) / 2})
    assert [str(step.operator) for step in shared.steps] == ["column", "mean", "constant", "divide"]
    assert shared.outputs == {"a": 1, "b": 3}
    assert program({"a": mean(CLOSE, 6), "b": mean(CLOSE, 7)}).steps[2].arguments == (0,)


def test_the_text_names_every_step_once() -> None:
    """The canonical text lists operators, parameters and arguments, then the outputs."""
    text = program({"spread": logarithm(CLOSE) - lag(CLOSE, 3)}).text()
    assert text.splitlines() == [
        "0 column 'close'",
        "1 constant 0.0",
        "2 above %0 %1",
        "3 logarithm %0",
        "4 choose %2 %3",
        "5 lag 3 %0",
        "6 subtract %4 %5",
        "spread = %6",
    ]


def test_memory_is_the_longest_chain() -> None:
    """Rows add up along a chain, not over alternatives; a recursive average remembers 500."""
    assert memory_rows(CLOSE + VOLUME) == 0
    assert memory_rows(mean(lag(CLOSE, 2), 24)) == 25
    assert memory_rows(lag(CLOSE, 6) - mean(CLOSE, 24)) == 23
    assert memory_rows(lag(exponential(CLOSE, 12), 3)) == memory_rows(count(CLOSE, 501)) == 500


def test_sources_are_bar_columns() -> None:
    """The clock derives from the time, and the cross-section from the instruments too."""
    assert sources(choose(known(VOLUME), CLOSE)) == {"close", "volume"}
    assert sources(since(3_600_000_000)) == {"open_time_us"}
    assert sources(market_mean(CLOSE)) == {"close", "venue", "symbol"}


def test_windows_are_of_one_row_or_more() -> None:
    """A lag of no row would read the present twice; a negative one the future."""
    for rows in (0, -1):
        with pytest.raises(ValueError, match="one row or more"):
            lag(CLOSE, rows)


def test_expressions_of_one_row_are_polars_expressions() -> None:
    """``as_polars`` translates what reads its own row, and refuses the rest."""
    table = pl.DataFrame({"close": [1.0, None, -1.0]})
    assert table.select(as_polars(choose(CLOSE > 0, CLOSE * 2, 0.0))).to_series().to_list() == [2.0, 0.0, 0.0]
    assert table.select(as_polars(choose(CLOSE > 0, CLOSE))).to_series().to_list() == [1.0, None, None]
    with pytest.raises(ValueError, match="lag reads other rows"):
        as_polars(lag(CLOSE, 1))
