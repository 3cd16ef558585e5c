"""The account from outcomes: losses, coverage and R2 of the network, HAR and LightGBM, published and raw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from benchmarks.skill.plan import HORIZONS_SHOWN, RIVAL
from models.evaluation.calibrated_walkforward import with_calibrated
from models.evaluation.measures import HorizonMeasures, Measures, horizon_measures
from models.evaluation.outcomes import Answers, Outcomes
from models.evaluation.skill import Estimate

INTERVALS = (50, 80, 95)


@dataclass(frozen=True, slots=True)
class Line:
    """One symbol and horizon. Ratios of pinball losses, network over rival; below 1 the network is better.

    calibrated: all forecasters after the same online calibration, as published. raw: before it. r2: of log variance.
    coverage: by percent, of the year and, in ``worst``, of the quarter that is furthest from it.
    """

    series: str
    horizon: int
    scored: int
    calibrated: dict[str, Estimate]
    raw: dict[str, Estimate]
    r2: dict[str, Estimate]
    coverage: dict[int, Estimate]
    worst: dict[int, float]
    rmse_vs_random_walk: Estimate
    pinball_bp: dict[str, float]


def account(outcomes: Outcomes, kind: str) -> list[Line]:
    """Lines of every series, then of all together, for the published horizons.

    Raises ValueError where the outcomes are too few.
    """
    published = _published(outcomes)
    raw = {(board.series, board.horizon): board for board in horizon_measures(outcomes)}
    lines = [
        _line(board, raw[board.series, board.horizon], published, kind)
        for board in horizon_measures(published)
        if board.horizon in HORIZONS_SHOWN and board.by_kind
    ]
    if not lines:
        raise ValueError("there are too few outcomes for any estimate")
    return lines


def _published(outcomes: Outcomes) -> Outcomes:
    """The outcomes as if every forecaster had been calibrated online, as the daemon does."""
    calibrated = with_calibrated(outcomes).calibrated
    answers = {
        kind: Answers(calibrated[kind], each.volatility, each.attention) for kind, each in outcomes.answers.items()
    }
    return replace(outcomes, answers=answers)


def _line(board: HorizonMeasures, raw: HorizonMeasures, published: Outcomes, kind: str) -> Line:
    mine = board.by_kind[kind]
    rivals = ("har", RIVAL)
    return Line(
        series=board.series,
        horizon=board.horizon,
        scored=board.scored,
        calibrated={rival: mine.pinball_vs[rival] for rival in rivals},
        raw={rival: raw.by_kind[kind].pinball_vs[rival] for rival in rivals},
        r2={each: _r2(board.by_kind[each]) for each in (kind, *rivals)},
        coverage={percent: mine.coverage[percent] for percent in INTERVALS},
        worst={percent: _worst_quarter(published, board, kind, percent) for percent in INTERVALS},
        rmse_vs_random_walk=mine.rmse_vs_random_walk,
        pinball_bp={each: board.by_kind[each].pinball_bp.value for each in (kind, *rivals)},
    )


def _r2(measures: Measures) -> Estimate:
    if measures.r2_log_variance is None:
        raise ValueError("no variance is known")
    return measures.r2_log_variance


def _worst_quarter(published: Outcomes, board: HorizonMeasures, kind: str, percent: int) -> float:
    """The coverage of the quarter that is furthest from ``percent``."""
    column = published.horizons.index(board.horizon)
    levels = np.asarray(published.levels)
    lower, upper = (int(np.abs(levels - each).argmin()) for each in (0.5 - percent / 200, 0.5 + percent / 200))
    truth, quantiles = published.returns[:, column], published.answers[kind].quantiles[:, column]
    names = np.array([f"{venue}:{symbol}" for venue, symbol in published.series])[published.index]
    chosen = np.isfinite(truth) & published.answers[kind].spoken
    if board.series != "all":
        chosen &= names == board.series
    inside = (quantiles[:, lower] <= truth) & (truth <= quantiles[:, upper])
    quarters = np.array([(datetime.fromtimestamp(us / 1e6, UTC).month - 1) // 3 for us in published.close_time_us])
    shares = [float(inside[chosen & (quarters == each)].mean()) for each in np.unique(quarters[chosen])]
    return max(shares, key=lambda share: abs(share - percent / 100))
