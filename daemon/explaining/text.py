"""An explanation for people: the same lines on a terminal, with colours, and through a pipe, without."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from daemon.explaining.charts import UNKNOWN, Columns, bar_across, column_chart, shade_row, shade_steps
from daemon.explaining.finding import Explained, Recent
from daemon.explaining.labels import bars, before_close, moment, percent
from models.explain import family_weights, newest_share, spread_over, top_hours

# Chart margins: a time at the left, the heaviest hour at the right, and a maximum width.
_LEFT, _RIGHT, _WIDEST = 19, 12, 160
_BAR_CELLS = 24
_SHOWN_FEATURES = 12
_SHOWN_FAMILIES = 6


def print_explanation(console: Console, found: Explained) -> None:
    """Prints the model, the top five hours, the hours as columns, the heat map, the features, and what is missing."""
    columns = _columns(console, len(found.hours))
    _print_head(console, found)
    console.print(_top_hours(found))
    _print_columns(console, found, columns)
    _print_heat(console, found, columns)
    if found.features:
        _print_features(console, found)
    for line in found.missing:
        console.print()
        console.print(Text(line, "yellow"))


def _columns(console: Console, length: int) -> Columns:
    # A pipe has no width: there the charts are as wide as on the narrowest usual terminal.
    width = min(console.width, _WIDEST) if console.is_terminal or console.width <= _WIDEST else 80
    return Columns.within(length, max(width - _LEFT - _RIGHT, 12))


def _print_head(console: Console, found: Explained) -> None:
    stored, model, weights = found.stored, found.message.model, found.attention
    noun, length = bars(stored.interval_us), len(weights)
    known = [hour.known for hour in found.hours if hour.known is not None]
    quarter = max(1, length // 4)
    console.print(Text(stored.id, "bold"))
    until = f", trained until {model.trained_until}" if model.trained_until else ""
    console.print(Text(f"made by {model.id} ({model.kind}{until}) at the close {moment(stored.close_time_us)}"))
    seen = f"{sum(known)} of {length} {noun} known" if known else f"{length} {noun}"
    console.print(
        f"{seen}; weighed as if {spread_over(weights):.1f} of them counted evenly; "
        f"{percent(newest_share(weights, quarter))} lies on the newest {quarter}"
    )


def _top_hours(found: Explained) -> Table:
    interval_us, even = found.stored.interval_us, 1.0 / len(found.hours)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title=_title("What it looked at most"))
    for name in ("opened", "from (UTC)", "to", "weight", "times even"):
        table.add_column(name, justify="left" if name in {"from (UTC)", "to"} else "right", overflow="fold")
    for hour in top_hours(found.hours):
        cells = (before_close(hour.bars_ago, interval_us), moment(hour.from_us), moment(hour.to_us)[11:])
        table.add_row(*cells, percent(hour.weight), f"{hour.weight / even:.1f}")
    return table


def _print_columns(console: Console, found: Explained, columns: Columns) -> None:
    unknown = any(hour.known is False for hour in found.hours)
    note = f" ({UNKNOWN}: not known)" if unknown else ""
    console.print(_title(f"Weight of each of the {len(found.hours)} {bars(found.stored.interval_us)}{note}"))
    *chart, axis, relative, absolute = column_chart(found.hours, found.stored.interval_us, columns, _LEFT)
    for line in chart:
        console.print(Text.assemble(line[:_LEFT], (line[_LEFT:], "green")))
    for line in (axis, relative, f"{absolute} UTC"):
        console.print(Text(line))


def _print_heat(console: Console, found: Explained, columns: Columns) -> None:
    rows = [each.attention for each in found.recent if each.attention is not None]
    fitting = [columns.sums(each) for each in rows if len(each) == len(found.hours)]
    highest = float(np.max(fitting)) or 1.0
    count = len(found.recent)
    series = f"The last {count} forecasts, newest last; columns as above"
    console.print()
    console.print(_title("This forecast alone" if count == 1 else series))
    for each in found.recent:
        console.print(_heat_row(each, found, highest, columns))
    steps = ", ".join(f"{shade} to {percent(weight)}" for shade, weight in shade_steps(highest))
    console.print(Text(" " * _LEFT + steps, "dim"))


def _heat_row(each: Recent, found: Explained, highest: float, columns: Columns) -> Text:
    label = f"{moment(each.close_time_us):<{_LEFT}}"
    if each.attention is None:
        return Text.assemble(label, (f"{each.kind}, a baseline", "dim"))
    if len(each.attention) != len(found.hours):
        return Text.assemble(label, (f"{each.kind}, over {len(each.attention)} bars", "dim"))
    most = len(each.attention) - int(each.attention.argmax())
    tail = f" {before_close(most, found.stored.interval_us)} {percent(float(each.attention.max()))}"
    other = "" if each.kind == found.message.model.kind else f" {each.kind}"
    return Text.assemble(label, (shade_row(each.attention, highest, columns), "green"), tail, (other, "dim"))


def _print_features(console: Console, found: Explained) -> None:
    features = found.features
    shown, families = features[:_SHOWN_FEATURES], family_weights(features)
    console.print()
    title = f"Weight of each feature, mean over the known {bars(found.stored.interval_us)}"
    console.print(_title(f"{title} (an even share is {percent(1.0 / len(features))})"))
    _print_bars(console, ((each.name, each.family, each.weight) for each in shown), shown[0].weight)
    left = features[len(shown) :]
    if left:
        console.print(Text(f"and {len(left)} more with {percent(sum(each.weight for each in left))} together", "dim"))
    console.print()
    console.print(_title("By family"))
    most = families[:_SHOWN_FAMILIES]
    _print_bars(console, ((name, f"{count} features", weight) for name, weight, count in most), most[0][1])


def _print_bars(console: Console, rows: Iterable[tuple[str, str, float]], highest: float) -> None:
    for name, note, weight in rows:
        bar = bar_across(weight, highest, _BAR_CELLS)
        console.print(Text.assemble(f"{name:<30}", (f"{note:<17}", "dim"), f"{percent(weight):>6} ", (bar, "green")))


def _title(text: str) -> Text:
    return Text(text, "bold not italic")
