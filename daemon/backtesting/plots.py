"""The plots of a backtest's report, each from the outcomes or from the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.backtesting.svg import Plot, ticks
from daemon.timestamps import from_iso
from models.distribution import central_index
from models.evaluation.measures import central_intervals
from models.evaluation.outcomes import Outcomes

FloatArray = npt.NDArray[np.float64]

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_PAST_BARS = 48
_SHOWN_BARS = 168


def fan_chart(outcomes: Outcomes, kind: str, row: int) -> str:
    """The price before one cut-off, then the quantiles of ``kind`` and the prices at each horizon after it."""
    levels, centre = outcomes.levels, central_index(outcomes.levels)
    quantiles = outcomes.answers[kind].quantiles[row]  # (H, Q)
    reference = outcomes.log_close[row]
    ahead = np.concatenate([[0], outcomes.horizons]).astype(np.float64)
    fan = np.exp(reference + np.vstack([np.zeros(len(levels)), quantiles]))  # (H + 1, Q)
    came = np.exp(reference + np.concatenate([[0.0], outcomes.returns[row]]))
    same = outcomes.index == outcomes.index[row]
    bars_ago = (outcomes.close_time_us - outcomes.close_time_us[row]) / outcomes.interval_us
    past = same & (bars_ago <= 0) & (bars_ago > -_PAST_BARS)
    before = np.exp(outcomes.log_close[past])
    shown = np.concatenate([fan.ravel(), came[np.isfinite(came)], before])
    plot = Plot(
        width=420, height=230, x=(-_PAST_BARS, ahead[-1]), y=_padded(float(shown.min()), float(shown.max())), left=64
    )
    plot.y_axis((value, f"{value:,.6g}") for value in ticks(float(shown.min()), float(shown.max()), 4))
    plot.x_axis((value, f"{value:+.0f}" if value else "0") for value in (*range(-_PAST_BARS, 0, 24), 0, ahead[-1]))
    for _, lower, upper in reversed(central_intervals(levels)):
        plot.band(ahead, fan[:, lower], fan[:, upper], "var(--accent)", opacity=0.16)
    plot.line(ahead, fan[:, centre], "var(--accent)")
    plot.line(bars_ago[past], before, "var(--ink)")
    plot.upright(0.0)
    for bars, price in zip(ahead[1:], came[1:], strict=True):
        if np.isfinite(price):
            plot.dot(float(bars), float(price), "var(--ink)")
    return plot.render(f"Fan chart of {kind}: intervals ahead and the realised prices")


def band_chart(outcomes: Outcomes, kind: str, rows: npt.NDArray[np.int64]) -> str:
    """The last week's intervals of the first horizon, each beside the return that followed, in percent."""
    rows = rows[-_SHOWN_BARS:]
    times = outcomes.close_time_us[rows].astype(np.float64)
    quantiles = 100.0 * outcomes.answers[kind].quantiles[rows, 0]  # (n, Q)
    returns = 100.0 * outcomes.returns[rows, 0]
    largest = float(np.nanmax(np.abs(np.concatenate([quantiles.ravel(), returns]))))
    plot = Plot(width=860, height=230, x=(times[0], times[-1]), y=(-1.06 * largest, 1.06 * largest))
    plot.y_axis((value, f"{value:g}%") for value in ticks(-largest, largest, 5))
    plot.x_axis(time_ticks(times[0], times[-1]))
    for _, lower, upper in reversed(central_intervals(outcomes.levels)):
        plot.band(times, quantiles[:, lower], quantiles[:, upper], "var(--accent)", opacity=0.16)
    for time, value in zip(times, returns, strict=True):
        if np.isfinite(value):
            plot.dot(time, value, "var(--ink)", radius=1.7)
    return plot.render(f"Intervals of {kind} over a week and the returns that followed")


def pit_histogram(densities: Sequence[float], levels: Sequence[float], colour: str, kind: str) -> str:
    """Share of the truths between neighbouring quantiles over the share that belongs there; flat at 1 is calibrated."""
    edges = [0.0, *levels, 1.0]
    highest = max(2.0, 1.08 * max(densities))
    plot = Plot(width=270, height=170, x=(0.0, 1.0), y=(0.0, highest), left=34)
    plot.y_axis((value, f"{value:g}") for value in ticks(0.0, highest, 4))
    plot.x_axis((value, f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0))
    for low, high, density in zip(edges, edges[1:], densities, strict=False):
        plot.box((low, high), (0.0, density), colour)
    plot.across(1.0)
    plot.text(plot.left + 4, plot.top + 8, kind, strong=True)
    return plot.render(f"PIT histogram of {kind}")


