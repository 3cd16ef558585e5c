"""Cross-section features: the venue's leading symbol, and statistics over all symbols of the venue at one time.

The cross-section covers the symbols in the frame, so training and live forecasts must use the same symbols. Its
dispersion is the population standard deviation: 0 if the frame has one symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from features.algebra import (
    LEAST_VARIANCE,
    Expression,
    choose,
    known,
    log_variance,
    market_deviation,
    market_mean,
    mean,
    of_leader,
    ratio,
    root,
)
from features.definitions import Definition
from features.price import LOG_RETURN
from features.volatility import GARMAN_KLASS

if TYPE_CHECKING:
    import polars as pl


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


_leader_return, _leader_variance = of_leader(LOG_RETURN), of_leader(GARMAN_KLASS)
_market_return = market_mean(LOG_RETURN)
_relative_return = LOG_RETURN - _market_return
_market_breadth = market_mean(choose(LOG_RETURN > 0, 1.0, choose(known(LOG_RETURN), 0.0)))

# Moments of the two returns use only the bars that have both.
_own = choose(known(_leader_return), LOG_RETURN)
_leading = choose(known(LOG_RETURN), _leader_return)


def _mean_of(name: str, values: Expression, window: int) -> Definition:
    return Definition(f"{name}_{window}", mean(values, window))


LEADER = (
    *(_mean_of("leader_return", _leader_return, window) for window in (1, 6, 24)),
    *(Definition(f"leader_log_variance_{window}", log_variance(mean(_leader_variance, window))) for window in (1, 24)),
)

CROSS_SECTION = (
    *(_mean_of("market_return", _market_return, window) for window in (1, 24)),
    _mean_of("market_dispersion", market_deviation(LOG_RETURN), 1),
    *(_mean_of("relative_return", _relative_return, window) for window in (1, 24)),
    _mean_of("market_breadth", _market_breadth, 1),
)


def _beta(window: int) -> Definition:
    """Slope of the return on the leader's, without intercept: mean returns are negligible beside their noise."""
    slope = ratio(mean(_own * _leading, window), mean(_leading * _leading, window), LEAST_VARIANCE)
    return Definition(f"beta_{window}", slope)


def _correlation(window: int) -> Definition:
    """Uncentred correlation of the return with the leader's, from -1 to 1."""
    scale = root(mean(_own * _own, window) * mean(_leading * _leading, window))
    return Definition(f"correlation_{window}", ratio(mean(_own * _leading, window), scale, LEAST_VARIANCE))


COUPLING = (*map(_beta, (24, 168)), *map(_correlation, (24, 168)))

FAMILIES = {"leader": LEADER, "cross_section": CROSS_SECTION, "coupling": COUPLING}
