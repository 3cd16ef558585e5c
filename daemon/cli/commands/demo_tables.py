"""The demo's tables for a terminal of 100 columns or more: the live one and the summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from daemon.cli.commands.demo_tally import DemoTally
from daemon.cli.commands.status import ratio
from daemon.cli.commands.training_bar import progress_text
from daemon.forecasting.score_rows import ScoreRow
from daemon.runtime.status_snapshot import SHOWN_HORIZONS
from daemon.serving.status import AttentionStatus, ForecastStatus, HorizonStatus, StatusDocument, SymbolStatus
from models.specification import Progress

_SHADES = " ▁▂▃▄▅▆▇█"
_STRIP_CELLS = 24
# Terminal columns from which the skill, the top of the attention, and its whole strip are shown.
_WITH_SKILL, _WITH_ATTENTION, _WITH_STRIP = 86, 100, 128
_SKILL_LEGEND = (
    "loss: mean pinball loss in basis points; walk: random walk; ratios below 1 beat the baseline;\n"
    "± one standard error; -: too few scored yet (24, and ten times the horizon)"
)
_TONES = {"live": "green", "proven": "green", "online": "green", "model": "green", "gap": "red", "halted": "red"}


def tone(word: str) -> str:
    """The colour of a state, verdict or source."""
    return _TONES.get(word, "yellow")


# ---------------------------------------------------------------- the live screen


def head(document: StatusDocument, *, http: str, subscribe: str) -> RenderableType:
    """What this is, when it is, where to look."""
    return Group(
        Text.assemble(
            ("forecastd demo  ", "bold"),
            (document.state, tone(document.state)),
            f"  {_minute(document.clock)} UTC, {document.speed:g} times market speed",
        ),
        Text.assemble(("page      ", "dim"), http, ("     Ctrl-C ends the demo", "dim")),
        Text.assemble(("messages  ", "dim"), subscribe, (f"     {document.mqtt.published} published", "dim")),
    )


def live_table(symbols: Sequence[SymbolStatus], *, width: int) -> Table:
    """Three lines a symbol, one a horizon. The right-hand columns appear where ``width`` is sufficient."""
    strip_shown = width >= _WITH_STRIP
    columns = [
        Column("symbol", no_wrap=True),
        Column("price", justify="right", no_wrap=True),
        Column("ahead", justify="right", no_wrap=True),
        Column("median", justify="right", no_wrap=True),
        Column("80% band", no_wrap=True),
    ]
    if width >= _WITH_ATTENTION:
        columns.append(Column("attention" + (", oldest bar to newest" if strip_shown else ""), no_wrap=True))
    if width >= _WITH_SKILL:
        columns.append(Column("skill: loss beside", no_wrap=True))
    table = Table(*columns, box=None, padding=(1, 2 if strip_shown else 1, 0, 0), header_style="dim")
    for each in symbols:
        cells = _cells(each, to=" - " if strip_shown else " ")
        if width >= _WITH_ATTENTION:
            cells.append(_attention(each.forecast, strip_shown=strip_shown))
        if width >= _WITH_SKILL:
            cells.append(_skill(each))
        table.add_row(*cells)
    return table


def training_line(document: StatusDocument, progress: Progress | None) -> RenderableType:
    """The progress bar of a training that runs, else the model that serves."""
    retrain, model = document.retrain, document.model
    if retrain is not None and retrain.running and progress is not None:
        grid = Table.grid(Column(), Column(), Column(no_wrap=True), padding=(0, 2, 0, 0))
        label = Text("retraining" if model else "training", "bold")
        grid.add_row(label, ProgressBar(1.0, progress.ratio, width=36), _training_text(progress))
        return Group("", grid)
    if model is None:
        return Text("\nno model yet: a baseline forecasts until the training is done")
    return Text(f"\nmodel {model.id}, trained until {_minute(model.trained_until or 'unknown')}")


def _training_text(progress: Progress) -> str:
    left = f", {progress.remaining_s:.0f} s left" if progress.remaining_s else ""
    return progress_text(progress) + left


def _cells(symbol: SymbolStatus, *, to: str) -> list[Text]:
    made = symbol.forecast
    bar = symbol.bar.completeness if symbol.bar else "none yet"
    maker = (made.kind, tone(made.source)) if made else ("waits for a bar", "yellow")
    name = Text.assemble((symbol.symbol, "bold"), "\n", maker, "\nbar ", (bar, tone(bar)))
    price = Text.assemble((_price(symbol.price), "bold"), "\n", (symbol.state, tone(symbol.state)))
    return [name, price, *_forecast_cells(made, to=to)]


def _forecast_cells(made: ForecastStatus | None, *, to: str) -> list[Text]:
    """Horizons, medians and bands, one line each."""
    spell: list[Callable[[HorizonStatus], str]] = [
        lambda each: f"{each.bars} h",
        lambda each: _price(each.median),
        lambda each: f"{_price(each.low_80)}{to}{_price(each.high_80)}",
    ]
    shown = shown_horizons(made) if made else []
    return [Text("\n".join(map(line, shown)) or "-") for line in spell]


def _attention(made: ForecastStatus | None, *, strip_shown: bool) -> Text:
    if made is None or made.attention_top is None:
        return Text("none: a baseline" if made else "-", "dim")
    top = made.attention_top
    most = f"{top.bars_ago} h ago {top.weight:.0%}"
    return Text.assemble((strip(top), "green"), f"\nmost {most}") if strip_shown else Text(f"most\n{most}")


def strip(attention: AttentionStatus) -> str:
    """The window as a strip of blocks, oldest bar first; each shows the larger of the bars that it stands for."""
    weights = attention.weights
    size = max(1, -(-len(weights) // _STRIP_CELLS))
    cells = [max(weights[start : start + size]) for start in range(0, len(weights), size)]
    return "".join(_SHADES[max(1, round(cell / attention.weight * (len(_SHADES) - 1)))] for cell in cells)


def _skill(symbol: SymbolStatus) -> Text:
    skill = symbol.skill
    if skill is None or skill.scored == 0:
        return Text("nothing scored yet", "dim")
    if skill.pinball_vs_random_walk is None:
        return Text(f"{skill.scored} scored;\nratios from 24 on", "dim")
    return Text(
        f"HAR {ratio(skill.pinball_vs_har, skill.pinball_vs_har_se)}\n"
        f"RW  {ratio(skill.pinball_vs_random_walk, skill.pinball_vs_random_walk_se)}\n"
        f"{skill.scored} scored"
    )


# ---------------------------------------------------------------- the summary


def summary_table(rows: Sequence[ScoreRow], tally: DemoTally) -> RenderableType:
    """Bars by verdict and against the real ones, then live skill beside the baselines with standard errors."""
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in tally.verdicts.most_common()) or "none"
    sources = ", ".join(f"{each.symbol} {source}" for each, source in tally.last_source.items()) or "none"
    return Group(
        Text(f"live bars: {verdicts}; equal to the real ones: {tally.equal}, different: {len(tally.different)}"),
        *(Text(f"  {line}", "red") for line in tally.different[:5]),
        Text(f"forecasts: {sum(tally.forecasts.values())}; source of the last: {sources}\n"),
        skill_table(rows),
    )


def skill_table(rows: Sequence[ScoreRow]) -> RenderableType:
    """One line for each symbol and shown horizon: the losses of issued forecasts and baselines, and their ratios."""
    issued = [row for row in rows if row.role == "issued" and row.horizon_bars in SHOWN_HORIZONS and row.count]
    if not issued:
        return Text("live skill: no forecast was scored; the first is, one bar after it was made")
    losses = {(row.symbol, row.horizon_bars, row.kind): row.pinball_bp for row in rows}
    table = Table(
        *(Column("symbol", min_width=8), Column("ahead", justify="right"), Column("scored", justify="right")),
        *(Column(name, justify="right") for name in ("loss, bp", "HAR's", "walk's")),
        *("loss/HAR's", "loss/walk's", "RMSE/walk's", "in 80%", "in 95%"),
        box=None,
        padding=(0, 1, 0, 0),
        header_style="dim",
        title=f"live skill of {', '.join(sorted({row.kind for row in issued}))}",
        title_justify="left",
        title_style="bold",
    )
    for row in issued:
        table.add_row(*_skill_cells(row, losses))
    return Group(table, Text(_SKILL_LEGEND, "dim"))


def _skill_cells(row: ScoreRow, losses: dict[tuple[str, int, str], float | None]) -> list[str]:
    target = (row.symbol, row.horizon_bars)
    return [
        row.symbol,
        f"{row.horizon_bars} h",
        str(row.count),
        *(_number(losses.get((*target, kind))) for kind in (row.kind, "har", "random_walk")),
        _tight(ratio(row.pinball_vs_har, row.pinball_vs_har_se)),
        _tight(ratio(row.pinball_vs_random_walk, row.pinball_vs_random_walk_se)),
        _tight(ratio(row.rmse_vs_random_walk, row.rmse_vs_random_walk_se)),
        _tight(_share(row.coverage_80, row.coverage_80_se)),
        _tight(_share(row.coverage_95, row.coverage_95_se)),
    ]


# ---------------------------------------------------------------- figures as text


def shown_horizons(made: ForecastStatus) -> list[HorizonStatus]:
    """The horizons that people are shown: a near, a middle and a far one."""
    return [each for each in made.horizons if each.bars in SHOWN_HORIZONS] or made.horizons[:1]


def band_text(horizon: HorizonStatus) -> str:
    """Median and central 80% band on one line."""
    return f"{horizon.median:,.2f} [{horizon.low_80:,.2f} {horizon.high_80:,.2f}]"


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None, standard_error: float | None) -> str:
    return "-" if value is None or standard_error is None else f"{100 * value:.0f} ± {100 * standard_error:.0f}%"


def _tight(text: str) -> str:
    """Without spaces: eleven columns have to fit a hundred."""
    return text.replace(" ", "")


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
