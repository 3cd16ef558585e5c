"""The views of the demo: a live table on a terminal, one line for each forecast elsewhere."""

from __future__ import annotations

import io
import json as jsonlib
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from daemon.cli.commands.demo_tables import band_text, head, live_table, shown_horizons, summary_table, training_line
from daemon.cli.commands.demo_tally import DemoTally
from daemon.cli.commands.training_bar import progress_text
from daemon.forecasting.records import IssuedForecast
from daemon.runtime.status_snapshot import forecast_status
from models.specification import Progress

if TYPE_CHECKING:
    from daemon.runtime.app import App

_PROGRESS_STEPS = 10
_SUMMARY_WIDTH = 120  # off a terminal, where no width is known


class View(Protocol):
    """The display of the demo."""

    @property
    def log_stream(self) -> TextIO: ...
    def started(self, app: App, folder: Path) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def forecast(self, issued: IssuedForecast) -> None: ...
    def published(self, payload: bytes) -> None: ...
    def refresh(self, app: App) -> None: ...
    def close(self) -> None: ...
    def summary(self, app: App, tally: DemoTally) -> None: ...


class HeadlessView:
    """Lines: JSON payloads or sentences on standard output, the rest on standard error."""

    def __init__(self, *, json: bool) -> None:
        self.log_stream: TextIO = sys.stderr
        self._json = json
        self._last_step = -1

    def started(self, app: App, folder: Path) -> None:
        line = {
            "event": "demo_started",
            "http": app.http_address,
            "mqtt": app.mqtt_address,
            "subscribe": subscribe_command(app),
            "control": str(app.control_path),
            "state_dir": str(folder),
        }
        sys.stderr.write(jsonlib.dumps(line) + "\n")
        sys.stderr.flush()

    def progress(self, progress: Progress) -> None:
        step = int(progress.ratio * _PROGRESS_STEPS)
        if step != self._last_step:
            self._last_step = step
            sys.stderr.write(f"training: {progress_text(progress)}\n")
            sys.stderr.flush()

    def forecast(self, issued: IssuedForecast) -> None:
        if not self._json:
            self._line(forecast_line(issued))

    def published(self, payload: bytes) -> None:
        if self._json:
            self._line(payload.decode())

    def _line(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def refresh(self, app: App) -> None:
        pass

    def close(self) -> None:
        pass

    def summary(self, app: App, tally: DemoTally) -> None:
        console = Console(file=sys.stderr, width=_SUMMARY_WIDTH)
        console.print(summary_table(app.components.pipeline.scoreboard.table(), tally))


class LiveView:
    """A table on the alternate screen, updated four times a second; the summary follows on the normal screen."""

    def __init__(self, console: Console | None = None) -> None:
        self.log_stream: LastLines = LastLines()
        self._console = console or Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._progress: Progress | None = None
        self._console.print("forecastd demo: the simulated exchange, the broker and the daemon are starting")

    def started(self, app: App, folder: Path) -> None:  # noqa: ARG002  # the folder is in the headless view's line
        self._live.start()
        self.refresh(app)

    def progress(self, progress: Progress) -> None:
        self._progress = progress

    def forecast(self, issued: IssuedForecast) -> None:
        pass

    def published(self, payload: bytes) -> None:
        pass

    def refresh(self, app: App) -> None:
        self._live.update(self.render(app), refresh=True)

    def close(self) -> None:
        """Gives the usual screen back, with the last warnings of the run."""
        self._live.stop()
        for line in self.log_stream.lines:
            self._console.print(Text.from_ansi(line))

    def summary(self, app: App, tally: DemoTally) -> None:
        self._console.print(summary_table(app.components.pipeline.scoreboard.table(), tally))

    def render(self, app: App) -> RenderableType:
        """The whole screen at this moment."""
        document = app.status()
        parts = [
            head(document, http=app.http_address, subscribe=subscribe_command(app)),
            live_table(document.symbols, width=self._console.width),
            training_line(document, self._progress),
        ]
        if self.log_stream.lines:
            parts.append(Text.from_ansi(self.log_stream.lines[-1], no_wrap=True, overflow="ellipsis"))
        return Group(*parts)


class LastLines(io.StringIO):
    """Keeps the last few lines that are logged, so that the table is not torn apart."""

    _KEPT = 5

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=self._KEPT)

    def isatty(self) -> bool:
        """What is written here is for a terminal in the end, so it is spelt for one."""
        return True

    def write(self, text: str) -> int:
        self.lines.extend(line for line in text.splitlines() if line.strip())
        return len(text)


def forecast_line(issued: IssuedForecast) -> str:
    """One forecast as a sentence for a pipe or a log."""
    shown = forecast_status(issued)
    bands = ", ".join(f"{each.bars}h {band_text(each)}" for each in shown_horizons(shown))
    return (
        f"{shown.bar_close} {issued.forecast.symbol} {issued.reference_price:g} {bands} "
        f"[{issued.source}: {shown.kind}, bar {issued.quality.completeness.value}]"
    )


def subscribe_command(app: App) -> str:
    """What to type to see every message."""
    port = app.mqtt_address.rpartition(":")[2]
    base = f"{app.config.mqtt.base_topic}/{app.config.instance.name}"
    return f"mosquitto_sub -p {port} -v -t '{base}/#'"
