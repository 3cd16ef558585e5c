"""Symbols of frames: looks the venue's spelling up among the watched symbols."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.errors import ConfigError, DataFault
from features.symbols import is_symbol


class SymbolMap:
    """A venue's spellings of the watched symbols; ``symbols`` None watches all.

    native: BASE-QUOTE as the venue spells it in its frames. spell: the reverse, None where it cannot be derived.
    Raises ConfigError for symbols that are not BASE-QUOTE, and for two that the venue spells alike.
    """

    def __init__(
        self,
        venue: str,
        symbols: Sequence[str] | None,
        *,
        native: Callable[[str, str], str],
        spell: Callable[[str], str | None],
    ) -> None:
        self._venue = venue
        self._native = native
        self._spell = spell
        self._symbols: dict[str, str] = {}
        self._open = symbols is None
        for symbol in symbols or ():
            spelling = self.native(symbol)
            if self._symbols.setdefault(spelling, symbol) != symbol:
                raise ConfigError([f"{venue} spells {self._symbols[spelling]} and {symbol} alike; leave one out"])
        # The hot path: a bound method of the dict costs a third of a method of ours.
        self.find: Callable[[str], str | None] = self._derive if self._open else self._symbols.get

    def native(self, symbol: str) -> str:
        """BASE-QUOTE as the venue spells it."""
        if not is_symbol(symbol):
            if self._open:
                return symbol
            raise ConfigError([f"symbol was {symbol!r}; write BASE-QUOTE in capitals, e.g. BTC-USDT"])
        base, _, quote = symbol.partition("-")
        return self._native(base, quote)

    def require(self, native: str) -> str:
        """The symbol; raises DataFault for one that is not watched."""
        symbol = self.find(native)
        if symbol is None:
            raise DataFault(f"{self._venue} sent trades of {native!r}, which nobody asked for")
        return symbol

    def watched(self, natives: Sequence[str]) -> tuple[str, ...]:
        """The symbols among ``natives``, others left out."""
        return tuple(symbol for native in natives if (symbol := self.find(native)) is not None)

    def _derive(self, native: str) -> str | None:
        symbol = self._symbols.get(native)
        if symbol is None:
            symbol = self._symbols[native] = self._spell(native) or native
        return symbol
