"""The demo's tables: they fit their terminal, and no figure of skill stands alone."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from daemon.cli.commands.demo_tables import head, live_table, skill_table, strip, summary_table, training_line
from daemon.cli.commands.demo_tally import DemoTally
from daemon.forecasting.records import Skill
from daemon.forecasting.score_rows import ScoreRow
from daemon.serving.status import (
    AttentionStatus,
    BarStatus,
    ForecastStatus,
    HorizonStatus,
    ModelStatus,
    MqttStatus,
    RetrainDocument,
    StatusDocument,
    StoreStatus,
    SymbolStatus,
)
from features.market import Instrument
from models.specification import Progress

SKILL = Skill(
    window="30d",
    scored=240,
    pinball_vs_har=0.981,
    pinball_vs_har_se=0.021,
    pinball_vs_random_walk=0.964,
    pinball_vs_random_walk_se=0.019,
)


def printed(renderable: RenderableType, width: int = 100) -> list[str]:
    """The lines as a terminal of ``width`` columns shows them."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def symbol(*, attention: bool = True, skill: Skill | None = SKILL) -> SymbolStatus:
    weights = [0.01] * 47 + [0.53]
    return SymbolStatus(
        venue="binance",
        symbol="BTC-USDT",
        state="live",
        price=110_123.45,
        bar=BarStatus(close_time="2026-01-05T13:00:00Z", completeness="proven", missing_trades=0, revision=0),
        forecast=ForecastStatus(
            bar_close="2026-01-05T13:00:00Z",
            issued_at="2026-01-05T13:00:02Z",
            source="model" if attention else "baseline",
            kind="attention_lstm" if attention else "har",
            reference_price=110_000.0,
            horizons=[
                HorizonStatus(bars=bars, median=110_001.0, low_80=108_111.11, high_80=112_222.22, prob_up=0.5)
                for bars in (1, 6, 24)
            ],
            attention_top=AttentionStatus(bars_ago=1, weight=0.53, weights=weights) if attention else None,
        ),
        skill=skill,
    )


def document(*, running: bool = False, model: bool = True) -> StatusDocument:
    return StatusDocument(
        instance="demo",
        version="0.1.0",
        state="online",
        reason="",
        since="2026-01-05T13:00:00Z",
        clock="2026-01-05T13:10:00Z",
        speed=360.0,
        interval="1h",
        symbols=[symbol()],
        mqtt=MqttStatus(url="mqtt://127.0.0.1:1883", connected=True, published=15),
        store=StoreStatus(path="/state"),
        model=ModelStatus(id="lstm-7", kind="attention_lstm", trained_until="2026-01-05T00:00:00Z") if model else None,
        retrain=RetrainDocument(running=running),
    )


def row(horizon: int, kind: str, loss: float, *, count: int = 300, role: str = "baseline") -> ScoreRow:
    issued = role == "issued"
    return ScoreRow(
        venue="binance",
        symbol="BTC-USDT",
        horizon_bars=horizon,
        kind=kind,
        role=role,
        window="30d",
        count=count,
        pinball_bp=loss,
        pinball_vs_har=0.981 if issued else None,
        pinball_vs_har_se=0.021 if issued else None,
        pinball_vs_random_walk=0.964 if issued else None,
        pinball_vs_random_walk_se=0.019 if issued else None,
        rmse_vs_random_walk=1.001 if issued else None,
        rmse_vs_random_walk_se=0.002 if issued else None,
        coverage_80=0.79 if issued else None,
        coverage_80_se=0.03 if issued else None,
        coverage_95=0.94 if issued else None,
        coverage_95_se=0.02 if issued else None,
    )


def rows() -> list[ScoreRow]:
    made: list[ScoreRow] = []
    for horizon in (1, 2, 3, 6, 12, 24):
        made.append(row(horizon, "attention_lstm", 8.11 * horizon, role="issued"))
        made += [row(horizon, "har", 8.27 * horizon), row(horizon, "random_walk", 8.41 * horizon)]
    return made


@pytest.mark.parametrize("width", [70, 86, 100, 128, 140, 200])
def test_the_live_table_wraps_at_no_width(width: int) -> None:
    """Each symbol takes its three lines and a blank one, with whole bands on each."""
    lines = printed(live_table([symbol(), symbol()], width=width), width)
    assert len([line for line in lines if line.strip()]) == 1 + 2 * 3
    band = "108,111.11 - 112,222.22" if width >= 128 else "108,111.11 112,222.22"
    assert len([line for line in lines if band in line]) == 6


