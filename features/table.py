"""``feature_rows`` computes all features, with the same code for training, replay and live forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from features.catalogue import FEATURE_NAMES, FEATURES, closure, ingredients_of
from features.expressions import WARM_UP_ROWS, Feature, Ingredient, Scope
from features.frames import BAR_KEYS, newest_rows, regular_bars

KEY_COLUMNS = (*BAR_KEYS, "close_time_us")
_WORKING_COLUMNS = pl.col(*KEY_COLUMNS, "row")
_TABLE_COLUMNS = pl.col(*KEY_COLUMNS, *FEATURE_NAMES)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a set of features is computed: layers of columns, each derived from the layers before it, then ``features``.

    ``features`` read only their own row, so at a bar close they are evaluated on the newest rows alone.
    """

    layers: tuple[tuple[pl.Expr, ...], ...]
    features: tuple[pl.Expr, ...]
    memory_rows: int


def _expression(column: Ingredient | Feature) -> pl.Expr:
    scope = column.scope
    return (column.expression if scope is Scope.ROW else column.expression.over(scope.value)).alias(column.name)


def _layers(ingredients: Iterable[Ingredient]) -> tuple[tuple[pl.Expr, ...], ...]:
    depths: dict[str, int] = {}
    layers: dict[int, list[pl.Expr]] = {}
    for ingredient in ingredients:
        depth = 1 + max((depths[behind.name] for behind in ingredients_of(ingredient.expression)), default=-1)
        depths[ingredient.name] = depth
        layers.setdefault(depth, []).append(_expression(ingredient))
    return tuple(tuple(layers[depth]) for depth in sorted(layers))


def _plan(features: Iterable[Feature]) -> _Plan:
    features = tuple(features)
    series = tuple(_expression(feature) for feature in features if feature.scope is Scope.SERIES)
    ingredients = closure(feature.expression for feature in features)
    return _Plan(
        layers=(*_layers(ingredients), series),
        features=tuple(
            _expression(feature) if feature.scope is Scope.ROW else pl.col(feature.name) for feature in features
        ),
        memory_rows=max(feature.memory_rows for feature in features),
    )


_ALL = _plan(FEATURES)
# Separate plans, because at a bar close the windowed features need a third of the rows of the recursive ones.
_RECURSIVE = _plan(feature for feature in FEATURES if feature.memory_rows == WARM_UP_ROWS)
_WINDOWED = _plan(feature for feature in FEATURES if feature.memory_rows < WARM_UP_ROWS)


def feature_rows(
    bars: pl.DataFrame,
    *,
    interval_us: int,
    leaders: Mapping[str, str],
    last_rows: int | None = None,
) -> pl.DataFrame:
    """One row of features for every bar and outage of ``bars`` (``BARS_SCHEMA``, any order).

    Columns: venue, symbol, open_time_us, close_time_us, then ``FEATURE_NAMES`` as Float64; sorted by venue, symbol
    and time. A row depends on bars up to its own close and no later one. A feature is null if its sources are, or if
    fewer earlier rows exist than its memory; never NaN or infinite.

    leaders: for each venue, the symbol whose returns lead its market (``choose_leaders``).
    last_rows: return only the rows of the newest ``last_rows`` intervals of the frame, with the same values.

    Raises ValueError if the bars lack a column or lie off the grid, or a venue has no leader.
    """
    bars = regular_bars(bars, interval_us)
    if last_rows is None:
        layered = _with_layers(_with_keys(bars, interval_us, leaders), _ALL)
        return _finished(layered.select(_WORKING_COLUMNS, *_ALL.features))
    return newest_feature_rows(bars, interval_us=interval_us, leaders=leaders, last_rows=last_rows)


def newest_feature_rows(
    bars: pl.DataFrame, *, interval_us: int, leaders: Mapping[str, str], last_rows: int
) -> pl.DataFrame:
    """``feature_rows`` of the newest ``last_rows`` intervals; ``bars`` must be a result of ``regular_bars``."""
    if last_rows < 1:
        raise ValueError(f"last_rows was {last_rows}, must be at least 1")
    keyed = _with_keys(newest_rows(bars, WARM_UP_ROWS + last_rows, interval_us), interval_us, leaders)
    recursive, windowed = (
        newest_rows(
            _with_layers(newest_rows(keyed, plan.memory_rows + last_rows, interval_us), plan), last_rows, interval_us
        )
        for plan in (_RECURSIVE, _WINDOWED)
    )
    together = windowed.select(_WORKING_COLUMNS, *_WINDOWED.features)
    return _finished(together.hstack(recursive.select(*_RECURSIVE.features)))


def _with_keys(bars: pl.DataFrame, interval_us: int, leaders: Mapping[str, str]) -> pl.DataFrame:
    """Regular ``bars`` with the columns close_time_us, series, moment, row (within its series) and is_leader."""
    venue, symbol, time = pl.col("venue"), pl.col("symbol"), pl.col("open_time_us")
    leaderless = set(bars["venue"].unique()) - leaders.keys()
    if leaderless:
        raise ValueError(f"leaders lacks the venues {sorted(leaderless)}")
    new_venue = (venue != venue.shift()).fill_null(value=False)
    new_series = new_venue | (symbol != symbol.shift()).fill_null(value=False)
    venue_number = new_venue.cum_sum().cast(pl.Int64)
    keyed = bars.with_columns(
        close_time_us=time + interval_us,
        series=new_series.cum_sum(),
        moment=time // interval_us * (venue_number.max() + 1) + venue_number,
        is_leader=symbol == venue.replace_strict(leaders, default=None, return_dtype=pl.String),
    )
    return keyed.with_columns(
        pl.col("series").set_sorted(),
        row=(time - time.first().over("series")) // interval_us,
    )


def _with_layers(keyed: pl.DataFrame, plan: _Plan) -> pl.DataFrame:
    for layer in plan.layers:
        keyed = keyed.with_columns(layer)
    return keyed


def _finished(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` in the order of the catalogue, null if a series is younger than a feature's memory."""
    if rows.height and rows["row"].min() >= WARM_UP_ROWS:  # type: ignore[operator]  # an integer column
        return rows.select(_TABLE_COLUMNS)
    return rows.select(
        *KEY_COLUMNS,
        *(pl.when(pl.col("row") >= feature.memory_rows).then(feature.name).alias(feature.name) for feature in FEATURES),
    )
