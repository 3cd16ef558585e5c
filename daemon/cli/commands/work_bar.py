"""How far some work is: one bar on a terminal, lines off it; both on standard error."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(console: Console, *, transient: bool) -> Progress:
    """Text, bar, percent, time taken and time left, not yet started; a transient one is gone when it is stopped."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
    )


class WorkBar:
    """A bar that is there from the first ``show`` to ``close``, and gone after it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._told: set[str] = set()

    def show(self, text: str, ratio: float, *, line: str | None = None) -> None:
        """The bar at ``ratio`` with ``text``; off a terminal ``line``, each once, None for none."""
        if self._console.is_terminal:
            self._advance(text, ratio)
        elif line is not None and line not in self._told:
            self._told.add(line)
            sys.stderr.write(line + "\n")

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(text, soft_wrap=True, markup=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _advance(self, text: str, ratio: float) -> None:
        if self._bar is None:
            self._bar = progress_bar(self._console, transient=True)
            self._task = self._bar.add_task(text, total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=ratio, description=text)
