"""The feature catalogue: all features in order, derived from the family definitions, and their schema hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from features import calendar, cross_section, order_flow, price, volatility
from features.expressions import REMEMBERED_BARS, WARM_UP_ROWS, Definition, Feature, Ingredient, Scope
from features.frames import BARS_SCHEMA

CATALOGUE_VERSION = 1
"""To be increased when a change of ``table.py`` or ``frames.py`` gives the same expressions another meaning."""

INGREDIENTS: Mapping[str, Ingredient] = {
    ingredient.name: ingredient
    for ingredient in (
        REMEMBERED_BARS,
        *price.INGREDIENTS,
        *volatility.INGREDIENTS,
        *order_flow.INGREDIENTS,
        *cross_section.INGREDIENTS,
    )
}

GIVEN_COLUMNS: Mapping[str, frozenset[str]] = {
    **{name: frozenset({name}) for name in BARS_SCHEMA},
    "close_time_us": frozenset({"open_time_us"}),
    "is_leader": frozenset({"venue", "symbol"}),
    "series": frozenset({"venue", "symbol"}),
}
"""Columns that an expression may read besides ingredients, each with the bar columns that it derives from."""


def ingredients_of(expression: pl.Expr) -> list[Ingredient]:
    """The ingredients that ``expression`` refers to directly. Raises ValueError for an unknown column."""
    roots = dict.fromkeys(expression.meta.root_names())
    unknown = [name for name in roots if name not in INGREDIENTS and name not in GIVEN_COLUMNS]
    if unknown:
        raise ValueError(f"a feature refers to columns that do not exist: {unknown}")
    return [INGREDIENTS[name] for name in roots if name in INGREDIENTS]


def closure(expressions: Iterable[pl.Expr]) -> list[Ingredient]:
    """All ingredients that ``expressions`` depend on, directly or not, each after its own dependencies."""
    found: dict[str, Ingredient] = {}
    for expression in expressions:
        for ingredient in ingredients_of(expression):
            for behind in (*closure([ingredient.expression]), ingredient):
                found[behind.name] = behind
    return list(found.values())


def _memory_rows(definition: Definition | Ingredient) -> int:
    """Rows that the longest chain of dependencies reaches back.

    The bound: a recursive average of a recursive average forgets about as fast as a single one.
    """
    behind = max(map(_memory_rows, ingredients_of(definition.expression)), default=0)
    return min(definition.rows + behind, WARM_UP_ROWS)


def _sources(expression: pl.Expr) -> frozenset[str]:
    expressions = [expression, *(ingredient.expression for ingredient in closure([expression]))]
    roots = {name for each in expressions for name in each.meta.root_names()}
    return frozenset().union(*(GIVEN_COLUMNS[name] for name in roots if name in GIVEN_COLUMNS))


def _feature(family: str, definition: Definition) -> Feature:
    return Feature(
        name=definition.name,
        family=family,
        expression=definition.expression,
        scope=Scope.SERIES if definition.rows else Scope.ROW,
        memory_rows=_memory_rows(definition),
        sources=_sources(definition.expression),
    )


FEATURES: tuple[Feature, ...] = tuple(
    _feature(family, definition)
    for module in (price, volatility, order_flow, calendar, cross_section)
    for family, definitions in module.FAMILIES.items()
    for definition in definitions
)

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

_BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}


def feature_named(name: str) -> Feature:
    """The feature of that name. Raises ValueError if the catalogue has none."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise ValueError(f"there is no feature named {name!r}") from None


def schema_hash(names: Sequence[str]) -> str:
    """SHA-256 over ``names`` in order and the expressions that compute them.

    The expressions enter as Polars serialises them, so a Polars release with another serialisation changes the hash.
    That costs one retraining; a hash that misses a changed feature would cost wrong forecasts.

    Raises ValueError if the catalogue lacks one of the features.
    """
    features = [feature_named(name) for name in names]
    content = {
        "version": CATALOGUE_VERSION,
        "features": [[feature.name, _serialised(feature.expression)] for feature in features],
        "ingredients": [
            [ingredient.name, ingredient.scope.value, _serialised(ingredient.expression)]
            for ingredient in closure(feature.expression for feature in features)
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _serialised(expression: pl.Expr) -> str:
    return expression.meta.serialize(format="json")
