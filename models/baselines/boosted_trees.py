"""Baseline of gradient-boosted trees on the features of the networks (extra ``forecastd[lightgbm]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import FEATURE_NAMES
from features.cross_section import leaders_in
from features.labels import label_rows
from features.scaling import usable_features
from features.table import feature_rows
from features.windows import panel
from models.baselines.common import LEAST_ROWS, MissingExtra, VarianceScale, baseline_forecast
from models.evaluation.splits import cut_time, split_in_time
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import Series

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_TREES = 200
_EARLY_STOPPING_ROUNDS = 15
_SHAPE: Mapping[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class BoostedTrees:
    """LightGBM (G. Ke et al., NeurIPS 2017) on the newest feature row; trees of each horizon predict its log variance.

    The number of trees, the level and the quantiles of the standardised return are fitted on the last 15% of the
    training span, with purge and embargo, by trees grown without it; the final trees are then grown on the whole span.
    The median is 0. The series is a categorical feature; it is missing for a series that was not in the fit.
    """

    def __init__(
        self,
        boosters: Sequence[Any],
        variance_scale: VarianceScale,
        *,
        feature_names: Sequence[str],
        series: Sequence[Series],
        horizons: Sequence[int],
        levels: Sequence[float],
        trained_until_us: int,
    ) -> None:
        self.feature_names = tuple(feature_names)
        self.horizons = tuple(horizons)
        self.levels = tuple(levels)
        self.info = ModelInfo(id=f"lightgbm-{trained_until_us}", kind="lightgbm", trained_until_us=trained_until_us)
        self._boosters = tuple(boosters)
        self._variance_scale = variance_scale
        self._series = tuple(series)
        self._category = {name: index for index, name in enumerate(self._series)}

    @classmethod
    def fit(
        cls,
        bars: pl.DataFrame,
        *,
        interval_us: int,
        horizons: Sequence[int],
        levels: Sequence[float],
        seed: int = 0,
        threads: int = 1,
        shape: Mapping[str, Any] | None = None,
    ) -> BoostedTrees:
        """Fits all series of a bars frame together; ``shape``: LightGBM parameters that replace the defaults.

        Raises MissingExtra, or ValueError for too few bars.
        """
        lightgbm = _lightgbm()
        rows = feature_rows(bars, interval_us=interval_us, leaders=leaders_in(bars))
        names = usable_features(rows, FEATURE_NAMES)
        if not names:
            raise ValueError("LightGBM needs more history: no feature is known yet")
        table = panel(rows, names)
        log_variance, returns = _labels(bars, interval_us, horizons)
        close_us = table.open_time_us + interval_us
        usable = table.mask & np.isfinite(returns).any(axis=1)
        inputs = np.column_stack([table.values[usable], table.series[usable]])  # (N, F + 1)
        log_variance, returns, close_us = log_variance[usable], returns[usable], close_us[usable]
        if len(close_us) < 2 * LEAST_ROWS:
            raise ValueError(f"LightGBM needs {2 * LEAST_ROWS} bars with all features, there are {len(close_us)}")
        cut_us = cut_time(int(close_us.min()), int(close_us.max()))
        split = split_in_time(close_us, cut_us=cut_us, label_span_us=max(horizons) * interval_us)
        grower = _Grower(lightgbm, {**_SHAPE, **(shape or {}), "seed": seed, "num_threads": threads}, inputs)
        everything = np.concatenate([split.train, split.validation])
        boosters, predicted = [], []
        for target in log_variance.T:
            first = grower.grow_with_early_stopping(target, split.train, split.validation)
            predicted.append(np.exp(first.predict(inputs[split.validation], num_threads=threads)))
            boosters.append(grower.grow(target, everything, trees=max(first.best_iteration, 1)))
        variance_scale = VarianceScale.fit(np.stack(predicted, axis=1), returns[split.validation], levels)
        if variance_scale is None:
            raise ValueError(f"LightGBM needs {LEAST_ROWS} bars to calibrate on, in the last 15% of its history")
        return cls(
            boosters,
            variance_scale,
            feature_names=names,
            series=table.keys,
            horizons=horizons,
            levels=levels,
            trained_until_us=int(rows["close_time_us"].max()),  # type: ignore[arg-type]  # an integer column
        )

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError if an input has no window of these features, or its newest bar lacks one."""
        if not inputs:
            return []
        rows = np.stack([self._row(given) for given in inputs])  # (B, F + 1)
        log_variance = np.stack([booster.predict(rows, num_threads=1) for booster in self._boosters], axis=1)
        return [
            baseline_forecast(
                given,
                horizons=self.horizons,
                levels=self.levels,
                quantiles=sigma[:, None] * self._variance_scale.residual_quantiles,
                volatility=sigma,
                model=self.info,
            )
            for given, sigma in zip(inputs, self._variance_scale.sigma(np.exp(log_variance)), strict=True)
        ]

    def _row(self, given: ForecastInput) -> FloatArray:
        window = given.window
        if window is None or window.feature_names != self.feature_names:
            raise ValueError(f"{given.venue}:{given.symbol} has no window of the features of the fit")
        if not window.mask[-1]:
            raise ValueError(f"{given.venue}:{given.symbol}: the newest bar lacks a feature")
        category = self._category.get((given.venue, given.symbol), np.nan)
        return np.append(window.values[-1].astype(np.float64), category)

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values; the trees in LightGBM's text format."""
        return {
            "boosters": [booster.model_to_string() for booster in self._boosters],
            "calibration": self._variance_scale.to_json(),
            "feature_names": list(self.feature_names),
            "series": [list(name) for name in self._series],
            "horizons": list(self.horizons),
            "levels": list(self.levels),
            "trained_until_us": self.info.trained_until_us,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> BoostedTrees:
        """The inverse of ``to_json``. Raises MissingExtra without LightGBM, KeyError for a state of another shape."""
        lightgbm = _lightgbm()
        return cls(
            [lightgbm.Booster(model_str=text) for text in state["boosters"]],
            VarianceScale.from_json(state["calibration"]),
            feature_names=state["feature_names"],
            series=[(venue, symbol) for venue, symbol in state["series"]],
            horizons=state["horizons"],
            levels=state["levels"],
            trained_until_us=state["trained_until_us"],
        )


def _lightgbm() -> ModuleType:
    try:
        import lightgbm  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingExtra('this baseline needs the package lightgbm: pip install "forecastd[lightgbm]"') from error
    module: ModuleType = lightgbm
    return module


def _labels(bars: pl.DataFrame, interval_us: int, horizons: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Log variances (N, H) and log returns (N, H) in the rows of ``feature_rows``; NaN where unknown."""
    rows = label_rows(bars, interval_us=interval_us, horizons=horizons)
    log_variance, returns = (
        rows.select(pl.col(f"{label}_{horizon}").fill_null(np.nan) for horizon in horizons).to_numpy()
        for label in ("log_variance", "log_return")
    )
    return log_variance, returns


class _Grower:
    """Grows ensembles on rows of ``inputs`` (N, F + 1), whose last column is the series."""

    def __init__(self, lightgbm: ModuleType, shape: Mapping[str, Any], inputs: FloatArray) -> None:
        self._lightgbm = lightgbm
        self._shape = dict(shape)
        self._inputs = inputs

    def grow(self, target: FloatArray, rows: IntArray, *, trees: int) -> Any:
        return self._lightgbm.train(self._shape, self._dataset(target, rows), num_boost_round=trees)

    def grow_with_early_stopping(self, target: FloatArray, train: IntArray, validation: IntArray) -> Any:
        """Grows trees until the error on ``validation`` stops decreasing."""
        training_set = self._dataset(target, train)
        return self._lightgbm.train(
            self._shape,
            training_set,
            num_boost_round=_TREES,
            valid_sets=[self._dataset(target, validation, training_set)],
            callbacks=[self._lightgbm.early_stopping(_EARLY_STOPPING_ROUNDS, verbose=False)],
        )

    def _dataset(self, target: FloatArray, rows: IntArray, reference: Any = None) -> Any:
        known = rows[np.isfinite(target[rows])]
        return self._lightgbm.Dataset(
            self._inputs[known],
            target[known],
            categorical_feature=[self._inputs.shape[1] - 1],
            reference=reference,
            params={"max_bin": self._shape["max_bin"], "verbosity": -1},
        )
