"""What is known of each venue's wire: one file a venue, and ``venue`` to find it by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from daemon.errors import ConfigError
from daemon.exchanges.base import Venue
from daemon.exchanges.binance import Binance

_VENUES: Mapping[str, Callable[[Sequence[str]], Venue]] = MappingProxyType({Binance.name: Binance})

VENUE_NAMES = tuple(_VENUES)


def venue(name: str, symbols: Sequence[str]) -> Venue:
    """The venue called ``name``, told which BASE-QUOTE symbols it will see.

    Raises ConfigError for an unknown venue and for a symbol that the venue cannot spell.
    """
    if name not in _VENUES:
        raise ConfigError([f"venue was {name!r}; known venues: {', '.join(VENUE_NAMES)}"])
    return _VENUES[name](symbols)


__all__ = ["VENUE_NAMES", "Venue", "venue"]
