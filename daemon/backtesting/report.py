"""One self-contained HTML file about a backtest: no script, no request to anywhere, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.backtesting import plots
from daemon.backtesting.tables import (
    CALIBRATED_COLUMNS,
    CALIBRATED_NOTE,
    COLUMNS,
    FOOTNOTE,
    alarms,
    calibrated_rows,
    rows,
)
from daemon.timestamps import iso
from models.evaluation.outcomes import Outcomes

_FANS = 4
# Distinguishable with colour blindness (after M. Okabe, K. Ito, 2008).
_COLOURS = (
    "#0a7d64",
    "#d55e00",
    "#0072b2",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f7f7f",
    "#8c564b",
    "#b3261e",
    "#6a51a3",
)
_STYLE = """
:root { color-scheme: light dark; --ground: #f4f6f5; --card: #fff; --ink: #17201d; --soft: #5d6a65; --line: #e1e6e3;
  --accent: #0a7d64; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #0e1312; --card: #171f1e; --ink: #e6eeeb; --soft: #93a39d;
  --line: #2a3533; --accent: #3ecfa8; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1180px; margin: 0 auto; padding: 1.6rem 1.25rem 3rem; }
h1 { font-size: 1.5rem; letter-spacing: -.02em; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .7rem; }
h3 { font-size: 1rem; margin: 0 0 .1rem; }
p { margin: .2rem 0 .7rem; }
.soft, figcaption { color: var(--soft); font-size: .87rem; }
.card, details { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem 1.15rem;
  margin: 0 0 1rem; overflow-x: auto; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: .6rem 1rem; }
.grid3 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 250px), 1fr)); gap: .4rem .8rem; }
.bad { color: var(--bad); font-weight: 600; }
table { border-collapse: collapse; white-space: nowrap; font-size: .8rem; width: 100%; }
th { text-align: right; font-weight: 400; color: var(--soft); padding: .1rem .4rem; }
td { text-align: right; padding: .22rem .3rem; border-top: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0;
  background: var(--card); }
