"""The catalogue: the number of features, the length of their memory, and the schema hash."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from features import catalogue
from features.catalogue import FEATURE_NAMES, FEATURES, INGREDIENTS, closure, feature_named, schema_hash
from features.expressions import WARM_UP_ROWS
from features.frames import BARS_SCHEMA


def test_there_are_at_least_95_features_with_names_of_their_own() -> None:
    """The catalogue holds 95 features or more, and no name twice or also as an ingredient."""
    assert len(FEATURES) >= 95
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert not set(FEATURE_NAMES) & (INGREDIENTS.keys() | BARS_SCHEMA.keys())


def test_every_ingredient_is_used() -> None:
    """Every computed column is used by some feature."""
    used = {ingredient.name for ingredient in closure(feature.expression for feature in FEATURES)}
    assert used == INGREDIENTS.keys()


def test_memories_are_finite_and_those_of_windows_short() -> None:
    """Recursive features declare 500 rows; all others at most a week and a day of hours."""
    memories = {feature.name: feature.memory_rows for feature in FEATURES}
    assert max(memories.values()) == WARM_UP_ROWS == memories["adx_14"] == memories["rsi_14"]
    assert all(memory <= 192 for memory in memories.values() if memory != WARM_UP_ROWS)
    assert memories["log_return_168"] == 168
    assert memories["log_garman_klass_24"] == 23
    assert memories["next_hour_sin"] == 0


def test_sources_are_traced_through_ingredients() -> None:
    """A feature's sources are the bar columns that it derives from, at any depth."""
    assert feature_named("taker_imbalance_24").sources == {"taker_buy_volume", "volume"}
    assert feature_named("next_hour_sin").sources == {"open_time_us"}
    assert {"close", "venue", "symbol"} <= feature_named("beta_168").sources
    assert all(feature.sources <= BARS_SCHEMA.keys() for feature in FEATURES)


def test_the_hash_depends_on_names_and_order() -> None:
    """The same names in the same order hash alike; any other list does not."""
    assert schema_hash(FEATURE_NAMES) == schema_hash(list(FEATURE_NAMES))
    assert schema_hash(FEATURE_NAMES) != schema_hash(FEATURE_NAMES[:-1])
    assert schema_hash(["rsi_14", "adx_14"]) != schema_hash(["adx_14", "rsi_14"])


def test_the_hash_depends_on_what_the_names_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another window in an ingredient three steps behind a feature gives another hash, and only to that feature."""
    before, other = schema_hash(["adx_14"]), schema_hash(["log_return_1"])
    changed = replace(INGREDIENTS["mean_plus_14"], expression=pl.col("plus_movement").ewm_mean(span=13))
    monkeypatch.setattr(catalogue, "INGREDIENTS", {**INGREDIENTS, "mean_plus_14": changed})
    assert schema_hash(["adx_14"]) != before
    assert schema_hash(["log_return_1"]) == other


def test_unknown_features_are_refused_by_name() -> None:
    """A name that the catalogue lacks is an error that names it."""
    with pytest.raises(ValueError, match="astrology"):
        schema_hash(["rsi_14", "astrology"])
