"""Metrics of live skill and calibration, by instrument and horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daemon.forecasting.records import Skill
from daemon.serving.metrics.family import UNKNOWN, MetricFamily, known_or_nan
from features.market import Instrument


class SkillMetrics(MetricFamily):
    """Losses against the baselines, coverage and CRPS before and after calibration."""

    def skill_scored(self, instrument: Instrument, skill: Skill, *, horizon: int) -> None:
        """Shows one horizon's live skill; what is not known yet stays NaN."""
        key = (*instrument, str(horizon))
        self._show_pinball((*key, "har", skill.window), skill.pinball_vs_har, skill.pinball_vs_har_se)
        random_walk = (*key, "random_walk", skill.window)
        self._show_pinball(random_walk, skill.pinball_vs_random_walk, skill.pinball_vs_random_walk_se)
        self.skill_rmse_ratio.labels(*random_walk).set(known_or_nan(skill.rmse_vs_random_walk))
        self.skill_rmse_ratio_standard_error.labels(*random_walk).set(known_or_nan(skill.rmse_vs_random_walk_se))
        self.skill_coverage_ratio.labels(*key, "0.8", skill.window).set(known_or_nan(skill.coverage_80))
        self.skill_coverage_ratio.labels(*key, "0.95", skill.window).set(known_or_nan(skill.coverage_95))
        self.skill_scored_forecasts.labels(*key, skill.window).set(skill.scored)
        self.skill_raw_coverage_ratio.labels(*key, "0.8", skill.window).set(known_or_nan(skill.raw_coverage_80))
        self.skill_raw_coverage_ratio.labels(*key, "0.95", skill.window).set(known_or_nan(skill.raw_coverage_95))
        self.skill_crps.labels(*key, skill.window).set(_from_basis_points(skill.crps_bp))
        self.skill_raw_crps.labels(*key, skill.window).set(_from_basis_points(skill.raw_crps_bp))
        self.skill_crps_over_raw_ratio.labels(*key, skill.window).set(known_or_nan(skill.crps_vs_raw))
        self.skill_crps_over_raw_ratio_standard_error.labels(*key, skill.window).set(known_or_nan(skill.crps_vs_raw_se))

    def calibrated(self, instrument: Instrument, widths: Mapping[float, float], *, horizon: int) -> None:
        """Shows by how much each central interval, named by its coverage, is widened now."""
        for coverage, width in widths.items():
            self.calibration_width_ratio.labels(*instrument, str(horizon), f"{coverage:g}").set(width)

    def _define_skill(self) -> None:
        beside = ("venue", "symbol", "horizon", "baseline", "window")
        self.skill_pinball_ratio = self._gauge(
            "skill_pinball_ratio", "Pinball loss over the baseline's, below 1 is better.", beside
        )
        self.skill_pinball_ratio_standard_error = self._gauge(
            "skill_pinball_ratio_standard_error", "Standard error of skill_pinball_ratio.", beside
        )
        self.skill_rmse_ratio = self._gauge(
            "skill_rmse_ratio", "Root mean squared error over the baseline's, below 1 is better.", beside
        )
        self.skill_rmse_ratio_standard_error = self._gauge(
            "skill_rmse_ratio_standard_error", "Standard error of skill_rmse_ratio.", beside
        )
        self.skill_coverage_ratio = self._gauge(
            "skill_coverage_ratio",
            "Share of truths inside the central interval of this level.",
            ("venue", "symbol", "horizon", "level", "window"),
        )
        self.skill_scored_forecasts = self._gauge(
            "skill_scored_forecasts", "Forecasts behind the skill figures.", ("venue", "symbol", "horizon", "window")
        )
        self._define_calibration()

    def _define_calibration(self) -> None:
        of_horizon = ("venue", "symbol", "horizon")
        of_window = (*of_horizon, "window")
        self.skill_raw_coverage_ratio = self._gauge(
            "skill_raw_coverage_ratio",
            "Share of truths inside the interval as it was before calibration.",
            (*of_horizon, "level", "window"),
        )
        self.skill_crps = self._gauge("skill_crps", "Mean CRPS of the published forecasts, in log return.", of_window)
        self.skill_raw_crps = self._gauge(
            "skill_raw_crps", "Mean CRPS of the same before calibration, in log return.", of_window
        )
        self.skill_crps_over_raw_ratio = self._gauge(
            "skill_crps_over_raw_ratio", "CRPS over that before calibration, below 1 is better.", of_window
        )
        self.skill_crps_over_raw_ratio_standard_error = self._gauge(
            "skill_crps_over_raw_ratio_standard_error", "Standard error of skill_crps_over_raw_ratio.", of_window
        )
        self.calibration_width_ratio = self._gauge(
            "calibration_width_ratio", "Width of the published interval over the raw one.", (*of_horizon, "level")
        )

    def _prepare_skill(self, instrument: Instrument, horizon: int, baselines: Sequence[str], window: str) -> None:
        key = (*instrument, str(horizon))
        for baseline in baselines:
            self.skill_pinball_ratio.labels(*key, baseline, window).set(UNKNOWN)
            self.skill_pinball_ratio_standard_error.labels(*key, baseline, window).set(UNKNOWN)
        # The squared error of every baseline whose median is zero is the random walk's.
        self.skill_rmse_ratio.labels(*key, "random_walk", window).set(UNKNOWN)
        self.skill_rmse_ratio_standard_error.labels(*key, "random_walk", window).set(UNKNOWN)
        for level in ("0.8", "0.95"):
            self.skill_coverage_ratio.labels(*key, level, window).set(UNKNOWN)
            self.skill_raw_coverage_ratio.labels(*key, level, window).set(UNKNOWN)
            self.calibration_width_ratio.labels(*key, level).set(UNKNOWN)
        for gauge in (
            self.skill_crps,
            self.skill_raw_crps,
            self.skill_crps_over_raw_ratio,
            self.skill_crps_over_raw_ratio_standard_error,
        ):
            gauge.labels(*key, window).set(UNKNOWN)
        self.skill_scored_forecasts.labels(*key, window).set(0)

    def _show_pinball(self, labels: tuple[str, ...], ratio: float | None, standard_error: float | None) -> None:
        self.skill_pinball_ratio.labels(*labels).set(known_or_nan(ratio))
        self.skill_pinball_ratio_standard_error.labels(*labels).set(known_or_nan(standard_error))


def _from_basis_points(value: float | None) -> float:
    return UNKNOWN if value is None else value / 1e4
