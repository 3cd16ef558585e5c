"""An explanation as a PNG: columns over the hours, the heat map under them, and beside them what features weighed.

matplotlib is an extra, and imported only here, where a picture is drawn. Its figures are used without pyplot: no
window, no display and no state between two pictures.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daemon.errors import EXIT_USAGE, Fatal
from daemon.explaining.finding import Explained
from daemon.explaining.labels import bars, before_close, day_and_minute, moment
from daemon.output_files import write_file
from models.explain import Hour, attention_rows, family_weights, spread_over, top_hours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_ACCENT, _STRONG, _UNKNOWN, _INK = "#6fb7a6", "#0a7d64", "#e3e3e3", "#333333"
_SHOWN_FEATURES = 15
_HOUR_TICKS = 8
_MOST_ROW_LABELS = 12
_DOTS_PER_INCH = 130


class PlotRefused(Fatal):
    """The picture cannot be drawn or written."""

    exit_code = EXIT_USAGE


def check_drawable(file: Path) -> None:
    """Raises PlotRefused where there is nothing to draw with or nowhere to write; before the store is read."""
    if file.suffix.lower() != ".png":
        raise PlotRefused(f"--plot was {file}; write a name that ends in .png")
    if not file.parent.is_dir():
        raise PlotRefused(f"--plot was {file}; there is no folder {file.parent}")
    try:
        from matplotlib.figure import Figure  # noqa: F401, PLC0415  # an extra
    except ImportError as error:
        raise PlotRefused('--plot needs the package matplotlib: pip install "forecastd[plot]"') from error


def draw(found: Explained, file: Path) -> None:
    """Writes the picture. Raises OutputRefused where the file cannot be written."""
    picture = io.BytesIO()
    _figure(found).savefig(picture, dpi=_DOTS_PER_INCH, format="png")
    write_file(file, picture.getvalue())


def _figure(found: Explained) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415  # an extra

    wide = bool(found.features)
    figure = Figure(figsize=(15.0 if wide else 10.0, 8.0), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(
        2, 3 if wide else 2, height_ratios=(1.0, 1.25), width_ratios=(1.0, 0.02, 0.42) if wide else (1.0, 0.02)
    )
    hours, heat = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    figure.suptitle(_headline(found), x=0.01, ha="left", fontsize=12, color=_INK)
    _draw_hours(hours, found)
    image = _draw_heat(heat, found)
    scale = figure.colorbar(image, cax=figure.add_subplot(grid[1, 1]))
    scale.set_label("weight (% of one forecast)")
    if wide:
        _draw_features(figure.add_subplot(grid[0, 2]), found)
        _draw_families(figure.add_subplot(grid[1, 2]), found)
    return figure


def _headline(found: Explained) -> str:
    stored, model = found.stored, found.message.model
    return (
        f"{found.instrument}: what the forecast of {moment(stored.close_time_us)} looked at\n"
        f"forecast {stored.id}\nmade by {model.id} ({model.kind})"
    )


def _draw_hours(axes: Axes, found: Explained) -> None:
    length, interval_us = len(found.hours), found.stored.interval_us
    strongest = {hour.bars_ago for hour in top_hours(found.hours)}
    places = np.arange(length)
    colours = [_STRONG if hour.bars_ago in strongest else _ACCENT for hour in found.hours]
    axes.bar(places, 100.0 * found.attention, width=0.9, color=colours)
    for place, hour in enumerate(found.hours):
        if hour.known is False:
            axes.axvspan(place - 0.5, place + 0.5, color=_UNKNOWN, zorder=0)
        if hour.bars_ago in strongest:
            _name_hour(axes, place, hour, interval_us)
    axes.axhline(100.0 / length, color=_INK, linewidth=0.8, linestyle="--")
    beside = axes.get_yaxis_transform()  # x in the frame, y in data
    axes.text(1.005, 100.0 / length, "even\nshare", transform=beside, fontsize=8, color=_INK, va="center")
    noun = bars(interval_us)
    unknown = sum(hour.known is False for hour in found.hours)
    grey = f"; grey: the {unknown} not known" if unknown else ""
    spread = spread_over(found.attention)
    axes.set_title(
        f"Attention over {length} {noun}: as if spread evenly over {spread:.1f} of them{grey}",
        loc="left",
        fontsize=10,
    )
    axes.set_ylabel("weight (%)")
    axes.margins(y=0.16)
    axes.set_ylim(bottom=0.0)
    _hour_ticks(axes, length, [day_and_minute(hour.from_us).replace(" ", "\n") for hour in found.hours])
    axes.set_xlabel(f"when the {noun[:-1]} opened (UTC)")
    axes.spines[["top", "right"]].set_visible(False)


def _name_hour(axes: Axes, place: int, hour: Hour, interval_us: int) -> None:
    """Upright, so that neighbours do not run into one another."""
    name, at = before_close(hour.bars_ago, interval_us), (place, 100.0 * hour.weight)
    axes.annotate(name, at, (0, 3), textcoords="offset points", ha="center", fontsize=8, rotation=90)


def _draw_heat(axes: Axes, found: Explained) -> AxesImage:
    """One row a forecast, the newest on top, under the columns of the same hours."""
    recent = found.recent[::-1]
    weights = 100.0 * attention_rows([each.attention for each in recent], len(found.hours))  # (N, L)
    highest = float(np.nanmax(weights))
    axes.set_facecolor(_UNKNOWN)
    image = axes.imshow(weights, aspect="auto", cmap="viridis", vmin=0.0, vmax=highest, interpolation="nearest")
    noun = bars(found.stored.interval_us)
    count = len(recent)
    silent = " (grey: a baseline's)" if np.isnan(weights).any() else ""
    title = "This forecast alone" if count == 1 else f"The last {count} forecasts, the newest on top{silent}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel("bar close (UTC)")
    rows = list(range(0, count, max(1, -(-count // _MOST_ROW_LABELS))))
    axes.set_yticks(rows, [day_and_minute(recent[row].close_time_us) for row in rows], fontsize=8)
    labels = [before_close(hour.bars_ago, found.stored.interval_us) for hour in found.hours]
    _hour_ticks(axes, len(labels), labels)
    axes.set_xlabel(f"when the {noun[:-1]} opened, before each forecast's bar close")
    return image


def _hour_ticks(axes: Axes, length: int, labels: Sequence[str]) -> None:
    """Labels the newest hour and those at round numbers of hours before the close."""
    step = max(1, length // _HOUR_TICKS)
    rows = sorted({*range(length % step, length, step), length - 1})
    axes.set_xlim(-0.5, length - 0.5)
    axes.set_xticks(rows, [labels[row] for row in rows], fontsize=8)


def _draw_features(axes: Axes, found: Explained) -> None:
    shown = found.features[:_SHOWN_FEATURES]
    places = np.arange(len(shown))
    axes.barh(places, [100.0 * each.weight for each in shown], color=_STRONG)
    axes.set_yticks(places, [each.name for each in shown], fontsize=8)
    axes.axvline(100.0 / len(found.features), color=_INK, linewidth=0.8, linestyle="--")
    axes.set_title(f"Top {len(shown)} of {len(found.features)} features (dashed: even share)", loc="left", fontsize=10)
    _across(axes)


def _draw_families(axes: Axes, found: Explained) -> None:
    families = family_weights(found.features)
    places = np.arange(len(families))
    axes.barh(places, [100.0 * weight for _, weight, _ in families], color=_ACCENT)
    axes.set_yticks(places, [f"{name} ({count})" for name, _, count in families], fontsize=8)
    axes.set_title("By family (number of features)", loc="left", fontsize=10)
    _across(axes)


def _across(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.set_xlabel("weight (%), mean over the known bars")
    axes.spines[["top", "right"]].set_visible(False)
