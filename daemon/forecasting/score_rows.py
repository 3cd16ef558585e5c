"""From matured targets to one line of the scoreboard's table: losses, ratios and coverages with their errors."""

from __future__ import annotations

import msgspec
import numpy as np

from daemon.forecasting.target_history import BASELINES, Targets
from daemon.records import Skill
from features.market import Instrument
from models.skill import Estimate, FloatArray, coverage, mean_estimate, paired_ratio, rmse_ratio

_BASIS_POINTS = 1e4


class ScoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """Live skill of one kind at one horizon; every kind of a horizon is measured on the same targets.

    count: matured targets. pinball_bp: mean loss in basis points of log return, from the first target on. Ratios
    below 1 beat the baseline; ``*_se`` is the standard error of the value beside it. The rest is None until there
    are enough targets (``models.skill.minimum_count``).
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

    def skill(self) -> Skill:
        """The part of the row that travels with a forecast."""
        names = {field.name for field in msgspec.structs.fields(Skill)} - {"scored"}
        return Skill(scored=self.count, **{name: getattr(self, name) for name in names})


def score_row(
    instrument: Instrument, horizon_bars: int, targets: Targets, *, kind: str, role: str, window: str
) -> ScoreRow:
    """How ``kind`` did on ``targets``, beside every baseline."""
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
    )


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
    """The losses of both on the targets that both forecast."""
    ours, theirs = targets.losses(name, kind), targets.losses(name, baseline)
    both = np.isfinite(ours) & np.isfinite(theirs)
    return ours[both], theirs[both]


def _named(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    value, error = (None, None) if estimate is None else estimate
    return {name: value, f"{name}_se": error}
