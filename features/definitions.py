"""Feature records: a feature as its family defines it, and as the catalogue lists it."""

from __future__ import annotations

from dataclasses import dataclass

from features.algebra import Expression


@dataclass(frozen=True, slots=True)
class Definition:
    """A feature as its family defines it."""

    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Feature:
    """A catalogue feature: one named input of the models.

    memory_rows: the row has a value only where this many earlier rows exist, and depends on no row before them.
    sources: the bar columns that it derives from.
    """

    name: str
    family: str
    expression: Expression
    memory_rows: int
    sources: frozenset[str]
