"""Charts of characters: columns over the hours, rows of shades, bars across. Plain lines, no colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.explaining.labels import before_close, day_and_minute, percent
from models.explain import FloatArray, Hour

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ACROSS = " ▏▎▍▌▋▊▉█"
SHADES = "·░▒▓█"
UNKNOWN = "x"
_HEIGHT = 8
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Columns:
    """How the hours lie on the screen: ``hours`` of them in a column of ``cells`` characters, ``count`` columns."""

    hours: int
    cells: int
    count: int

    @classmethod
    def within(cls, length: int, cells: int) -> Columns:
        """As wide as ``cells`` allow, two characters an hour at most; narrower than the hours, some share a column."""
        together = -(-length // cells)
        count = -(-length // together)
        return cls(hours=together, cells=min(2, cells // count), count=count)

    def sums(self, weights: FloatArray) -> FloatArray:
        """(..., L) to (..., count): the newest column is never short of hours, the oldest may be."""
        short = self.count * self.hours - weights.shape[-1]
        padded = np.concatenate([np.zeros((*weights.shape[:-1], short)), weights], axis=-1)
        together: FloatArray = padded.reshape(*weights.shape[:-1], self.count, self.hours).sum(-1)
        return together

    def place(self, bars_ago: int) -> int:
        """The first character of the column of an hour."""
        return (self.count - 1 - (bars_ago - 1) // self.hours) * self.cells


def column_chart(looked: Sequence[Hour], interval_us: int, columns: Columns, left: int) -> list[str]:
    """Attention by hour with the weight at the left, ``left`` characters wide, and the times of some hours below.

    An hour that was not known has a cross on the axis.
    """
    sums = columns.sums(np.array([hour.weight for hour in looked]))
    highest = float(sums.max()) or 1.0
    eighths = np.rint(sums / highest * 8 * _HEIGHT).astype(int)
    lines = []
    for row in range(_HEIGHT, 0, -1):
        label = percent(highest * row / _HEIGHT) if row in {_HEIGHT, _HEIGHT // 2} else ""
        cells = "".join(_EIGHTHS[min(max(each - 8 * (row - 1), 0), 8)] * columns.cells for each in eighths)
        lines.append(f"{label:>{left - 2}} {'┤' if label else '│'}{cells}")
    lines.append(f"{'0':>{left - 2}} ┼{_axis(looked, columns)}")
    return lines + [" " * left + line for line in _times(looked, interval_us, columns)]


def shade_row(attention: FloatArray, highest: float, columns: Columns) -> str:
    """(L,) as one row of shades, the oldest hour first; ``highest`` is the weight of the darkest."""
    steps = np.rint(columns.sums(attention) / highest * (len(SHADES) - 1)).astype(int)
    return "".join(SHADES[min(step, len(SHADES) - 1)] * columns.cells for step in steps)


def shade_steps(highest: float) -> list[tuple[str, float]]:
    """Each shade with the weight up to which it is used."""
    ends = [(step + 0.5) / (len(SHADES) - 1) for step in range(len(SHADES))]
    return [(shade, highest * min(end, 1.0)) for shade, end in zip(SHADES, ends, strict=True)]


def bar_across(weight: float, highest: float, cells: int) -> str:
    """A bar of at most ``cells`` characters."""
    eighths = round(weight / highest * 8 * cells) if highest > 0.0 else 0
    return _ACROSS[-1] * (eighths // 8) + (_ACROSS[eighths % 8] if eighths % 8 else "")


def _axis(looked: Sequence[Hour], columns: Columns) -> str:
    unknown = {columns.place(hour.bars_ago) for hour in looked if hour.known is False}
    places = range(0, columns.count * columns.cells, columns.cells)
    return "".join((UNKNOWN if place in unknown else "─") + "─" * (columns.cells - 1) for place in places)


def _times(looked: Sequence[Hour], interval_us: int, columns: Columns) -> list[str]:
    """Two lines under the axis: how long before the close an hour opened, and when that was."""
    width = columns.count * columns.cells
    step = max(1, len(looked) // _TICKS)
    relative, absolute = [" "] * width, [" "] * width
    newest = before_close(1, interval_us)
    _write(relative, width - len(newest), newest)  # first, for it is the one that must be there
    for hour in looked[::step]:
        _write(relative, columns.place(hour.bars_ago), before_close(hour.bars_ago, interval_us))
        _write(absolute, columns.place(hour.bars_ago), day_and_minute(hour.from_us))
    return ["".join(line).rstrip() for line in (relative, absolute)]


def _write(line: list[str], at: int, text: str) -> None:
    """Puts ``text`` there where it fits and touches no other."""
    space = line[max(at - 1, 0) : at + len(text) + 1]
    if at >= 0 and at + len(text) <= len(line) and all(each == " " for each in space):
        line[at : at + len(text)] = text
