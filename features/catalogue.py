"""The feature catalogue: all features in order, derived from the family definitions, and their schema hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from features import calendar, cross_section, order_flow, price, volatility
from features.definitions import Definition, Feature
from features.program import Program, memory_rows, program, sources

CATALOGUE_VERSION = 2
"""To be increased when a change of an evaluator or of ``frames.py`` gives the same expressions another meaning."""


def _feature(family: str, definition: Definition) -> Feature:
    return Feature(
        name=definition.name,
        family=family,
        expression=definition.expression,
        memory_rows=memory_rows(definition.expression),
        sources=sources(definition.expression),
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


def feature_program(features: Iterable[Feature]) -> Program:
    """The program that computes ``features``, under their names."""
    return program({feature.name: feature.expression for feature in features})


def schema_hash(names: Sequence[str], universe: Iterable[str] = ()) -> str:
    """SHA-256 over ``names`` in order, the canonical text of the expressions that compute them, and the universe.

    universe: the instruments ("venue:symbol") that the cross-section is made of, in any order.

    Raises ValueError if the catalogue lacks one of the features.
    """
    text = feature_program(map(feature_named, names)).text()
    instruments = " ".join(sorted(set(universe)))
    return hashlib.sha256(f"features {CATALOGUE_VERSION}\nuniverse {instruments}\n{text}".encode()).hexdigest()
