"""The scaler: fitted on training rows, robust, and unchanged by a JSON round trip."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.scaling import CLIP, RobustScaler, usable_features

NAMES = ("return", "flag", "constant")


def training_rows(count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    values = np.column_stack(
        [random.normal(5, 2, count), random.uniform(size=count) < 0.1, np.full(count, 4.0)]
    ).astype(np.float32)
    return values, np.ones(count, dtype=bool)


def test_normal_values_become_standard() -> None:
    """The median goes to 0 and the interquartile range to a standard normal's."""
    values, mask = training_rows()
    scaler = RobustScaler.fit(values, mask, NAMES)
    scaled = scaler.transform(values)
    assert np.median(scaled[:, 0]) == pytest.approx(0, abs=1e-6)
    assert scaled[:, 0].std() == pytest.approx(1, abs=0.1)
    assert scaled.dtype == np.float32


def test_flags_keep_a_spread_and_constants_are_reported() -> None:
    """A flag that is mostly 0 is scaled by its deviation; a constant is named and becomes 0."""
    values, mask = training_rows()
    scaler = RobustScaler.fit(values, mask, NAMES)
    assert scaler.constant == ("constant",)
    assert 1 < scaler.transform(values)[:, 1].max() < CLIP
    assert not scaler.transform(values)[:, 2].any()


def test_masked_rows_are_not_learned_from_and_stay_zero() -> None:
    """Rows outside the mask have no effect on centre and spread, and become zeros."""
    values, mask = training_rows()
    expected = RobustScaler.fit(values, mask, NAMES)
    poisoned = np.vstack([values, np.full((500, 3), 1e9, np.float32)])
    wider = np.concatenate([mask, np.zeros(500, dtype=bool)])
    scaler = RobustScaler.fit(poisoned, wider, NAMES)
    assert np.array_equal(scaler.centre, expected.centre)
    assert np.array_equal(scaler.spread, expected.spread)
    assert not scaler.transform(poisoned, wider)[~wider].any()


def test_a_crash_is_clipped() -> None:
    """No scaled value lies beyond the bound."""
    values, mask = training_rows()
    scaler = RobustScaler.fit(values, mask, NAMES)
    crash = scaler.transform(np.array([[-1e6, 1.0, 4.0]], np.float32))
    assert crash[0, 0] == -CLIP


def test_windows_scale_as_rows_do() -> None:
    """A batch (B, L, F) with its mask (B, L) is scaled like its rows."""
    values, mask = training_rows(96)
    scaler = RobustScaler.fit(values, mask, NAMES)
    assert np.array_equal(
        scaler.transform(values.reshape(2, 48, 3), mask.reshape(2, 48)).reshape(96, 3), scaler.transform(values)
    )


def test_json_keeps_every_number() -> None:
    """A scaler read back transforms to the same bits."""
    values, mask = training_rows()
    scaler = RobustScaler.fit(values, mask, NAMES)
    again = RobustScaler.from_json(scaler.to_json())
    assert again.feature_names == NAMES
    assert again.constant == scaler.constant
    assert np.array_equal(again.transform(values), scaler.transform(values))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"feature_names": ["a"]}',
        '{"feature_names": ["a"], "centre": [0, 1], "spread": [1], "constant": []}',
        '{"feature_names": ["a"], "centre": [0], "spread": [0], "constant": []}',
    ],
)
def test_json_that_is_no_scaler_is_rejected(text: str) -> None:
    """Broken JSON, absent keys, lengths that differ and a spread of 0 are errors."""
    with pytest.raises(ValueError, match=r"not a scaler|Expecting value"):
        RobustScaler.from_json(text)


def test_unusable_training_rows_are_rejected() -> None:
    """No unmasked row, a NaN, or another number of names is an error."""
    values, mask = training_rows(10)
    with pytest.raises(ValueError, match="finite rows"):
        RobustScaler.fit(values, np.zeros_like(mask), NAMES)
    with pytest.raises(ValueError, match="finite rows"):
        RobustScaler.fit(np.full_like(values, np.nan), mask, NAMES)
    with pytest.raises(ValueError, match="shape"):
        RobustScaler.fit(values, mask, NAMES[:2])
    with pytest.raises(ValueError, match="2 features"):
        RobustScaler.fit(values, mask, NAMES).transform(values[:, :2])


def test_usable_features_are_those_that_some_row_holds() -> None:
    """Only a feature that is null in every row is left out."""
    rows = pl.DataFrame({"a": [1.0, None], "b": [None, None], "c": [1.0, 2.0]}, schema_overrides={"b": pl.Float64})
    assert usable_features(rows, ["c", "b", "a"]) == ["c", "a"]
