"""Which connections of a capture bring which symbols, and when none of them does any more. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.recordings.base import Heard, Unheard


class Connections:
    """A capture is one listening without an interruption, unless one of its connections is opened once more.

    Recorders name their connections where they have several. Lines without a name belong to the one opened last.
    """

    def __init__(self) -> None:
        self._opened_us: dict[str | None, int | None] = {}
        self._received_us: dict[str | None, int | None] = {}
        self._carriers: dict[str, set[str | None]] = {}
        self._last_trades_us: dict[str, int] = {}
        self._lost_on: dict[str, set[str | None]] = {}

    def opened(self, connection: str | None, at_us: int | None) -> list[Unheard]:
        """What nobody hears now: the symbols that came by the same connection before, and by no other."""
        anew = {connection, None}
        unheard = []
        for symbol, carriers in self._carriers.items():
            lost = carriers & anew
            carriers.difference_update(lost)
            if lost and not carriers:
                self._lost_on[symbol] = anew
                ends = [self._received_us.get(each) or self._last_trades_us[symbol] for each in lost]
                unheard.append(Unheard(symbol, max(ends)))
        self._opened_us |= dict.fromkeys(anew, at_us)
        return unheard

    def received(self, connection: str | None, at_us: int | None) -> int | None:
        """Takes note of a frame; returns since when its connection is open."""
        self._received_us[connection] = at_us
        return self._opened_us.setdefault(connection, at_us)

    def acknowledged(self, connection: str | None, symbols: Iterable[str], at_us: int | None) -> list[Heard]:
        """Subscriptions were confirmed; where no symbols are named, all that the connection had lost."""
        if at_us is None:
            return []  # the next trades will say when
        named = list(symbols) or [symbol for symbol, lost in self._lost_on.items() if connection in lost]
        return [self._heard(connection, symbol, at_us) for symbol in named if symbol in self._lost_on]

    def traded(self, connection: str | None, symbol: str, *, first_us: int, last_us: int) -> Heard | None:
        """Trades came, which a subscription brings before its acknowledgement, or without one.

        first_us: when the first was received, or happened.
        """
        self._last_trades_us[symbol] = last_us
        self._carriers.setdefault(symbol, set()).add(connection)
        return self._heard(connection, symbol, first_us) if symbol in self._lost_on else None

    def _heard(self, connection: str | None, symbol: str, at_us: int) -> Heard:
        del self._lost_on[symbol]
        self._carriers[symbol].add(connection)
        return Heard(symbol, at_us)
