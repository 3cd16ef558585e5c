"""Draws docs/demo.svg, the README's picture, from a real run of the demo: `python docs/make_demo_picture.py`.

Takes about four minutes: the demo trains its network and forecasts until enough of its forecasts are scored.
"""

# ruff: noqa: T201  # a command: what it prints is its answer

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from daemon.cli.commands.demo import Demo, DemoOptions
from daemon.cli.commands.demo_view import LiveView
from daemon.runtime.app import App
from daemon.simulator.loading import load_sample
from features.market import HOUR_US

PICTURE = Path(__file__).parent / "demo.svg"
WIDTH = 132
SPEED = 720.0
SCORED = 26  # ratios beside the baselines appear from 24 on
INTO_THE_HOUR = 0.4  # the prices have moved on from the last close by then

_DARK, _PALE, _RED, _GREEN = (42, 53, 51), (200, 210, 206), (255, 138, 128), (62, 207, 168)
_YELLOW, _BLUE, _VIOLET, _CYAN = (230, 173, 74), (120, 170, 255), (200, 150, 255), (90, 200, 220)
THEME = TerminalTheme((16, 21, 20), (230, 238, 235), [_DARK, _RED, _GREEN, _YELLOW, _BLUE, _VIOLET, _CYAN, _PALE])


class Camera(LiveView):
    """The live view of a terminal that nobody sees; stops the demo when there is something to see."""

    def __init__(self) -> None:
        console = Console(file=io.StringIO(), width=WIDTH, height=40, force_terminal=True, color_system="truecolor")
        super().__init__(console)
        self.picture = ""

    def refresh(self, app: App) -> None:
        skills = [each.skill for each in app.status().symbols]
        enough = all(skill is not None and skill.scored >= SCORED for skill in skills)
        sources = {each.forecast.source for each in app.status().symbols if each.forecast}
        if enough and sources == {"model"} and app.clock.market_us() % HOUR_US > INTO_THE_HOUR * HOUR_US:
            self.picture = self._draw(app)
            app.stop()

    def _draw(self, app: App) -> str:
        paper = Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True, color_system="truecolor")
        paper.print(self.render(app))
        paper.print()  # the picture's lower edge cuts into its last line
        drawn = paper.export_svg(title="forecastd demo", theme=THEME, unique_id="demo")
        # The reader's own monospace font will do: nothing is fetched from elsewhere.
        return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def main() -> None:
    """Runs the demo and writes the picture."""
    options = DemoOptions(
        speed=SPEED, hours=None, headless=False, json=False, state_dir=None, http_port=None, mqtt_port=None
    )
    camera = Camera()
    with tempfile.TemporaryDirectory(prefix="forecastd-picture-") as folder:
        uvloop.run(Demo(options, load_sample(), Path(folder), camera).run())
    if not camera.picture:
        raise SystemExit("the demo was stopped before there was anything to see")
    PICTURE.write_text(camera.picture)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