@pytest.mark.parametrize(("width", "shown"), [(70, ()), (86, ("HAR",)), (100, ("HAR", "53%")), (140, ("HAR", "█"))])
def test_columns_appear_where_there_is_room(width: int, shown: tuple[str, ...]) -> None:
    """Skill comes first, then the top of the attention, then the whole strip."""
    text = "\n".join(printed(live_table([symbol()], width=width), width))
    assert {name for name in ("HAR", "53%", "█") if name in text} >= set(shown)
    assert ("HAR" in text) == ("HAR" in shown)


def test_skill_stands_beside_both_baselines_with_standard_errors() -> None:
    """The live table shows ratio, standard error and count."""
    text = "\n".join(printed(live_table([symbol()], width=140), 140))
    assert "HAR 0.981 ± 0.021" in text
    assert "RW  0.964 ± 0.019" in text
    assert "240 scored" in text


@pytest.mark.parametrize(
    ("skill", "said"),
    [
        (None, "nothing scored yet"),
        (Skill(window="30d", scored=0), "nothing"),
        (Skill(window="30d", scored=3), "3 scored;"),
    ],
)
def test_too_few_scores_are_said_not_shown(skill: Skill | None, said: str) -> None:
    """Before there is a ratio the table says how many forecasts are scored."""
    text = "\n".join(printed(live_table([symbol(skill=skill)], width=140), 140))
    assert said in text
    assert "HAR" not in text


def test_a_baseline_shows_no_attention() -> None:
    """Nothing is invented where the forecaster has no attention."""
    assert "none: a baseline" in "\n".join(printed(live_table([symbol(attention=False)], width=140), 140))


def test_a_symbol_without_forecast_has_its_line() -> None:
    """Between the start and the first bar there are prices only."""
    bare = SymbolStatus(venue="binance", symbol="ETH-USDT", state="warming_up")
    assert "waits for a bar" in "\n".join(printed(live_table([bare], width=100)))


def test_the_strip_shows_the_newest_bar_last() -> None:
    """24 blocks for 48 bars, full height at the top of the attention."""
    top = symbol().forecast
    assert top is not None
    assert top.attention_top is not None
    assert strip(top.attention_top) == "▁" * 23 + "█"


def test_training_shows_its_bar_then_the_model() -> None:
    """While a training runs: share, epoch and time left. After it: the model that serves."""
    progress = Progress(phase="training", ratio=0.41, elapsed_s=9.0, epoch=4, epochs=8, remaining_s=13.2)
    running = "\n".join(printed(training_line(document(running=True), progress)))
    assert "━" in running
    assert "41%" in running
    assert "13 s left" in running
    assert "lstm-7, trained until 2026-01-05 00:00" in "\n".join(printed(training_line(document(), progress)))
    assert "baseline" in "\n".join(printed(training_line(document(model=False), None)))


def test_the_head_says_where_to_look() -> None:
    """Page, subscription and how to end it, each on one line of 100 columns."""
    subscribe = "mosquitto_sub -p 1883 -v -t 'forecastd/v1/demo/#'"
    lines = printed(head(document(), http="http://127.0.0.1:9464", subscribe=subscribe))
    assert len(lines) == 3
    assert "http://127.0.0.1:9464" in lines[1]
    assert subscribe in lines[2]


def test_the_summary_has_one_line_a_symbol_and_horizon() -> None:
    """Horizons 1, 6 and 24 with the baselines' own losses, within 100 columns."""
    lines = [line.split() for line in printed(skill_table(rows())) if line.startswith("BTC-USDT")]
    assert [line[1] for line in lines] == ["1", "6", "24"]
    assert [line[4:7] for line in lines] == [
        ["8.11", "8.27", "8.41"],
        ["48.66", "49.62", "50.46"],
        ["194.64", "198.48", "201.84"],
    ]
    assert lines[0][7:] == ["0.981±0.021", "0.964±0.019", "1.001±0.002", "79±3%", "94±2%"]


def test_a_summary_without_scores_says_so() -> None:
    """Ended before the second bar there is nothing to put into a table."""
    waiting = [row(1, "har", 0.0, count=0, role="issued")]
    assert "no forecast was scored" in "\n".join(printed(skill_table(waiting)))


def test_a_bar_that_differs_is_named() -> None:
    """The summary counts bars by verdict and names what differs from the real ones."""
    tally = DemoTally(equal=2, different=["binance:BTC-USDT 13:00: close"])
    tally.verdicts["proven"] = 3
    tally.forecasts[Instrument("binance", "BTC-USDT")] = 3
    text = "\n".join(printed(summary_table([], tally)))
    assert "3 proven; equal to the real ones: 2, different: 1" in text
    assert "binance:BTC-USDT 13:00: close" in text
