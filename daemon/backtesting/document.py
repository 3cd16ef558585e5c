"""A backtest's outcome as one JSON document, ``forecastd.backtest.v1``: what the tables and the report show too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from daemon.backtesting.plan import DAY_US, Plan
from daemon.intervals import interval_name
from daemon.timestamps import iso
from models.evaluation.comparison import over_time, pairs
from models.evaluation.measures import Calibrated, Measures, horizon_measures
from models.evaluation.outcomes import Outcomes
from models.evaluation.skill import Estimate

SCHEMA = "forecastd.backtest.v1"
_WEEK_US = 7 * DAY_US


def document(plan: Plan, outcomes: Outcomes) -> dict[str, Any]:
    """Plain JSON values; an estimate is ``{"value", "se"}``, a loss in basis points of log return."""
    interval_us = plan.settings.interval_us
    return {
        "schema": SCHEMA,
        "from": iso(plan.from_us),
        "to": iso(plan.until_us),
        "interval": interval_name(interval_us),
        "horizons": list(plan.settings.horizons),
        "quantiles": list(plan.settings.levels),
        "series": [f"{venue}:{symbol}" for venue, symbol in outcomes.series],
        "kinds": list(plan.kinds),
        "folds": [
            {
                "trained_from": iso(fold.train_from_us),
                "trained_until": iso(fold.train_until_us),
                "from": iso(fold.test_from_us),
                "to": iso(fold.test_until_us),
            }
            for fold in plan.folds
        ],
        "results": _results(plan, outcomes),
    }


def _results(plan: Plan, outcomes: Outcomes) -> list[dict[str, Any]]:
    chosen = {f"{venue}:{symbol}": outcomes.index == row for row, (venue, symbol) in enumerate(outcomes.series)}
    chosen["all"] = np.ones(len(outcomes), dtype=np.bool_)
    results = []
    for board in horizon_measures(outcomes):
        column = outcomes.horizons.index(board.horizon)
        # A period shorter than the overlap of its outcomes would show one of them only.
        period_us = max(_WEEK_US, 4 * board.horizon * plan.settings.interval_us)
        results.append(
            {
                "series": board.series,
                "horizon": board.horizon,
                "scored": board.scored,
                "days": round(board.days, 2),
                "bootstrap_block": board.block,
                "silent": board.silent,
                "measures": {kind: _measures(board.by_kind[kind]) for kind in plan.kinds if kind in board.by_kind},
                "diebold_mariano": [asdict(each) for each in pairs(outcomes, column, chosen[board.series])],
                "over_time": [
                    {
                        "from": iso(period.from_us),
                        "to": iso(period.until_us),
                        "scored": period.scored,
                        "pinball_vs_har": period.pinball_vs_har,
                    }
                    for period in over_time(outcomes, column, chosen[board.series], period_us=period_us)
                ],
            }
        )
    return results


def _measures(measures: Measures) -> dict[str, Any]:
    return {
        "pinball_bp": _estimate(measures.pinball_bp),
        "crps_bp": _estimate(measures.crps_bp),
        "pinball_vs": _estimates(measures.pinball_vs),
        "qlike": _estimate(measures.qlike),
        "r2_log_variance": _estimate(measures.r2_log_variance),
        "coverage": _estimates(measures.coverage),
        "pit": list(measures.pit),
        "rmse_vs_random_walk": _estimate(measures.rmse_vs_random_walk),
        "direction": _estimate(measures.direction),
        "direction_over_reversal": _estimate(measures.direction_over_reversal),
        "leak_alarm": {
            "verdict": measures.leak_alarm.verdict.value,
            "reasons": list(measures.leak_alarm.reasons),
        },
        "calibrated": None if measures.calibrated is None else _calibrated(measures.calibrated),
    }


def _calibrated(calibrated: Calibrated) -> dict[str, Any]:
    return {
        "crps_bp": _estimate(calibrated.crps_bp),
        "crps_over_raw": _estimate(calibrated.crps_over_raw),
        "coverage": _estimates(calibrated.coverage),
    }


def _estimates(estimates: Mapping[Any, Estimate]) -> dict[str, Any]:
    return {str(name): _estimate(each) for name, each in estimates.items()}


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else {"value": estimate.value, "se": estimate.standard_error}
