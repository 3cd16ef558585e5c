"""What ``forecastd status`` and ``forecastd history show`` print: whole on a narrow terminal and through a pipe."""

from __future__ import annotations

import io

import pytest

from daemon.cli.commands.console import open_console
from daemon.cli.commands.history import print_spans
from daemon.cli.commands.status import print_document
from daemon.forecasting.records import Skill
from daemon.serving.status import (
    BarStatus,
    ForecastStatus,
    ModelStatus,
    MqttStatus,
    StatusDocument,
    StoreStatus,
    SymbolStatus,
)
from daemon.store.bars import Span

HOUR_US = 3_600_000_000
BAR = BarStatus(close_time="2025-11-02T01:00:00Z", completeness="venue_candle", missing_trades=0, revision=0)
FORECAST = ForecastStatus(
    bar_close=BAR.close_time,
    issued_at=BAR.close_time,
    source="model",
    kind="attention_lstm",
    reference_price=1.0,
    horizons=[],
)
SKILL = Skill(window="30d", scored=1234, pinball_vs_har=0.987, pinball_vs_har_se=0.012)
CELLS = ("SOL-USDT", "binance", "live", "109974.09", "venue_candle", "model", "attention_lstm", "1234", "0.987 ± 0.012")


def document() -> StatusDocument:
    symbols = [
        SymbolStatus(
            venue="binance", symbol=name, state="live", price=109974.09, bar=BAR, forecast=FORECAST, skill=SKILL
        )
        for name in ("BTC-USDT", "SOL-USDT")
    ]
    return StatusDocument(
        instance="main",
        version="1",
        state="online",
        reason="",
        since=BAR.close_time,
        clock=BAR.close_time,
        speed=1.0,
        interval="1h",
        symbols=symbols,
        mqtt=MqttStatus(url="mqtt://127.0.0.1:1883", connected=True),
        store=StoreStatus(path="x" * 150),
        model=ModelStatus(id="attention_lstm-" + "0" * 120, kind="attention_lstm"),
    )


def printed(width: int | None) -> list[str]:
    file = io.StringIO()
    print_document(open_console(file, width=width), document())
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200, None])
def test_no_cell_is_cut(width: int | None) -> None:
    """At 80 columns, at more, and through a pipe every cell is there as a whole."""
    lines = printed(width)
    assert "…" not in "".join(lines)
    for cell in (*CELLS, "2025-11-02 01:00Z"):
        assert any(cell in line for line in lines), cell
    assert width is None or all(len(line) <= width for line in lines)


def test_a_pipe_gets_a_row_on_one_line() -> None:
    """Off a terminal a program finds everything of a symbol on one line, however long."""
    lines = printed(None)
    (row,) = [line for line in lines if "SOL-USDT" in line]
    assert all(cell in row for cell in CELLS)
    assert any("0" * 120 in line for line in lines)


@pytest.mark.parametrize("width", [80, None])
def test_spans_are_whole(width: int | None) -> None:
    """``history show``: instrument, both ends, counts and verdicts are readable."""
    span = Span(
        venue="binance",
        symbol="BTC-USDT",
        from_us=1_762_045_200 * 1_000_000,
        to_us=1_762_045_200 * 1_000_000 + 5 * HOUR_US,
        bars=4,
        missing=1,
        verdicts={"proven": 3, "venue_candle": 1},
    )
    file = io.StringIO()
    print_spans(open_console(file, width=width), [span])
    for cell in ("binance:BTC-USDT", "2025-11-02T01:00:00Z", "2025-11-02T06:00:00Z", "3 proven, 1 venue_candle"):
        assert cell in file.getvalue()
