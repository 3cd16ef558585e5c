"""Walk-forward: refits see only the past, forecasts are the forecasters' own, and folds add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import models.train
from features.frames import PRICES
from models.baselines import Har
from models.evaluation.candidates import ALWAYS, Settings, fit, installed_rivals
from models.evaluation.inputs import PastInputs
from models.evaluation.outcomes import Outcomes
from models.evaluation.splits import Fold, walk_forward_folds
from models.evaluation.walkforward import FoldTask, Step, evaluate_fold, fold_tasks, training_bars, walk_forward
from models.history import future_returns, regular_histories
from models.specification import Progress
from tests.models.synthetic import HOUR_US, START_US, garch_bars

BARS = garch_bars(1600)
SETTINGS = Settings(interval_us=HOUR_US, horizons=(1, 3), levels=(0.05, 0.25, 0.5, 0.75, 0.95))
FROM_US, UNTIL_US = START_US + 1300 * HOUR_US, START_US + 1550 * HOUR_US


def folds(count: int = 2) -> tuple[Fold, ...]:
    return walk_forward_folds(
        first_us=START_US,
        from_us=FROM_US,
        until_us=UNTIL_US,
        count=count,
        interval_us=HOUR_US,
        label_span_us=3 * HOUR_US,
    )


def run(bars: pl.DataFrame = BARS, kinds: tuple[str, ...] = ("ewma",), settings: Settings = SETTINGS) -> Outcomes:
    return walk_forward(fold_tasks(bars, folds(), kinds, settings))


def spoiled_after(time_us: int) -> pl.DataFrame:
    later = pl.col("open_time_us") + HOUR_US > time_us
    return BARS.with_columns(pl.when(later).then(7.0 * pl.col(name)).otherwise(name).alias(name) for name in PRICES)


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return run()


def test_every_close_is_forecast_once_by_every_kind(outcomes: Outcomes) -> None:
    """Two series, 250 hours; the random walk, the reversal rule and HAR are always included."""
    assert outcomes.series == (("binance", "BTC-USDT"), ("binance", "ETH-USDT"))
    assert set(outcomes.answers) == {"ewma", *ALWAYS}
    for index in (0, 1):
        times = outcomes.close_time_us[outcomes.index == index]
        np.testing.assert_array_equal(times, np.arange(FROM_US, UNTIL_US, HOUR_US))
    assert all(answers.spoken.all() for answers in outcomes.answers.values())
    np.testing.assert_array_equal(outcomes.fold, np.tile(np.repeat([0, 1], 125), 2))


def test_truths_are_the_returns_that_followed(outcomes: Outcomes) -> None:
    """Log returns over each horizon from the reference price; variances above zero at the level of returns."""
    histories = regular_histories(BARS, interval_us=HOUR_US)
    for index, series in enumerate(outcomes.series):
        chosen = outcomes.index == index
        recent = histories[series]
        position = np.searchsorted(recent.close_time_us, outcomes.close_time_us[chosen])
        for column, horizon in enumerate(outcomes.horizons):
            expected = future_returns(recent.log_close, horizon)[position]
            np.testing.assert_allclose(outcomes.returns[chosen, column], expected, atol=1e-12)
        np.testing.assert_array_equal(outcomes.log_close[chosen], recent.log_close[position])
    ratio = outcomes.returns**2 / outcomes.variances
    assert 0.7 < np.nanmean(ratio) < 1.4


def test_the_forecasts_are_those_of_the_forecasters(outcomes: Outcomes) -> None:
    """HAR of a fold is fitted on the bars known before it, and forecasts from the input of each close."""
    fold = folds()[1]
    har = fit("har", training_bars(BARS, fold, HOUR_US), SETTINGS)
    close = (outcomes.series[1], fold.test_from_us + 10 * HOUR_US)
    [forecast] = har.forecaster.forecast(PastInputs(BARS, interval_us=HOUR_US, window=48).inputs([close]))
    [row] = np.flatnonzero((outcomes.index == 1) & (outcomes.close_time_us == close[1]))
    np.testing.assert_allclose(outcomes.answers["har"].quantiles[row], forecast.quantiles, rtol=1e-12)


def test_training_ends_at_the_embargo() -> None:
    """The newest bar of a fit closed one label span before the first forecast, the oldest not before its history."""
    fold = replace(folds()[1], train_from_us=START_US + 100 * HOUR_US)
    closes = training_bars(BARS, fold, HOUR_US)["open_time_us"] + HOUR_US
    assert closes.max() == fold.test_from_us - 3 * HOUR_US
    assert closes.min() == START_US + 101 * HOUR_US


@pytest.mark.parametrize("kind", ["har", "ewma"])
def test_bars_after_the_cut_change_no_fit(outcomes: Outcomes, kind: str) -> None:
    """With every bar from the embargo on altered, the first forecast that reads none of them is the same."""
    fold = folds()[0]
    whole = fit(kind, training_bars(BARS, fold, HOUR_US), SETTINGS).forecaster
    again = fit(kind, training_bars(spoiled_after(fold.train_until_us), fold, HOUR_US), SETTINGS).forecaster
    past = PastInputs(BARS, interval_us=HOUR_US, window=48).inputs([(outcomes.series[0], FROM_US)])
    np.testing.assert_array_equal(whole.forecast(past)[0].quantiles, again.forecast(past)[0].quantiles)


def test_the_future_changes_no_forecast(outcomes: Outcomes) -> None:
    """Altered bars after a close change outcomes, but no forecast up to it."""
    cut_us = FROM_US + 180 * HOUR_US
    spoiled = run(spoiled_after(cut_us))
    before = outcomes.close_time_us <= cut_us
    for kind, answers in outcomes.answers.items():
        np.testing.assert_array_equal(spoiled.answers[kind].quantiles[before], answers.quantiles[before])
    assert not np.array_equal(spoiled.returns, outcomes.returns)


def test_folds_done_elsewhere_in_any_order_give_the_same(outcomes: Outcomes) -> None:
    """A mapper that evaluates the folds in reverse order gives the same outcomes."""

    def backwards(work: Callable[[FoldTask], Outcomes], tasks: Iterable[FoldTask]) -> list[Outcomes]:
        return [work(task) for task in reversed(list(tasks))]

    other = walk_forward(fold_tasks(BARS, folds(), ("ewma",), SETTINGS), mapper=backwards)
    np.testing.assert_array_equal(other.close_time_us, outcomes.close_time_us)
    np.testing.assert_array_equal(other.answers["ewma"].quantiles, outcomes.answers["ewma"].quantiles)


def test_a_task_holds_what_its_fold_needs_and_no_more(outcomes: Outcomes) -> None:
    """Its bars end with the last outcome, so that a fold sent to another machine is small."""
    for task in fold_tasks(BARS, folds(), (), SETTINGS):
        closes = task.bars["open_time_us"] + HOUR_US
        assert closes.max() == task.fold.test_until_us + 3 * HOUR_US


def test_a_symbol_that_is_listed_later_joins_when_it_has_bars() -> None:
    """It is forecast from its first close with enough history, by a fit on the other symbols."""
    listed_us = FROM_US + 60 * HOUR_US
    bars = BARS.filter((pl.col("symbol") == "BTC-USDT") | (pl.col("open_time_us") >= listed_us))
    outcomes = run(bars)
    late = outcomes.index == 1
    assert outcomes.close_time_us[late].min() == listed_us + HOUR_US
    spoken = outcomes.answers["random_walk"].spoken[late]
    assert not spoken[:23].any()
    assert spoken[25:].all()


def test_steps_report_every_kind_from_zero_to_one() -> None:
    """A step names the kind and the fold in progress."""
    steps: list[Step] = []
    evaluate_fold(fold_tasks(BARS, folds(), ("ewma",), SETTINGS)[1], on_step=steps.append)
    assert [step.kind for step in steps[:-1]] == ["ewma", *ALWAYS]
    assert {step.fold for step in steps} == {1}
    assert (steps[0].ratio, steps[-1].ratio) == (0.0, 1.0)


def test_too_little_history_names_kind_and_fold() -> None:
    """HAR cannot be fitted on a fortnight of one series."""
    bars = garch_bars(700, ("BTC-USDT",))
    early = walk_forward_folds(
        first_us=START_US,
        from_us=START_US + 340 * HOUR_US,
        until_us=START_US + 690 * HOUR_US,
        count=1,
        interval_us=HOUR_US,
        label_span_us=3 * HOUR_US,
    )
    with pytest.raises(ValueError, match="HAR needs 500") as refused:
        walk_forward(fold_tasks(bars, early, (), SETTINGS))
    assert refused.value.__notes__ == ["har, fold 1"]


def test_all_baselines_are_installed_where_the_tests_run() -> None:
    """The development environment has every optional package, so that no baseline goes untested."""
    assert installed_rivals() == ("random_walk", "reversal", "har", "ewma", "garch", "lightgbm")


@pytest.mark.slow
def test_a_network_is_trained_for_each_fold_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on the fold's bars only, served with attention; a second run uses the artifact of the first."""
    settings = replace(SETTINGS, preset="small", device="cpu", epochs=1, keep_in=tmp_path)
    reports: list[Progress] = []
    task = fold_tasks(BARS, folds(1), ("attention_lstm",), settings)[0]
    first = evaluate_fold(task, on_step=lambda step: reports.append(step.training) if step.training else None)
    assert reports[-1].phase == "done"
    answers = first.answers["attention_lstm"]
    assert answers.spoken.all()
    assert answers.attention is not None
    np.testing.assert_allclose(answers.attention.sum(axis=1), 1.0, rtol=1e-5)
    [kept] = tmp_path.glob("*/[!.]*")
    assert str((task.fold.train_until_us) // 1_000_000) in kept.name

    def never(*_: object, **__: object) -> Path:
        raise AssertionError("a network that is there was trained again")

    monkeypatch.setattr(models.train, "train", never)
    again = evaluate_fold(task)
    np.testing.assert_array_equal(again.answers["attention_lstm"].quantiles, answers.quantiles)
    with pytest.raises(AssertionError, match="trained again"):
        evaluate_fold(replace(task, settings=replace(settings, seed=1)))


def test_har_gives_the_level_of_the_variances(outcomes: Outcomes) -> None:
    """Realised variances are scaled by the variance level of HAR's fit of the same fold."""
    fold = folds()[0]
    har = fit("har", training_bars(BARS, fold, HOUR_US), SETTINGS).forecaster
    assert isinstance(har, Har)
    recent = regular_histories(BARS, interval_us=HOUR_US)[outcomes.series[0]]
    position = int(np.searchsorted(recent.close_time_us, FROM_US))
    expected = recent.variance[position + 1] * har.variance_level(outcomes.series[0])[0]
    assert outcomes.variances[0, 0] == pytest.approx(expected, rel=1e-6)
