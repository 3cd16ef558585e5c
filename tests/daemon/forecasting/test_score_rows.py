"""Tests of one row of the scoreboard's table."""

from __future__ import annotations

import msgspec

from daemon.forecasting.pending import DueForecast, score_due, unscored_forecast
from daemon.forecasting.score_rows import ScoreRow, score_row
from daemon.forecasting.target_history import TargetHistory, Targets
from features.market import Instrument
from tests.daemon.forecasting.forecast_builders import forecast, issue

BITCOIN = Instrument("binance", "BTC-USDT")


def targets(count: int) -> Targets:
    """Targets with an unchanged price, on which HAR is twice as wide as the issued forecast."""
    history = TargetHistory(1_000)
    for hour in range(count):
        baselines = [forecast("har", hour, horizons=(1,), width=0.02)]
        pending = unscored_forecast(issue(forecast("attention_lstm", hour, horizons=(1,))), baselines)
        ((issued, har),) = score_due([DueForecast(pending, 1, 0.0)], at_us=hour)
        history.append(issued, {"har": har})
    return history.targets("attention_lstm", after_us=0)


def row(count: int, kind: str = "attention_lstm") -> ScoreRow:
    return score_row(BITCOIN, 1, targets(count), kind=kind, role="issued", window="30d")


def test_a_row_names_everything_that_it_measures() -> None:
    """Every ratio and coverage has its standard error beside it."""
    names = {field.name for field in msgspec.structs.fields(ScoreRow)}
    measured = {name for name in names if "_vs_" in name or name.startswith(("coverage", "pinball"))}
    assert all(name.endswith("_se") or f"{name}_se" in measured for name in measured)


def test_twice_as_wide_costs_twice_as_much_where_nothing_moves() -> None:
    """With a truth of 0 the pinball loss grows with the width: ratio one half, and basis points to match."""
    assert row(30).pinball_vs_har == 0.5
    assert row(30, "har").pinball_vs_har == 1.0
    # the 0.025 and 0.975 quantiles cost 0.025 * 196 bp each, the 0.1 and 0.9 quantiles 0.1 * 128 bp each
    assert round(row(30).pinball_bp or 0.0, 6) == round(2 * (0.025 * 196 + 0.1 * 128) / 5, 6)


def test_a_baseline_without_forecasts_has_no_figures() -> None:
    """Where the random walk forecast no target, its ratios are None and its own row counts zero targets."""
    assert row(30).pinball_vs_random_walk is None
    assert (row(30, "random_walk").count, row(30, "random_walk").pinball_bp) == (0, None)


def test_few_targets_have_a_loss_and_nothing_else() -> None:
    """Below the minimum only the count and the mean losses are shown."""
    few = row(5)
    shown = {name for name in few.__struct_fields__ if getattr(few, name) is not None}
    assert shown == {"venue", "symbol", "horizon_bars", "kind", "role", "window", "count", "pinball_bp", "crps_bp"}


def test_the_published_skill_is_the_rows() -> None:
    """The forecast's skill block holds the row's own numbers."""
    measured = row(30)
    skill = measured.skill()
    assert (skill.scored, skill.window, skill.pinball_vs_har) == (30, "30d", 0.5)
    assert skill.coverage_95 == measured.coverage_95 == 1.0
