"""The catalogue: the number of features, the length of their memory, and the schema hash."""

from __future__ import annotations

from dataclasses import replace

import pytest

from features import catalogue, earlier_schemas
from features.algebra import WARM_UP_ROWS, column, mean, wilder
from features.catalogue import FEATURE_NAMES, FEATURES, feature_named, feature_program, schema_hash
from features.earlier_schemas import accepted_hashes
from features.frames import BARS_SCHEMA


def test_there_are_at_least_95_features_with_names_of_their_own() -> None:
    """The catalogue holds 95 features or more, and no name twice or also as a column of the bars."""
    assert len(FEATURES) >= 95
    assert len(set(FEATURE_NAMES)) == len(FEATURES)
    assert not set(FEATURE_NAMES) & BARS_SCHEMA.keys()


def test_features_share_what_they_have_in_common() -> None:
    """No two steps of the catalogue's program compute the same."""
    steps = feature_program(FEATURES).steps
    assert len({(step.operator, step.node.parameters, step.arguments) for step in steps}) == len(steps)


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
    """Another window three steps behind a feature gives another hash, and only to that feature."""
    before, other = schema_hash(["adx_14"]), schema_hash(["log_return_1"])
    for window in (24, 25):
        changed = replace(feature_named("adx_14"), expression=wilder(abs(mean(column("close"), window)), 14))
        monkeypatch.setattr(catalogue, "_BY_NAME", {**catalogue._BY_NAME, "adx_14": changed})
        assert schema_hash(["adx_14"]) != before
        before = schema_hash(["adx_14"])
        assert schema_hash(["log_return_1"]) == other


def test_the_hash_depends_on_the_expressions_alone() -> None:
    """The hash of this catalogue is the same with every release of Polars, and on every machine."""
    assert schema_hash(["log_return_1"]) == "b8f30c111d4506f5e4b004e252ae6d90eebb360654f59dabef15af2fe0172314"


def test_the_hash_depends_on_the_universe() -> None:
    """A cross-section of other instruments is another input; the order in which they are given is not."""
    pair = schema_hash(FEATURE_NAMES, ["binance:BTC-USDT", "binance:ETH-USDT"])
    assert pair == schema_hash(FEATURE_NAMES, ["binance:ETH-USDT", "binance:BTC-USDT"])
    assert pair != schema_hash(FEATURE_NAMES, ["binance:BTC-USDT"])


def test_hashes_of_release_0_1_are_accepted_while_the_features_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of that release is served; once one of its features is computed otherwise, it is not."""
    earlier = "20c0d72ecfb290f2dfa20e6bcac58a3c90c090e76e15f312b717a7cdd286e5e2"
    universe = ["binance:BTC-USDT"]
    assert accepted_hashes(FEATURE_NAMES, universe) == {earlier, schema_hash(FEATURE_NAMES, universe)}
    assert accepted_hashes(FEATURE_NAMES[1:], universe) == {schema_hash(FEATURE_NAMES[1:], universe)}
    without_taker = [each.name for each in FEATURES if not any("taker" in source for source in each.sources)]
    assert len(accepted_hashes(without_taker, universe)) == 2
    monkeypatch.setattr(earlier_schemas, "schema_hash", lambda *_: "0")
    assert accepted_hashes(FEATURE_NAMES, universe) == {"0"}


def test_unknown_features_are_refused_by_name() -> None:
    """A name that the catalogue lacks is an error that names it."""
    with pytest.raises(ValueError, match="astrology"):
        schema_hash(["rsi_14", "astrology"])