def coverage_chart(measures: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    """How far each kind's coverage is from nominal, in points, with two standard errors either way."""
    percents = sorted({int(percent) for each in measures.values() for percent in each["coverage"]})
    values = {
        (percent, kind): each["coverage"][str(percent)]
        for percent in percents
        for kind, each in measures.items()
        if str(percent) in each["coverage"]
    }
    off = {key: 100 * each["value"] - key[0] for key, each in values.items()}
    reach = max(3.0, *(abs(off[key]) + 200 * each["se"] for key, each in values.items()))
    plot = Plot(width=860, height=230, x=(0.0, float(len(percents))), y=(-1.05 * reach, 1.05 * reach), left=58)
    plot.y_axis((value, f"{value:+g} pt" if value else "0") for value in ticks(-reach, reach, 5))
    plot.x_axis((column + 0.5, f"{percent}% interval") for column, percent in enumerate(percents))
    plot.across(0.0)
    for (percent, kind), each in values.items():
        place = percents.index(percent) + (list(measures).index(kind) + 1.0) / (len(measures) + 1.0)
        error = 200 * each["se"]
        plot.spread(place, off[percent, kind] - error, off[percent, kind] + error, colours[kind])
        plot.dot(place, off[percent, kind], colours[kind], title=f"{kind}: {100 * each['value']:.1f}%")
    return plot.render("Coverage less nominal coverage")


def skill_chart(results: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> str:
    """Each kind's pinball loss over HAR's at every horizon, with two standard errors either way; below 1 is better."""
    points = [
        (column, kind, measures["pinball_vs"]["har"])
        for column, result in enumerate(results)
        for kind, measures in result["measures"].items()
        if "har" in measures["pinball_vs"]
    ]
    if not points:
        return ""
    low = min(each["value"] - 2 * each["se"] for _, _, each in points)
    high = max(each["value"] + 2 * each["se"] for _, _, each in points)
    low, high = min(low, 0.99), max(high, 1.01)
    plot = Plot(width=860, height=250, x=(0.0, float(len(results))), y=_padded(low, high), left=58)
    plot.y_axis((value, f"{value:.4g}") for value in ticks(low, high, 6))
    plot.x_axis((column + 0.5, f"{result['horizon']} ahead") for column, result in enumerate(results))
    plot.across(1.0)
    kinds = list(dict.fromkeys(kind for _, kind, _ in points))
    for column, kind, each in points:
        place = column + (kinds.index(kind) + 1.0) / (len(kinds) + 1.0)
        plot.spread(place, each["value"] - 2 * each["se"], each["value"] + 2 * each["se"], colours[kind])
        plot.dot(place, each["value"], colours[kind], title=f"{kind}: {each['value']:.4f} ± {each['se']:.4f}")
    return plot.render("Pinball loss over HAR's by horizon")


def time_chart(periods: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> str:
    """Each kind's pinball loss over HAR's from week to week; below 1 is better."""
    if len(periods) < 2:
        return ""
    times = [(from_iso(period["from"]) + from_iso(period["to"])) / 2 for period in periods]
    kinds = [kind for kind in periods[0]["pinball_vs_har"] if kind != "har"]
    lines = {kind: [period["pinball_vs_har"].get(kind, np.nan) for period in periods] for kind in kinds}
    shown = np.array([value for line in lines.values() for value in line if np.isfinite(value)] + [0.99, 1.01])
    low, high = float(shown.min()), float(shown.max())
    plot = Plot(width=860, height=250, x=(times[0], times[-1]), y=_padded(low, high), left=58)
    plot.y_axis((value, f"{value:.4g}") for value in ticks(low, high, 6))
    plot.x_axis(time_ticks(times[0], times[-1]))
    plot.across(1.0)
    for kind, line in lines.items():
        plot.line(times, line, colours[kind])
    return plot.render("Pinball loss over HAR's from week to week")


def attention_map(outcomes: Outcomes, kind: str, rows: npt.NDArray[np.int64]) -> str:
    """Which bars of the window the last week's forecasts looked at: the newest bar on top, full colour the most."""
    attention = outcomes.answers[kind].attention
    if attention is None:
        return ""
    rows = rows[-_SHOWN_BARS:]
    weights = attention[rows].T[::-1]  # (L, n), newest first
    if not np.isfinite(weights).any():
        return ""
    times = outcomes.close_time_us[rows].astype(np.float64)
    length = len(weights)
    strongest = float(np.nanquantile(weights, 0.995))
    plot = Plot(width=860, height=240, x=(times[0], times[-1]), y=(0.0, length), left=72)
    plot.image(np.nan_to_num(weights / strongest), (times[0], times[-1]), (0.0, length))
    plot.y_axis(
        (length - ago - 0.5, f"{ago} ago" if ago else "newest") for ago in range(0, length, max(length // 4, 1))
    )
    plot.x_axis(time_ticks(times[0], times[-1]))
    return plot.render(f"Attention of {kind} over the window, forecast by forecast")


def time_ticks(low_us: float, high_us: float) -> list[tuple[float, str]]:
    """Midnights, at most eight of them, as ``03 Sep``."""
    days = (high_us - low_us) / _DAY_US
    step_us = next((day for day in (1, 2, 7, 14, 28, 91, 182, 365) if days / day <= 8), 730) * _DAY_US
    first_us = -(-int(low_us) // step_us) * step_us
    return [
        (float(time_us), f"{datetime.fromtimestamp(time_us / 1e6, UTC):%d %b}")
        for time_us in range(first_us, int(high_us) + 1, step_us)
    ]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low)
    return low - margin, high + margin
