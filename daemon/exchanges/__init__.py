"""The supported venues: one module implements each wire protocol, and ``venue`` returns it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from daemon.errors import ConfigError
from daemon.exchanges.base import Venue
from daemon.exchanges.binance import Binance
from daemon.exchanges.bitstamp import Bitstamp
from daemon.exchanges.bybit import Bybit, BybitLinear
from daemon.exchanges.coinbase import Coinbase
from daemon.exchanges.kraken import Kraken
from daemon.exchanges.okx import Okx

_VENUES: Mapping[str, Callable[[Sequence[str] | None], Venue]] = MappingProxyType(
    {
        Binance.name: Binance,
        Coinbase.name: Coinbase,
        Kraken.name: Kraken,
        Bybit.name: Bybit,
        BybitLinear.name: BybitLinear,
        Okx.name: Okx,
        Bitstamp.name: Bitstamp,
    }
)

VENUE_NAMES = tuple(_VENUES)


def venue(name: str, symbols: Sequence[str] | None) -> Venue:
    """The venue called ``name`` for these BASE-QUOTE symbols; None accepts every symbol, for recordings.

    Raises ConfigError for an unknown venue and for symbols that are not BASE-QUOTE or that the venue spells alike.
    """
    if name not in _VENUES:
        raise ConfigError([f"venue was {name!r}; known venues: {', '.join(VENUE_NAMES)}"])
    return _VENUES[name](symbols)


__all__ = ["VENUE_NAMES", "Venue", "venue"]
