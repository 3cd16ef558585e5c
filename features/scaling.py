"""Robust feature scaler: median and spread of each feature, fitted on the training rows only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

CLIP = 10.0
"""Scaled values are clipped to +-CLIP normal deviations, so that a flash crash does not dominate a gradient."""

_NORMAL_QUARTILES = 1.349  # the interquartile range of a standard normal distribution
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class RobustScaler:
    """``(value - centre) / spread`` per feature, clipped.

    centre: (F,) median. spread: (F,) interquartile range over 1.349; if that is 0 (a flag that is mostly 0), the
    standard deviation; 1 for a constant. constant: the features that did not vary in training.
    """

    feature_names: tuple[str, ...]
    centre: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    constant: tuple[str, ...]

    @classmethod
    def fit(
        cls, values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], feature_names: Sequence[str]
    ) -> RobustScaler:
        """Fits on the training rows: those of ``values`` (N, F) where ``mask`` (N,) is True.

        Raises ValueError if ``mask`` selects no row, a value is not finite, or the shapes do not match.
        """
        if values.shape != (len(mask), len(feature_names)):
            raise ValueError(f"values have shape {values.shape}, expected ({len(mask)}, {len(feature_names)})")
        rows = values[mask].astype(np.float64)
        if not len(rows) or not np.isfinite(rows).all():
            raise ValueError(f"a scaler needs finite rows, and was given {len(rows)} rows")
        lower, centre, upper = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
        quartiles, deviation = (upper - lower) / _NORMAL_QUARTILES, rows.std(axis=0)
        spread = np.where(quartiles > _LEAST_SPREAD, quartiles, deviation)
        is_constant = spread <= _LEAST_SPREAD
        return cls(
            feature_names=tuple(feature_names),
            centre=centre,
            spread=np.where(is_constant, 1.0, spread),
            constant=tuple(name for name, flag in zip(feature_names, is_constant, strict=True) if flag),
        )

    def transform(
        self, values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.float32]:
        """``values`` (..., F) scaled and clipped; 0.0 where ``mask`` (...,) is False.

        Raises ValueError if F differs from the scaler's.
        """
        if values.shape[-1] != len(self.feature_names):
            raise ValueError(f"values hold {values.shape[-1]} features, the scaler {len(self.feature_names)}")
        scaled = np.clip((values - self.centre) / self.spread, -CLIP, CLIP).astype(np.float32)
        if mask is not None:
            scaled[~mask] = 0.0
        return scaled

    def to_json(self) -> str:
        return json.dumps(
            {
                "feature_names": self.feature_names,
                "centre": self.centre.tolist(),
                "spread": self.spread.tolist(),
                "constant": self.constant,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of ``to_json``. Raises ValueError for invalid JSON, absent keys, wrong lengths or no spread."""
        try:
            content = json.loads(text)
            scaler = cls(
                feature_names=tuple(content["feature_names"]),
                centre=np.asarray(content["centre"], dtype=np.float64),
                spread=np.asarray(content["spread"], dtype=np.float64),
                constant=tuple(content["constant"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a scaler: {error!r}") from error
        shape = (len(scaler.feature_names),)
        if scaler.centre.shape != shape or scaler.spread.shape != shape or not (scaler.spread > 0).all():
            raise ValueError("not a scaler: each feature needs a centre and a spread above 0")
        return scaler


def usable_features(rows: pl.DataFrame, feature_names: Sequence[str]) -> list[str]:
    """The features with a value in at least one row; one that is null throughout training is left out of the model."""
    counts = rows.select(pl.col(*feature_names).is_not_null().any())
    return [name for name in feature_names if counts[name].item()]
