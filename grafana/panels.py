"""Rows, panels and queries of the dashboard as plain data, and builders of PromQL expressions."""

from __future__ import annotations

from dataclasses import dataclass, field

# Bars close once per interval, so quantiles of per-bar figures cover several bars.
QUANTILE_WINDOW = "6h"
COUNT_WINDOW = "1h"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; ``legend`` is Grafana's legend template with labels of the result."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``unit`` is Grafana's unit id; ``stat`` shows the newest value in large type instead of lines.

    ``reference`` draws a line at a value to compare with. ``words`` maps numbers to text, e.g. 1 to "connected".
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    stat: bool = False
    width: int = 8
    minimum: float | None = None
    maximum: float | None = None
    reference: float | None = None
    stacked: bool = False
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def of_selection(metric: str, *matchers: str) -> str:
    """``metric`` of the instances selected in the dashboard."""
    selection = ", ".join(('instance=~"$instance"', *matchers))
    return f"{metric}{{{selection}}}"


def of_instance(name: str, *matchers: str) -> str:
    return of_selection(f"forecastd_{name}", *matchers)


def of_symbol(name: str, *matchers: str) -> str:
    return of_instance(name, 'symbol=~"$symbol"', *matchers)


def increase(series: str, window: str = COUNT_WINDOW, *, by: str | None = None) -> str:
    """Events within ``window``, summed by the labels ``by``, or over all series."""
    grouping = "" if by is None else f" by ({by})"
    return f"sum{grouping} (increase({series}[{window}]))"


def per_second(series: str, *, by: str) -> str:
    """Events per second of wall time, for counters that grow continuously."""
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


def age(timestamps: str) -> str:
    """Seconds of market time since ``timestamps``, by the daemon's own clock."""
    return f"{of_instance('clock_timestamp_seconds')} - on (instance, job) group_right () {timestamps}"


def quantile(level: float, histogram: str) -> str:
    """A quantile per venue over ``QUANTILE_WINDOW``."""
    buckets = increase(of_instance(f"{histogram}_bucket"), QUANTILE_WINDOW, by="le, venue")
    return f"histogram_quantile({level}, {buckets})"


def against_baseline(ratio: str, baseline: str) -> tuple[Query, ...]:
    """A skill ratio with one standard error to each side."""
    return with_error(ratio, f'baseline="{baseline}"')


def with_error(ratio: str, *matchers: str) -> tuple[Query, ...]:
    """A figure of the selected horizons with one standard error to each side."""
    matchers = ('horizon=~"$horizon"', *matchers)
    value, error = of_symbol(ratio, *matchers), of_symbol(f"{ratio}_standard_error", *matchers)
    name = "{{symbol}} +{{horizon}}"
    return (
        Query(value, name),
        Query(f"{value} + {error}", f"{name} upper"),
        Query(f"{value} - {error}", f"{name} lower"),
    )
