"""How times, bars and weights are written in an explanation, wherever it is shown."""

from __future__ import annotations

from daemon.timestamps import iso
from features.market import HOUR_US

_UNITS = ((24 * HOUR_US, "d"), (HOUR_US, "h"), (HOUR_US // 60, "m"), (HOUR_US // 3600, "s"))


def before_close(bars_ago: int, interval_us: int) -> str:
    """When a bar opened, from the close back: ``-3h``, ``-1h15m``; in days only where bars last days."""
    left_us, parts = bars_ago * interval_us, []
    for unit_us, name in _UNITS:
        if name == "d" and interval_us % unit_us:
            continue
        count, left_us = divmod(left_us, unit_us)
        parts += [f"{count}{name}"] if count else []
    return "-" + "".join(parts)


def moment(time_us: int) -> str:
    """``2026-01-05 13:00Z``; seconds where they are not 0."""
    return iso(time_us).replace("T", " ").replace(":00Z", "Z")


def day_and_minute(time_us: int) -> str:
    """``01-05 13:00``, for axes."""
    return moment(time_us)[5:16]


def percent(weight: float) -> str:
    """A share as ``21.4%``."""
    return f"{100 * weight:.1f}%"


def bars(interval_us: int) -> str:
    """What the bars of a window are called."""
    return "hours" if interval_us == HOUR_US else "bars"