td small { color: var(--soft); font-size: .9em; }
summary { cursor: pointer; } details > :nth-child(2) { margin-top: .8rem; } details p { margin-top: .9rem; }
h3:not(:first-child) { margin-top: 1rem; }
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg text.strong { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--line); } .mark { stroke: var(--soft); stroke-dasharray: 4 3; fill: none; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .87rem; margin: .2rem 0 .6rem; }
.key i { display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem; margin-right: .35rem; }
"""


def render(document: Mapping[str, Any], outcomes: Outcomes) -> str:
    """The page, from the document of ``daemon.backtesting.document`` and the outcomes behind it."""
    colours = {kind: _COLOURS[number % len(_COLOURS)] for number, kind in enumerate(document["kinds"])}
    series = list(dict.fromkeys(result["series"] for result in document["results"]))
    body = "".join(_series(name, document, outcomes, colours) for name in series)
    title = f"Backtest {document['from'][:10]} to {document['to'][:10]}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{_introduction(document)}{body}{_folds(document)}</main></body></html>\n"
    )


def _introduction(document: Mapping[str, Any]) -> str:
    series, kinds = ", ".join(document["series"]), ", ".join(document["kinds"])
    found = [line for result in document["results"] for line in alarms(result) if line.startswith("LEAK")]
    warnings = "".join(f'<p class="bad">{escape(line)}</p>' for line in found)
    return (
        f"<p>{escape(series)}, bars of {escape(document['interval'])}, {len(document['folds'])} retrainings: "
        f"{escape(kinds)}.</p>"
        f'<p class="soft">Every forecaster was refitted on the bars known {max(document["horizons"])} bars before its '
        "first forecast, and asked at every bar close with what a running daemon would have known. All are scored on "
        f"the same targets. {escape(FOOTNOTE)} Error bars are two of them either way.</p>{warnings}"
    )


def _series(name: str, document: Mapping[str, Any], outcomes: Outcomes, colours: Mapping[str, str]) -> str:
    results = [result for result in document["results"] if result["series"] == name]
    nearest = results[0]
    parts = [f"<h2>{escape('All series together' if name == 'all' else name)}</h2>", _measures_card(nearest)]
    if nearest["measures"]:
        parts += [_skill_card(results, colours), _calibration_card(nearest, document, colours)]
    row = document["series"].index(name) if name in document["series"] else None
    if row is not None:
        parts.append(_forecast_card(document["kinds"][0], outcomes, np.flatnonzero(outcomes.index == row)))
        parts += _attention_cards(document, outcomes, np.flatnonzero(outcomes.index == row))
    parts += [_more(result, with_measures=result is not nearest) for result in results if result["measures"]]
    return "".join(parts)


def _measures_card(result: Mapping[str, Any]) -> str:
    if not result["measures"]:
        return f'<div class="card">{result["scored"]} targets are too few for any estimate.</div>'
    silent = "".join(f"<p>{escape(line)}</p>" for line in alarms(result) if not line.startswith("LEAK"))
    return f'<div class="card"><h3>{_heading(result)}</h3>{_measures_table(result)}{silent}</div>'


def _more(result: Mapping[str, Any], *, with_measures: bool) -> str:
    """Folded away: the comparison of every two, and for the later horizons the measures."""
    measures = _measures_table(result) + _calibrated_table(result) if with_measures else ""
    what = _heading(result) if with_measures else f"{result['horizon']} ahead: every two compared"
    return f"<details><summary>{what}</summary>{measures}{_compared(result)}</details>"


def _heading(result: Mapping[str, Any]) -> str:
    bars = "bar" if result["horizon"] == 1 else "bars"
    return f"{result['horizon']} {bars} ahead: {result['scored']:,} targets over {result['days']:.0f} days"


def _measures_table(result: Mapping[str, Any]) -> str:
    return _table(COLUMNS, rows(result))


def _table(header: Sequence[str], body: Iterator[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in cells) + "</tr>" for cells in body)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(text: str) -> str:
    """A standard error stands smaller beside its value."""
    value, sign, error = escape(text).partition(" ± ")
    return f"{value}<small>{sign}{error}</small>" if sign else value


def _skill_card(results: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> str:
    over_time = plots.time_chart(results[0]["over_time"], colours)
    weeks = f"<h3>The same from week to week, {results[0]['horizon']} ahead</h3>{over_time}" if over_time else ""
    return (
        f'<div class="card"><h3>Pinball loss over that of HAR: below the dashed line is better</h3>{_key(colours)}'
        f"{plots.skill_chart(results, colours)}{weeks}</div>"
    )


def _calibration_card(result: Mapping[str, Any], document: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    histograms = "".join(
        f"<figure>{plots.pit_histogram(each['pit'], document['quantiles'], colours[kind], kind)}</figure>"
        for kind, each in result["measures"].items()
    )
    return (
        f'<div class="card"><h3>Coverage less nominal, in points</h3>{_key(colours)}'
        f"{plots.coverage_chart(result['measures'], colours)}"
        "<h3>Where the truth fell among the quantiles (PIT)</h3>"
        '<p class="soft">Flat at 1 is calibrated; a U is too narrow, a hill too wide, a slope off centre.</p>'
        f'<div class="grid3">{histograms}</div></div>{_calibrated_card(result)}'
    )


def _calibrated_card(result: Mapping[str, Any]) -> str:
    table = _calibrated_table(result)
    note = f'<p class="soft">{escape(CALIBRATED_NOTE)}</p>'
    return f'<div class="card"><h3>Before and after online calibration</h3>{note}{table}</div>' if table else ""


def _calibrated_table(result: Mapping[str, Any]) -> str:
    """Empty where calibration was not measured."""
    cells = list(calibrated_rows(result))
    return _table(CALIBRATED_COLUMNS, iter(cells)) if cells else ""


def _forecast_card(kind: str, outcomes: Outcomes, chosen: npt.NDArray[np.int64]) -> str:
    spoken = chosen[outcomes.answers[kind].spoken[chosen]]
    known = spoken[np.isfinite(outcomes.returns[spoken]).all(axis=1)]
    if not len(known):
        return ""
    picked = known[np.linspace(0, len(known) - 1, _FANS + 1).astype(np.int64)[1:]]
    fans = "".join(
        f"<figure>{plots.fan_chart(outcomes, kind, int(row))}"
        f"<figcaption>at {iso(int(outcomes.close_time_us[row]))}, bars before and after</figcaption></figure>"
        for row in picked
    )
    return (
        f'<div class="card"><h3>Forecasts of {escape(kind)}: central intervals, and the realised prices</h3>'
        f'<div class="grid2">{fans}</div><h3>The last week, {outcomes.horizons[0]} ahead</h3>'
        f"{plots.band_chart(outcomes, kind, known)}</div>"
    )


def _attention_cards(document: Mapping[str, Any], outcomes: Outcomes, chosen: npt.NDArray[np.int64]) -> Iterator[str]:
    for kind in document["kinds"]:
        drawn = plots.attention_map(outcomes, kind, chosen[outcomes.answers[kind].spoken[chosen]])
        if drawn:
            yield (
                f'<div class="card"><h3>Where {escape(kind)} looked</h3><p class="soft">A column is one forecast of '
                f"the last week, a row one bar of its window.</p>{drawn}</div>"
            )


def _compared(result: Mapping[str, Any]) -> str:
    """Diebold-Mariano, the row against the column."""
    kinds = list(result["measures"])
    found = {(each["first"], each["second"]): each for each in result["diebold_mariano"]}

    def cell(row: str, column: str) -> str:
        if row == column:
            return ""
        each, sign = (found.get((row, column)), 1.0) if (row, column) in found else (found.get((column, row)), -1.0)
        if each is None:
            return "-"
        chance = "p < 0.001" if each["p_value"] < 0.001 else f"p {each['p_value']:.3f}"
        return f"{sign * each['statistic']:+.1f} ({chance})"

    body = ((row, *(cell(row, column) for column in kinds)) for row in kinds)
    return (
        '<p class="soft">Diebold-Mariano statistic of the pinball losses: below zero the row is better than the column.'
        f"</p>{_table(('', *kinds), body)}"
    )


def _folds(document: Mapping[str, Any]) -> str:
    body = (
        (str(number), each["trained_from"], each["trained_until"], each["from"], each["to"])
        for number, each in enumerate(document["folds"], start=1)
    )
    header = ("retraining", "bars from", "bars until", "forecasts from", "forecasts until")
    return f'<h2>Retrainings</h2><div class="card">{_table(header, body)}</div>'


def _key(colours: Mapping[str, str]) -> str:
    marks = "".join(
        f'<span><i style="background:{colour}"></i>{escape(kind)}</span>' for kind, colour in colours.items()
    )
    return f'<div class="key">{marks}</div>'
