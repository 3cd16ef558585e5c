"""Rows of the scoreboard's table, computed from matured targets: losses, ratios and coverages with standard errors.

No I/O.
"""

from __future__ import annotations

import msgspec
import numpy as np

from daemon.forecasting.records import Skill
from daemon.forecasting.target_history import BASELINES, RAW, Targets
from features.market import Instrument
from models.evaluation.skill import Estimate, FloatArray, coverage, mean_estimate, paired_ratio, rmse_ratio

_BASIS_POINTS = 1e4
_SKILL_FIELDS = tuple(name for name in Skill.__struct_fields__ if name != "scored")


class ScoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """Live skill of one kind at one horizon; every kind of a horizon is measured on the same targets.

    count: matured targets. pinball_bp: mean loss in basis points of log return, from the first target on. Ratios
    below 1 beat the baseline; ``*_se`` is the standard error of the value of that name. The rest is None until
    there are enough targets (``models.evaluation.skill.minimum_count``). crps_bp: like pinball_bp. ``raw_*``: of the
    issued kind before calibration; crps_vs_raw compares on the targets of which both are known.
    """

    venue: str
    symbol: str
    horizon_bars: int
    kind: str
    role: str
    window: str
    count: int
    pinball_bp: float | None = None
    pinball_bp_se: float | None = None
    pinball_vs_har: float | None = None
    pinball_vs_har_se: float | None = None
    pinball_vs_random_walk: float | None = None
    pinball_vs_random_walk_se: float | None = None
    rmse_vs_har: float | None = None
    rmse_vs_har_se: float | None = None
    rmse_vs_random_walk: float | None = None
    rmse_vs_random_walk_se: float | None = None
    coverage_80: float | None = None
    coverage_80_se: float | None = None
    coverage_95: float | None = None
    coverage_95_se: float | None = None
    crps_bp: float | None = None
    raw_crps_bp: float | None = None
    crps_vs_raw: float | None = None
    crps_vs_raw_se: float | None = None
    raw_coverage_80: float | None = None
    raw_coverage_80_se: float | None = None
    raw_coverage_95: float | None = None
    raw_coverage_95_se: float | None = None

    def skill(self) -> Skill:
        """The part of the row that is published with a forecast."""
        return Skill(scored=self.count, **{name: getattr(self, name) for name in _SKILL_FIELDS})


def score_row(
    instrument: Instrument, horizon_bars: int, targets: Targets, *, kind: str, role: str, window: str
) -> ScoreRow:
    """The row of ``kind`` on ``targets``, compared with every baseline."""
    pinball = targets.losses("pinball", kind)
    pinball = pinball[np.isfinite(pinball)] * _BASIS_POINTS
    return ScoreRow(
        venue=instrument.venue,
        symbol=instrument.symbol,
        horizon_bars=horizon_bars,
        kind=kind,
        role=role,
        window=window,
        count=len(pinball),
        **_named("pinball_bp", mean_estimate(pinball, horizon_bars=horizon_bars))
        | {"pinball_bp": float(pinball.mean()) if len(pinball) else None},
        **_ratios(targets, kind, horizon_bars),
        **_coverages(targets, kind, horizon_bars),
        crps_bp=_mean_bp(targets.losses("crps", kind)),
        **(_before_calibration(targets, kind, horizon_bars) if role == "issued" else {}),
    )


def _before_calibration(targets: Targets, kind: str, horizon_bars: int) -> dict[str, float | None]:
    """The CRPS and coverages of the issued kind before calibration, and the ratio of the CRPS after it to before."""
    raw, issued = targets.losses("crps", RAW), targets.losses("crps", kind)
    both = np.isfinite(raw) & np.isfinite(issued)
    shares = {f"raw_{name}": value for name, value in _coverages(targets, RAW, horizon_bars).items()}
    ratio = _named("crps_vs_raw", paired_ratio(issued[both], raw[both], horizon_bars=horizon_bars))
    return {"raw_crps_bp": _mean_bp(raw), **ratio, **shares}


def _mean_bp(losses: FloatArray) -> float | None:
    known = losses[np.isfinite(losses)]
    return float(known.mean() * _BASIS_POINTS) if len(known) else None


def _ratios(targets: Targets, kind: str, horizon_bars: int) -> dict[str, float | None]:
    ratios: dict[str, float | None] = {}
    for baseline in BASELINES:
        losses = _paired(targets, "pinball", kind, baseline)
        ratios |= _named(f"pinball_vs_{baseline}", paired_ratio(*losses, horizon_bars=horizon_bars))
        losses = _paired(targets, "squared_error", kind, baseline)
        ratios |= _named(f"rmse_vs_{baseline}", rmse_ratio(*losses, horizon_bars=horizon_bars))
    return ratios


def _coverages(targets: Targets, kind: str, horizon_bars: int) -> dict[str, float | None]:
    inner = coverage(targets.hits("inside_80", kind), horizon_bars=horizon_bars)
    outer = coverage(targets.hits("inside_95", kind), horizon_bars=horizon_bars)
    return _named("coverage_80", inner) | _named("coverage_95", outer)


def _paired(targets: Targets, name: str, kind: str, baseline: str) -> tuple[FloatArray, FloatArray]:
    """The losses of ``kind`` and ``baseline`` on the targets that both forecast. (n,) each"""
    ours, theirs = targets.losses(name, kind), targets.baseline_losses(name, baseline)
    both = np.isfinite(ours) & np.isfinite(theirs)
    return ours[both], theirs[both]


def _named(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    value, error = (None, None) if estimate is None else estimate
    return {name: value, f"{name}_se": error}
