"""Cross-section features: the venue's leading symbol, and statistics over all symbols of the venue at one time.

The cross-section covers the symbols in the frame, so training and live forecasts must use the same symbols. Its
dispersion is the population standard deviation: 0 if the frame has one symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from features.expressions import LEAST_VARIANCE, Definition, Ingredient, Scope, average, averages, log_variance, ratio

_return, _garman_klass = pl.col("log_return"), pl.col("garman_klass")
_leader_return, _leader_variance = pl.col("leader_return"), pl.col("leader_variance")
_own, _leading = pl.col("paired_return"), pl.col("paired_leader_return")


def choose_leader(symbols: Sequence[str]) -> str:
    """The first symbol (BASE-QUOTE) whose base is BTC, else the first. Raises ValueError if there is no symbol."""
    if not symbols:
        raise ValueError("a venue without symbols has no leader")
    return next((symbol for symbol in symbols if symbol.partition("-")[0] == "BTC"), symbols[0])


def choose_leaders(instruments: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The leader of each venue among ``instruments``, (venue, symbol) pairs in the order of the configuration."""
    symbols: dict[str, list[str]] = {}
    for venue, symbol in instruments:
        symbols.setdefault(venue, []).append(symbol)
    return {venue: choose_leader(names) for venue, names in symbols.items()}


def leaders_in(bars: pl.DataFrame) -> dict[str, str]:
    """The leader of each venue in a frame of bars whose instruments are in the order of the configuration."""
    return choose_leaders(bars.select("venue", "symbol").unique(maintain_order=True).rows())


def _of_leader(values: pl.Expr) -> pl.Expr:
    """``values`` of the leader's row, for the rows of all symbols of its venue at that time."""
    return pl.when(pl.col("is_leader")).then(values).max()


INGREDIENTS = (
    Ingredient("leader_return", _of_leader(_return), scope=Scope.MOMENT),
    Ingredient("leader_variance", _of_leader(_garman_klass), scope=Scope.MOMENT),
    Ingredient("market_return", _return.mean(), scope=Scope.MOMENT),
    Ingredient("market_dispersion", _return.std(ddof=0), scope=Scope.MOMENT),
    Ingredient("market_breadth", (_return > 0).cast(pl.Float64).mean(), scope=Scope.MOMENT),
    Ingredient("relative_return", _return - pl.col("market_return")),
    # Moments of the two returns use only the bars that have both.
    Ingredient("paired_return", pl.when(_leader_return.is_not_null()).then(_return)),
    Ingredient("paired_leader_return", pl.when(_return.is_not_null()).then(_leader_return)),
    Ingredient("paired_product", _own * _leading),
    Ingredient("paired_square", _own * _own),
    Ingredient("paired_leader_square", _leading * _leading),
    *averages("leader_return", 6, 24),
    *averages("leader_variance", 24),
    *averages("market_return", 24),
    *averages("relative_return", 24),
    *averages("paired_product", 24, 168),
    *averages("paired_square", 24, 168),
    *averages("paired_leader_square", 24, 168),
)


def _mean_of(column: str, window: int) -> Definition:
    return Definition(f"{column}_{window}", average(column, window))


LEADER = (
    *(_mean_of("leader_return", window) for window in (1, 6, 24)),
    *(
        Definition(f"leader_log_variance_{window}", log_variance(average("leader_variance", window)))
        for window in (1, 24)
    ),
)

CROSS_SECTION = (
    *(_mean_of("market_return", window) for window in (1, 24)),
    _mean_of("market_dispersion", 1),
    *(_mean_of("relative_return", window) for window in (1, 24)),
    _mean_of("market_breadth", 1),
)


def _beta(window: int) -> Definition:
    """Slope of the return on the leader's, without intercept: mean returns are negligible beside their noise."""
    leading = average("paired_leader_square", window)
    return Definition(f"beta_{window}", ratio(average("paired_product", window), leading, LEAST_VARIANCE))


def _correlation(window: int) -> Definition:
    """Uncentred correlation of the return with the leader's, from -1 to 1."""
    scale = (average("paired_square", window) * average("paired_leader_square", window)).sqrt()
    return Definition(f"correlation_{window}", ratio(average("paired_product", window), scale, LEAST_VARIANCE))


COUPLING = (*map(_beta, (24, 168)), *map(_correlation, (24, 168)))

FAMILIES = {"leader": LEADER, "cross_section": CROSS_SECTION, "coupling": COUPLING}
