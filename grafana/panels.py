"""The vocabulary of the dashboard: rows of panels of queries as plain data, and the PromQL they are written in."""

from __future__ import annotations

from dataclasses import dataclass, field

# Bars come once an interval: quantiles of what happens at a bar look back over several of them.
QUANTILE_WINDOW = "6h"
COUNT_WINDOW = "1h"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; ``legend`` is Grafana's template over the result's labels."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``unit`` is Grafana's unit id; ``stat`` shows the newest value in large type instead of lines.

    ``reference`` draws a line at a value that the figures are to be read against. ``words`` replaces numbers by text,
    e.g. 1 by "connected".
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


def chosen(metric: str, *matchers: str) -> str:
    """``metric`` of the instances chosen at the top of the dashboard."""
    selection = ", ".join(('instance=~"$instance"', *matchers))
    return f"{metric}{{{selection}}}"


def of_instance(name: str, *matchers: str) -> str:
    return chosen(f"forecastd_{name}", *matchers)


def of_symbol(name: str, *matchers: str) -> str:
    return of_instance(name, 'symbol=~"$symbol"', *matchers)


def increase(series: str, window: str = COUNT_WINDOW, *, by: str | None = None) -> str:
    """Events within ``window``, summed by the labels ``by``, or into one."""
    grouping = "" if by is None else f" by ({by})"
    return f"sum{grouping} (increase({series}[{window}]))"


def per_second(series: str, *, by: str) -> str:
    """Events a second of wall time, for what happens all the time."""
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


def age(timestamps: str) -> str:
    """Seconds of market time since ``timestamps``, by the daemon's own clock."""
    return f"{of_instance('clock_timestamp_seconds')} - on (instance, job) group_right () {timestamps}"


def quantile(level: float, histogram: str) -> str:
    """A quantile per venue over the last bars."""
    buckets = increase(of_instance(f"{histogram}_bucket"), QUANTILE_WINDOW, by="le, venue")
    return f"histogram_quantile({level}, {buckets})"


def beside_baseline(ratio: str, baseline: str) -> tuple[Query, ...]:
    """A skill ratio with one standard error to each side."""
    return with_error(ratio, f'baseline="{baseline}"')


def with_error(ratio: str, *matchers: str) -> tuple[Query, ...]:
    """A figure of the chosen horizons with one standard error to each side."""
    matchers = ('horizon=~"$horizon"', *matchers)
    value, error = of_symbol(ratio, *matchers), of_symbol(f"{ratio}_standard_error", *matchers)
    name = "{{symbol}} +{{horizon}}"
    return (
        Query(value, name),
        Query(f"{value} + {error}", f"{name} upper"),
        Query(f"{value} - {error}", f"{name} lower"),
    )
