"""Console tables: one line for each row where the width allows it, else several."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

# Off a terminal nothing may be cut or wrapped: programs read it.
_UNBOUNDED = 10_000
# Terminal columns from which a row fits on one line.
_ONE_LINE = 132

Groups = Sequence[Sequence[str]]


def open_console(file: TextIO | None = None, *, width: int | None = None) -> Console:
    """A console on ``file``, by default standard output, as wide as its terminal; unbounded where it is none."""
    target = file or sys.stdout
    return Console(file=target, width=width or (None if target.isatty() else _UNBOUNDED), highlight=False)


def grouped_table(console: Console, header: Groups, rows: Iterable[Groups]) -> Table:
    """A table whose cells come in groups: side by side where ``console`` is wide, else one below the other.

    ``header`` and each row hold the same groups of cells, important ones first; a text that is still too long is
    folded, never cut.
    """
    wide = console.width >= _ONE_LINE
    table = Table(box=box.SIMPLE, pad_edge=False, leading=0 if wide else 1)
    for title in _cells(header, wide=wide):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row, wide=wide))
    return table


def _cells(groups: Groups, *, wide: bool) -> list[str]:
    return [cell for group in groups for cell in group] if wide else ["\n".join(group) for group in groups]
