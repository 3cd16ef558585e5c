"""What a person sees of the demo: a live table on a terminal, one line a forecast elsewhere."""

from __future__ import annotations

import io
import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.commands.retrain import progress_text
from daemon.commands.status import ratio
from daemon.records import IssuedForecast
from daemon.reporting import forecast_status
from daemon.serving.status import ForecastStatus, HorizonStatus, SymbolStatus
from models.specification import Progress

if TYPE_CHECKING:
    from daemon.app import App
    from daemon.commands.demo import Tally

_PROGRESS_STEPS = 10


class View(Protocol):
    """Who shows the demo."""

    @property
    def log_stream(self) -> TextIO: ...
    def started(self, app: App, folder: Path) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def forecast(self, issued: IssuedForecast, payload: bytes) -> None: ...
    def refresh(self, app: App) -> None: ...
    def close(self) -> None: ...
    def summary(self, app: App, tally: Tally) -> None: ...


class HeadlessView:
    """Lines: JSON payloads or sentences on standard output, the rest on standard error."""

    def __init__(self, *, json: bool) -> None:
        self.log_stream: TextIO = sys.stderr
        self._json = json
        self._told = -1

    def started(self, app: App, folder: Path) -> None:
        line = {
            "event": "demo_started",
            "http": app.http_address,
            "mqtt": app.mqtt_address,
            "subscribe": subscribe_command(app),
            "state_dir": str(folder),
        }
        sys.stderr.write(jsonlib.dumps(line) + "\n")
        sys.stderr.flush()

    def progress(self, progress: Progress) -> None:
        step = int(progress.ratio * _PROGRESS_STEPS)
        if step != self._told:
            self._told = step
            sys.stderr.write(f"training: {progress_text(progress)}\n")
            sys.stderr.flush()

    def forecast(self, issued: IssuedForecast, payload: bytes) -> None:
        if self._json:
            sys.stdout.write(payload.decode() + "\n")
        else:
            shown = forecast_status(issued)
            bands = ", ".join(f"{each.bars}h {_band(each)}" for each in shown.horizons)
            quality = issued.quality.completeness.value
            sys.stdout.write(
                f"{shown.bar_close} {issued.forecast.symbol} {issued.reference_price:g} {bands} "
                f"[{issued.source}: {shown.kind}, bar {quality}]\n"
            )
        sys.stdout.flush()

    def refresh(self, app: App) -> None:
        pass

    def close(self) -> None:
        pass

    def summary(self, app: App, tally: Tally) -> None:
        Console(file=sys.stderr, width=140).print(summary_table(app, tally))


