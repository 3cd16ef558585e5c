"""Planted leaks of every kind behind a published "0.2% RMSE", and the check or alarm that detects each.

The program itself passes the same checks, so a check that always fires would fail too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

import models.baselines.boosted_trees
import models.evaluation.inputs
from features.catalogue import FEATURE_NAMES
from features.cross_section import leaders_in
from features.frames import SERIES_KEYS
from features.labels import label_rows
from features.scaling import RobustScaler
from features.table import feature_rows
from features.windows import panel
from models.evaluation.candidates import Settings, fit
from models.evaluation.inputs import PastInputs
from models.evaluation.leak_alarm import LeakVerdict
from models.evaluation.measures import Measures, horizon_measures
from models.evaluation.splits import walk_forward_folds
from models.evaluation.walkforward import fold_tasks, try_forecasts, walk_forward
from models.specification import TrainingSpec
from models.training.dataset import prepare
from tests.models.evaluation.leak_checks import (
    changed_by_the_future,
    fit_reads_the_future,
    labels_known_too_early,
    shuffled_time,
    skill_under_a_gap,
)
from tests.models.known_outcomes import normal, outcomes, with_baselines
from tests.models.synthetic import HOUR_US, START_US, garch_bars

FloatArray = npt.NDArray[np.float64]
BARS = garch_bars(1500)
LONG = garch_bars(9000, ("BTC-USDT",), seed=5)
CUT_US = START_US + 1200 * HOUR_US
SPEC = TrainingSpec(data_file=Path("unused"), output_dir=Path("unused"), horizons=(1, 3), levels=(0.1, 0.5, 0.9))
truncation = partial(changed_by_the_future, cut_us=CUT_US, interval_us=HOUR_US)
_close = pl.col("close").log()


def honest_rows(bars: pl.DataFrame) -> pl.DataFrame:
    return feature_rows(bars, interval_us=HOUR_US, leaders=leaders_in(bars))


def with_column(expression: pl.Expr, bars: pl.DataFrame) -> pl.DataFrame:
    """Rows of one planted feature, computed in each series."""
    named = expression.over(SERIES_KEYS).alias("planted")
    return bars.sort(*SERIES_KEYS, "open_time_us").select(
        *SERIES_KEYS, "open_time_us", (pl.col("open_time_us") + HOUR_US).alias("close_time_us"), named
    )


# 3c, row by row: the bar off by one, a centred average, a z-score over look-back and horizon.
OFF_BY_ONE = (pl.col("high").log() + pl.col("low").log()).shift(-1) / 2 - _close
CENTRED_AVERAGE = _close.rolling_mean(5, center=True) - _close
# Twelve bars back and the next one.
WINDOW_Z_SCORE = (_close - _close.rolling_mean(13).shift(-1)) / _close.rolling_std(13).shift(-1)
LEAKS = {"off_by_one": OFF_BY_ONE, "centred_average": CENTRED_AVERAGE, "window_z_score": WINDOW_Z_SCORE}
HONEST = {"last_return": _close.diff(), "trailing_average": _close.rolling_mean(5) - _close}


def linear(expression: pl.Expr, bars: pl.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Returns and medians of a regression of the next return on a feature, fitted on the first third of the rows."""
    feature = with_column(expression, bars)["planted"].fill_null(np.nan).to_numpy()
    close = np.log(bars["close"].to_numpy())
    returns = np.append(np.diff(close), np.nan)
    fitted, tested = slice(100, len(close) // 3), slice(len(close) // 3 + 24, len(close) - 50)
    slope, intercept = np.polyfit(feature[fitted], returns[fitted], 1)
    return returns[tested], intercept + slope * feature[tested]


def measured(expression: pl.Expr, bars: pl.DataFrame = LONG) -> Measures:
    returns, medians = linear(expression, bars)
    spread = float(np.std(returns))
    scored = outcomes(returns, with_baselines(returns, spread, model=normal(spread, returns, centre=medians)))
    [board] = horizon_measures(scored)
    assert board.days > 90
    return board.by_kind["model"]


def test_our_features_are_the_same_without_the_future() -> None:
    """Truncation: no feature of the catalogue changes when later bars are cut off."""
    assert truncation(honest_rows, BARS) == []


@pytest.mark.parametrize("name", LEAKS)
def test_truncation_catches_every_feature_that_reads_ahead(name: str) -> None:
    """Each planted feature changes when the future is removed."""
    assert truncation(partial(with_column, LEAKS[name]), BARS) == ["planted"]


@pytest.mark.parametrize("name", HONEST)
def test_truncation_lets_honest_features_pass(name: str) -> None:
    """The same code with a trailing window passes."""
    assert truncation(partial(with_column, HONEST[name]), BARS) == []


def test_truncation_catches_imputation_from_the_future() -> None:
    """Filling with the mean of the series or the next value reads later bars; the last value does not."""
    holed = BARS.with_columns(pl.when(pl.int_range(pl.len()) % 50 != 49).then("volume").alias("volume"))
    for leaky in (pl.col("volume").fill_null(strategy="mean"), pl.col("volume").fill_null(strategy="backward")):
        assert truncation(partial(with_column, leaky), holed) == ["planted"]
    assert truncation(partial(with_column, pl.col("volume").fill_null(strategy="forward")), holed) == []


def test_truncation_catches_a_forecaster_that_sees_more_than_its_input() -> None:
    """As a function from bars to forecasts, one without a leak passes, and one that reads the outcome does not."""
    candidate = fit("ewma", BARS, Settings(interval_us=HOUR_US, horizons=(1,), levels=(0.1, 0.5, 0.9)))

    def forecasts(bars: pl.DataFrame, *, peeking: float) -> pl.DataFrame:
        past = PastInputs(bars, interval_us=HOUR_US, window=48)
        closes = past.closes(CUT_US - 5 * HOUR_US, CUT_US + 5 * HOUR_US)
        upper = [
            0.0 if each is None else each.quantiles[0, 2] for each in try_forecasts(candidate, past.inputs(closes))
        ]
        newest = [past.histories[series].log_close[-1] for series, _ in closes]
        return pl.DataFrame(
            {
                "venue": [series[0] for series, _ in closes],
                "symbol": [series[1] for series, _ in closes],
                "close_time_us": [time_us for _, time_us in closes],
                "upper": np.array(upper) + peeking * np.array(newest),
            }
        )

    assert truncation(partial(forecasts, peeking=0.0), BARS) == []
    assert truncation(partial(forecasts, peeking=1e-3), BARS) == ["upper"]


@pytest.mark.parametrize("name", ["off_by_one", "centred_average"])
def test_the_alarm_fires_at_implausible_skill(name: str) -> None:
    """A bar off by one and a centred average are detected by RMSE and direction alone."""
    measures = measured(LEAKS[name])
    assert measures.leak_alarm.verdict is LeakVerdict.SUSPECT
    assert measures.rmse_vs_random_walk.value < 0.9
    assert measures.direction is not None
    assert measures.direction.value > 0.6


@pytest.mark.parametrize("name", HONEST)
def test_the_alarm_is_quiet_about_honest_features(name: str) -> None:
    """A regression on known values is within half a percent of the random walk."""
    measures = measured(HONEST[name])
    assert measures.leak_alarm.verdict is LeakVerdict.CLEAR
    assert measures.rmse_vs_random_walk.value == pytest.approx(1.0, abs=0.005)


def test_the_alarm_misses_a_z_score_over_look_back_and_horizon() -> None:
    """Half a percent of RMSE and 51% of the signs look like skill, but truncation and shuffling detect the leak."""
    measures = measured(WINDOW_Z_SCORE)
    assert measures.leak_alarm.verdict is LeakVerdict.CLEAR
    assert 0.98 < measures.rmse_vs_random_walk.value < 0.997


def has_skill_in_the_return(measures: Measures) -> bool:
    """RMSE below the random walk's, or direction above 50%, by more than 3 standard errors."""
    ratio, direction = measures.rmse_vs_random_walk, measures.direction
    assert direction is not None
    return 1 - ratio.value > 3 * ratio.standard_error or direction.value - 0.5 > 3 * direction.standard_error


@pytest.mark.parametrize("name", LEAKS)
def test_skill_that_survives_shuffled_time_is_a_leak(name: str) -> None:
    """Shuffled hours carry no information about the next one, yet each planted feature predicts it."""
    assert has_skill_in_the_return(measured(LEAKS[name], shuffled_time(LONG)))


@pytest.mark.parametrize("name", HONEST)
def test_honest_features_have_no_skill_in_shuffled_time(name: str) -> None:
    """Direction is at 50%, and the median no better than zero."""
    assert not has_skill_in_the_return(measured(HONEST[name], shuffled_time(LONG)))


@pytest.mark.parametrize("name", ["off_by_one", "centred_average"])
def test_skill_that_a_gap_of_one_bar_ends_is_a_leak(name: str) -> None:
    """Shifted labels: the correlation vanishes when the label begins one or two bars later."""
    returns, medians = linear(LEAKS[name], LONG)
    skills = []
    for gap in (0, 2, 3):
        later = returns[gap:]
        skills.append((gap, float(np.corrcoef(medians[: len(later)], later)[0, 1]), 1 / np.sqrt(len(later))))
    assert skill_under_a_gap(skills)


def test_honest_skill_survives_a_gap() -> None:
    """Volatility clusters: HAR's forecast of the next hour still predicts the hours after it. No skill is no leak."""
    har = fit("har", LONG, Settings(interval_us=HOUR_US, horizons=(1,), levels=(0.1, 0.5, 0.9))).forecaster
    [recent] = PastInputs(LONG, interval_us=HOUR_US, window=48).histories.values()
    said = np.log(har.sigma(("binance", "BTC-USDT"), recent)[:, 0])  # type: ignore[attr-defined]  # HAR
    came = np.log(recent.variance)
    skills = []
    for gap in (0, 1, 2):
        pairs = np.stack([said[200 : -3 - gap], came[201 + gap : -2]])
        skills.append((gap, float(np.corrcoef(pairs)[0, 1]), 1 / np.sqrt(pairs.shape[1])))
    assert skills[0][1] > 0.3
    assert not skill_under_a_gap(skills)
    assert not skill_under_a_gap([(0, 0.001, 0.01), (1, 0.0, 0.01)])


def test_our_labels_are_not_known_at_their_cut_off() -> None:
    """No label has a value at the time of its forecast."""
    labels = partial(label_rows, interval_us=HOUR_US, horizons=(1, 6))
    assert labels_known_too_early(labels, BARS, cut_us=CUT_US, interval_us=HOUR_US) == []


def test_contemporaneous_and_shifted_labels_are_caught() -> None:
    """A label that is the bar's own return, or one that begins a bar too early, is known before it is forecast."""
    for planted in (_close.diff(), _close.shift(-1) - _close.shift(1), _close > _close.rolling_mean(5)):
        labels = partial(with_column, pl.coalesce(planted.cast(pl.Float64), _close.diff()))
        assert labels_known_too_early(labels, BARS, cut_us=CUT_US, interval_us=HOUR_US) == ["planted"]


def test_our_scaler_and_scale_are_fitted_before_the_cut() -> None:
    """With every bar after the training span altered, the scaler and HAR are bit for bit the same."""
    cut_us = prepare(BARS, SPEC).split.cut_us
    for fitted in (lambda bars: prepare(bars, SPEC).scaler.centre, lambda bars: prepare(bars, SPEC).scaler.spread):
        assert not fit_reads_the_future(fitted, BARS, cut_us=cut_us, interval_us=HOUR_US)

    def coefficients(bars: pl.DataFrame) -> FloatArray:
        return np.concatenate([each.weights.ravel() for each in prepare(bars, SPEC).har.coefficients.values()])

    assert not fit_reads_the_future(coefficients, BARS, cut_us=cut_us, interval_us=HOUR_US)


def test_a_scaler_or_imputation_of_the_whole_series_is_caught() -> None:
    """Fitted on all rows, the median of a feature, or the mean that fills its gaps, contains the future."""

    def scaler_of_everything(bars: pl.DataFrame) -> FloatArray:
        names = FEATURE_NAMES[:20]
        table = panel(honest_rows(bars), names)
        return RobustScaler.fit(table.values, table.mask, names).centre

    def imputed(bars: pl.DataFrame) -> float:
        return float(bars["volume"].mean())  # type: ignore[arg-type]  # a column of numbers

    for planted in (scaler_of_everything, imputed):
        assert fit_reads_the_future(planted, BARS, cut_us=CUT_US, interval_us=HOUR_US)


def test_persistence_of_the_price_level_is_no_skill() -> None:
    """Persistence explains more than 99% of the price level, but nothing of the return, which is scored."""
    close = LONG["close"].to_numpy()
    residual = np.sum((close[1:] - close[:-1]) ** 2)
    assert 1 - residual / np.sum((close[1:] - close[1:].mean()) ** 2) > 0.99
    returns = np.diff(np.log(close))
    spread = float(np.std(returns))
    persistence = normal(spread, returns)
    [board] = horizon_measures(outcomes(returns, with_baselines(returns, spread, persistence=persistence)))
    measures = board.by_kind["persistence"]
    assert measures.rmse_vs_random_walk == (1.0, 0.0)
    assert measures.direction is None
    assert measures.pinball_vs["random_walk"] == pytest.approx((1.0, 0.0), abs=1e-12)


def backtest(bars: pl.DataFrame) -> dict[str, Measures]:
    """HAR and LightGBM over the last 700 hours, by the walk-forward of the program."""
    step = 3
    first_us, last_us = (int(getattr(bars["open_time_us"], end)()) for end in ("min", "max"))
    folds = walk_forward_folds(
        first_us=first_us,
        from_us=last_us - 700 * HOUR_US,
        until_us=last_us - step * HOUR_US,
        count=1,
        interval_us=HOUR_US,
        label_span_us=HOUR_US,
    )
    settings = Settings(interval_us=HOUR_US, horizons=(1,), levels=(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95))
    [board] = horizon_measures(walk_forward(fold_tasks(bars, folds, ("lightgbm",), settings)))
    return board.by_kind


def test_shuffled_time_leaves_our_models_no_skill() -> None:
    """On hours in random order HAR and LightGBM on all features do not beat the random walk."""
    for kind, measures in backtest(shuffled_time(LONG.head(5200))).items():
        ratio = measures.pinball_vs.get("random_walk")
        assert kind == "random_walk" or (ratio is not None and ratio.value > 1 - 3 * ratio.standard_error - 0.002)


def test_a_leak_planted_in_the_feature_table_keeps_its_skill_in_shuffled_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LightGBM uses the range of the next bar, planted in the real table, and both checks detect it."""

    def leaky(bars: pl.DataFrame, **given: object) -> pl.DataFrame:
        rows = feature_rows(bars, **given)  # type: ignore[arg-type]  # as given
        ranges = with_column((pl.col("high") / pl.col("low")).log().shift(-1).fill_null(0.01), bars)
        return rows.with_columns(ranges["planted"].alias(FEATURE_NAMES[0]))

    monkeypatch.setattr(models.evaluation.inputs, "feature_rows", leaky)
    monkeypatch.setattr(models.baselines.boosted_trees, "feature_rows", leaky)
    ratio = backtest(shuffled_time(LONG.head(5200)))["lightgbm"].pinball_vs["random_walk"]
    assert ratio.value < 1 - 5 * ratio.standard_error
    assert truncation(partial(leaky, interval_us=HOUR_US, leaders={"binance": "BTC-USDT"}), BARS) == [FEATURE_NAMES[0]]


def test_shuffling_keeps_the_bars_and_loses_their_order() -> None:
    """Returns, ranges and volumes are the same set; opens equal the previous closes; volatility does not cluster."""
    shuffled = shuffled_time(LONG)
    for frame in (LONG, shuffled):
        assert frame.height == LONG.height
    moved = {name: (frame["close"] / frame["open"]).log().sort() for name, frame in (("a", LONG), ("b", shuffled))}
    np.testing.assert_allclose(moved["a"], moved["b"], atol=1e-9)
    np.testing.assert_allclose(shuffled["open"][1:], shuffled["close"][:-1], rtol=1e-9)
    np.testing.assert_array_equal(shuffled["open_time_us"], LONG["open_time_us"])

    def clustering(frame: pl.DataFrame) -> float:
        size = np.abs(np.log((frame["close"] / frame["open"]).to_numpy()))
        return float(np.corrcoef(size[1:], size[:-1])[0, 1])

    assert clustering(LONG) > 0.15
    assert abs(clustering(shuffled)) < 0.04
