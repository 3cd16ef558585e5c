"""Faults between player and sockets: trades dropped, duplicated, delayed or reordered."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable

from daemon.simulator.player import Due

Send = Callable[[list[Due]], None]


class StreamFaults:
    """Passes trades on to ``send`` with the injected faults; ``silenced`` is the market's set of withheld symbols."""

    def __init__(self, send: Send, silenced: set[str], rng: random.Random) -> None:
        self._send = send
        self._silenced = silenced
        self._rng = rng
        self._dropped: Counter[str] = Counter()
        self._duplicated: Counter[str] = Counter()
        self._delayed: Counter[str] = Counter()
        self._delayed_for_s: dict[str, float] = {}
        self._reordered: Counter[str] = Counter()
        self._reordering: defaultdict[str, list[Due]] = defaultdict(list)
        self._gathered: list[Due] | None = None
        self._timers: set[asyncio.TimerHandle] = set()

    def drop(self, symbol: str, count: int) -> None:
        self._dropped[symbol] += count

    def duplicate(self, symbol: str, count: int) -> None:
        self._duplicated[symbol] += count

    def reorder(self, symbol: str, count: int, for_s: float) -> None:
        """Holds the next ``count`` trades, at most for ``for_s``, and sends them in another order."""
        self._reordered[symbol] += count
        self._later(for_s, lambda: self._end_reordering(symbol))

    def delay(self, symbol: str, count: int, for_s: float) -> None:
        """Delays each of the next ``count`` trades by ``for_s``, while later ones overtake them."""
        self._delayed[symbol] += count
        self._delayed_for_s[symbol] = for_s

    def batch(self, for_s: float) -> None:
        """Collects all trades for ``for_s`` and sends them at once, in order."""
        if self._gathered is None:
            self._gathered = []
            self._later(for_s, self._release)

    def stop(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def passing(self, trades: list[Due]) -> None:
        """Passes due trades on, in the order of their times."""
        if self._busy():
            trades = [passed for due in trades for passed in self._with_faults(due)]
        if self._gathered is not None:
            self._gathered += trades
        elif trades:
            self._send(trades)

    def _busy(self) -> bool:
        return bool(self._silenced or self._dropped or self._duplicated or self._delayed or self._reordered)

    def _with_faults(self, due: Due) -> list[Due]:
        """The trades that replace one trade."""
        symbol = due[0]
        if symbol in self._silenced or _take(self._dropped, symbol):
            return []
        if _take(self._delayed, symbol):
            self._later(self._delayed_for_s[symbol], lambda: self._send([due]))
            return []
        copies = [due, due] if _take(self._duplicated, symbol) else [due]
        if not _take(self._reordered, symbol):
            return copies
        self._reordering[symbol] += copies
        return [] if symbol in self._reordered else self._shuffled(symbol)

    def _shuffled(self, symbol: str) -> list[Due]:
        mixed = self._reordering.pop(symbol, [])
        in_order = list(mixed)
        while len(set(in_order)) > 1 and mixed == in_order:
            self._rng.shuffle(mixed)
        return mixed

    def _end_reordering(self, symbol: str) -> None:
        self._reordered.pop(symbol, None)
        if mixed := self._shuffled(symbol):
            self._send(mixed)

    def _release(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered:
            self._send(gathered)

    def _later(self, after_s: float, act: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(after_s, fire)
        self._timers.add(timer)


def _take(counter: Counter[str], symbol: str) -> bool:
    """Takes one from the count of a symbol; whether there was one."""
    if symbol not in counter:
        return False
    counter[symbol] -= 1
    if counter[symbol] <= 0:
        del counter[symbol]
    return True