class LiveView:
    """A table that is drawn anew four times a second; log lines wait below it."""

    def __init__(self) -> None:
        self._console = Console()
        self.log_stream: TextIO = _LastLines()
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()
        self._progress: Progress | None = None

    def started(self, app: App, folder: Path) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self._progress = progress

    def forecast(self, issued: IssuedForecast, payload: bytes) -> None:
        pass

    def refresh(self, app: App) -> None:
        self._live.update(self._render(app), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def summary(self, app: App, tally: Tally) -> None:
        self._console.print(summary_table(app, tally))

    def _render(self, app: App) -> RenderableType:
        document = app.status()
        head = Text.assemble(
            ("forecastd demo ", "bold"),
            f"market time {document.clock}, {document.speed:g} times as fast as the real one, {document.state}",
        )
        where = Text(f"page {app.http_address}   broker {app.mqtt_address}\nsubscribe: {subscribe_command(app)}", "dim")
        parts: list[RenderableType] = [head, where, live_table(document.symbols)]
        retrain = document.retrain
        if retrain is not None and retrain.running and self._progress is not None:
            parts += [
                Text("training " + progress_text(self._progress)),
                ProgressBar(1.0, self._progress.ratio, width=60),
            ]
        elif document.model is not None:
            parts.append(Text(f"model {document.model.kind}, trained until {document.model.trained_until}"))
        if isinstance(self.log_stream, _LastLines) and (last := self.log_stream.last()):
            parts.append(Text(last, "yellow"))
        parts.append(Text("Ctrl-C ends the demo", "dim"))
        return Group(*parts)


class _LastLines(io.StringIO):
    """Keeps only the end of what is logged, so that the table is not torn apart."""

    _KEPT = 400

    def write(self, text: str) -> int:
        kept = (self.getvalue() + text)[-self._KEPT :]
        self.seek(0)
        self.truncate()
        super().write(kept)
        return len(text)

    def last(self) -> str:
        lines = self.getvalue().strip().splitlines()
        return lines[-1] if lines else ""


def subscribe_command(app: App) -> str:
    """What to type to see every message."""
    port = app.mqtt_address.rpartition(":")[2]
    base = f"{app.config.mqtt.base_topic}/{app.config.instance.name}"
    return f"mosquitto_sub -p {port} -v -t '{base}/#'"


def live_table(symbols: list[SymbolStatus]) -> Table:
    """One row a symbol: price, forecasts as median and 80% band, attention, verdict and live skill."""
    table = Table(
        "symbol", "price", "1 h", "6 h", "24 h", "made by", "looked at", "bar", "skill: pinball vs HAR, vs RW"
    )
    for each in symbols:
        made = each.forecast
        table.add_row(
            each.symbol,
            f"{each.price:,.2f}" if each.price else "-",
            *(_cell(made, bars) for bars in (1, 6, 24)),
            f"{made.source}\n{made.kind}" if made else each.reason,
            f"{made.attention_top.bars_ago} h ago\n({made.attention_top.weight:.0%})"
            if made and made.attention_top
            else "-",
            each.bar.completeness if each.bar else "-",
            _skill(each),
        )
    return table


def summary_table(app: App, tally: Tally) -> RenderableType:
    """Bars by verdict and against the real ones, then live skill beside the baselines with standard errors."""
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in tally.verdicts.most_common()) or "none"
    sources = ", ".join(f"{each.symbol} {source}" for each, source in tally.last_source.items()) or "none"
    lines = [
        Text(f"live bars: {verdicts}; equal to the real ones: {tally.equal}, different: {len(tally.different)}"),
        *(Text(f"  {line}", "red") for line in tally.different[:5]),
        Text(f"forecasts: {sum(tally.forecasts.values())}; source of the last: {sources}"),
    ]
    table = Table(
        *("symbol", "bars", "made by", "scored", "pinball, bp", "vs HAR", "vs random walk", "RMSE vs random walk"),
        *("in 80%", "in 95%"),
        title="live skill: ratios below 1 beat the baseline, ± standard error",
    )
    for row in app.parts.pipeline.scoreboard.table():
        table.add_row(
            row.symbol,
            str(row.horizon_bars),
            row.kind,
            str(row.count),
            _number(row.pinball_bp, ".2f"),
            ratio(row.pinball_vs_har, row.pinball_vs_har_se),
            ratio(row.pinball_vs_random_walk, row.pinball_vs_random_walk_se),
            ratio(row.rmse_vs_random_walk, row.rmse_vs_random_walk_se),
            _number(row.coverage_80, ".0%"),
            _number(row.coverage_95, ".0%"),
        )
    return Group(*lines, table)


def _cell(made: ForecastStatus | None, bars: int) -> str:
    horizon = next((each for each in made.horizons if each.bars == bars), None) if made else None
    return _band(horizon, "\n") if horizon else "-"


def _band(horizon: HorizonStatus, separator: str = " ") -> str:
    return f"{horizon.median:,.2f}{separator}[{horizon.low_80:,.2f} {horizon.high_80:,.2f}]"


def _skill(symbol: SymbolStatus) -> str:
    skill = symbol.skill
    if skill is None or skill.scored == 0:
        return "nothing scored yet"
    har = ratio(skill.pinball_vs_har, skill.pinball_vs_har_se)
    random_walk = ratio(skill.pinball_vs_random_walk, skill.pinball_vs_random_walk_se)
    return f"{har}\n{random_walk} (n={skill.scored})"


def _number(value: float | None, spelling: str) -> str:
    return "-" if value is None else format(value, spelling)
