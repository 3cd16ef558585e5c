"""SymbolMap: translates between BASE-QUOTE symbols and a venue's spelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.errors import ConfigError, DataFault
from features.symbols import is_symbol


class SymbolMap:
    """The watched symbols by the venue's spelling; ``symbols`` None watches every symbol.

    native: converts base and quote to the spelling in the venue's frames. spell: the reverse, None where it cannot
    be derived. Raises ConfigError for symbols that are not BASE-QUOTE, and for two that the venue spells alike.
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
        # Called for every frame: a bound method of the dict takes a third of the time of a Python method.
        self.find: Callable[[str], str | None] = self._derive if self._open else self._symbols.get

    def native(self, symbol: str) -> str:
        """The venue's spelling of ``symbol``; raises ConfigError if it is not BASE-QUOTE."""
        if not is_symbol(symbol):
            if self._open:
                return symbol
            raise ConfigError([f"symbol was {symbol!r}; write BASE-QUOTE in capitals, e.g. BTC-USDT"])
        base, _, quote = symbol.partition("-")
        return self._native(base, quote)

    def require(self, native: str) -> str:
        """The watched symbol with this spelling; raises DataFault if there is none."""
        symbol = self.find(native)
        if symbol is None:
            raise DataFault(f"{self._venue} sent trades of {native!r}, which is not subscribed")
        return symbol

    def watched(self, natives: Sequence[str]) -> tuple[str, ...]:
        """The watched symbols among ``natives``; others are skipped."""
        return tuple(symbol for native in natives if (symbol := self.find(native)) is not None)

    def _derive(self, native: str) -> str | None:
        symbol = self._symbols.get(native)
        if symbol is None:
            symbol = self._symbols[native] = self._spell(native) or native
        return symbol
