"""A search's outcome: one JSON document, ``forecastd.search.v1``, and the table of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from daemon.intervals import interval_name
from daemon.searching.plan import SearchPlan
from daemon.searching.running import TrialResult
from daemon.timestamps import iso
from models.evaluation.skill import Estimate
from models.overrides import Overrides
from models.specification import NETWORK_KINDS

SCHEMA = "forecastd.search.v1"


def search_document(plan: SearchPlan, results: Sequence[TrialResult]) -> dict[str, Any]:
    """Plain JSON values. ``results``: best first."""
    backtest, best = plan.backtest, results[0]
    return {
        "schema": SCHEMA,
        "kind": plan.kind,
        "preset": plan.preset or None,
        "metric": {
            "name": plan.metric_name,
            "is": plan.metric.says,
            "better": "higher" if plan.metric.higher_is_better else "lower",
        },
        "strategy": plan.strategy,
        "seed": plan.seed,
        "from": iso(backtest.from_us),
        "to": iso(backtest.until_us),
        "folds": len(backtest.folds),
        "interval": interval_name(backtest.settings.interval_us),
        "horizons": list(backtest.settings.horizons),
        "fixed": plan.fixed.given,
        "run": str(plan.run),
        "trials": [
            {
                "trial": each.trial,
                "set": each.overrides.given,
                "folds": each.folds,
                "value": _estimate(each.value),
                "har": _estimate(each.har),
                "random_walk": _estimate(each.random_walk),
            }
            for each in results
        ],
        "best": {"trial": best.trial, "set": best.overrides.given, **_uses(plan, best.overrides)},
    }


def print_search(console: Console, document: Mapping[str, Any]) -> None:
    """The table of trials, best first, and how the best is used."""
    metric, best = document["metric"], document["best"]
    what = " ".join(filter(None, (document["kind"], document["preset"])))
    console.print(
        f"{what}, {len(document['trials'])} trials over {document['folds']} "
        f"retrainings, {document['from']} to {document['to']}: {metric['is']}, mean over "
        f"{', '.join(map(str, document['horizons']))} bars ahead; {metric['better']} is better",
        soft_wrap=True,
    )
    console.print(_table(document))
    if best["set"]:
        for line in ("train", "config", "judge"):
            if line in best:
                console.print(best[line], soft_wrap=True, markup=False)
    else:
        console.print("nothing that was tried is better than the preset as it is")
    console.print(
        "± one block-bootstrap standard error, paired with the yardstick. The best of many looks better than it is: "
        "what it is worth, hours say on which it was not chosen.",
        soft_wrap=True,
    )


def _table(document: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    names = list(dict.fromkeys(name for each in document["trials"] for name in each["set"]))
    for title in ("trial", "folds", document["metric"]["name"], "HAR", "random walk", *names):
        table.add_column(title, justify="right")
    for each in document["trials"]:
        table.add_row(
            str(each["trial"]) if each["trial"] else "preset",
            str(each["folds"]),
            *(_figure(each[kind]) for kind in ("value", "har", "random_walk")),
            *(f"{each['set'][name]:g}" if name in each["set"] else "" for name in names),
        )
    return table


def _uses(plan: SearchPlan, best: Overrides) -> dict[str, str]:
    """Command and configuration lines that use what is set, and the command that judges it on later hours."""
    words = str(best).replace(" ", ",")
    if not words:
        return {}
    epochs = plan.backtest.settings.epochs
    preset = f" --preset {plan.preset}" if plan.preset else ""
    preset += f" --epochs {epochs}" if epochs else ""
    uses = {}
    if plan.kind in NETWORK_KINDS:
        values = ", ".join(f'"{each}"' for each in str(best).split())
        uses["train"] = f"forecastd train --model {plan.kind}{preset} --set {words}"
        uses["config"] = f'[model]\nkind = "{plan.kind}"\npreset = "{plan.preset}"\noverrides = [{values}]'
    if plan.later:
        later = iso(plan.backtest.until_us)
        uses["judge"] = f"forecastd backtest --from {later} --model {plan.kind}{preset} --set {words}"
    return uses


def _estimate(estimate: Estimate) -> dict[str, float] | None:
    return None if math.isnan(estimate.value) else {"value": estimate.value, "se": estimate.standard_error}


def _figure(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "-"
    value, error = estimate["value"], estimate["se"]
    return f"{value:.4f}" if error < 1e-12 else f"{value:.4f} ± {error:.4f}"
