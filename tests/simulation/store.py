"""The simulated store: what was committed survives a kill, and a power cut may take back the last transactions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from daemon.pipeline.sequence import SequenceState, newest_time_us
from daemon.store.future import Discarded
from features.market import Bar, Instrument, Trade


class SimulatedStore:
    """The part of the ledger that a restart reads, in memory.

    While it stalls, transactions wait in their order; a kill loses those that wait.
    """

    def __init__(self) -> None:
        self._stalled = False
        self._waiting: list[Callable[[], None]] = []
        self._trades: dict[Instrument, list[Trade]] = {}
        self._states: dict[Instrument, SequenceState] = {}
        self._bars: dict[Instrument, dict[int, Bar]] = {}
        self._undo: list[Callable[[], None]] = []

    def stall(self) -> None:
        """Nothing is committed until ``go_on``."""
        self._stalled = True

    def go_on(self) -> None:
        """Commits what waits."""
        self._stalled = False
        for commit in self._waiting:
            commit()
        self._waiting.clear()

    def lose_waiting(self) -> None:
        """The process died: what was not committed is lost."""
        self._waiting.clear()
        self._stalled = False

    def save_trades(self, instrument: Instrument, trades: Sequence[Trade], state: SequenceState) -> None:
        """One transaction: trades with the state that covers them."""
        self._do(lambda: self._save_trades(instrument, trades, state))

    def save_bar(self, bar: Bar) -> None:
        """One transaction: a bar, or a revision in the place of an earlier one."""
        self._do(lambda: self._save_bar(bar))

    def _do(self, commit: Callable[[], None]) -> None:
        if self._stalled:
            self._waiting.append(commit)
        else:
            commit()

    def _save_trades(self, instrument: Instrument, trades: Sequence[Trade], state: SequenceState) -> None:
        kept = self._trades.setdefault(instrument, [])
        before, count = self._states.get(instrument), len(kept)
        kept.extend(trades)
        self._states[instrument] = state

        def undo() -> None:
            del kept[count:]
            if before is None:
                del self._states[instrument]
            else:
                self._states[instrument] = before

        self._commit(undo)

    def _save_bar(self, bar: Bar) -> None:
        bars = self._bars.setdefault(bar.instrument, {})
        before = bars.get(bar.open_time_us)
        bars[bar.open_time_us] = bar

        def undo() -> None:
            if before is None:
                del bars[bar.open_time_us]
            else:
                bars[bar.open_time_us] = before

        self._commit(undo)

    def cut_power(self, rng: random.Random) -> None:
        """Takes back the last transactions, newest first, as many as chance has it."""
        for _ in range(rng.randrange(len(self._undo) + 1)):
            self._undo.pop()()

    def forget_before(self, time_us: int) -> None:
        """What a day's pruning does: trades and bars from before ``time_us`` go, and with them the undo records."""
        self._undo.clear()
        for trades in self._trades.values():
            trades[:] = [trade for trade in trades if trade.time_us >= time_us]
        for bars in self._bars.values():
            for open_us in [each for each in bars if each < time_us]:
                del bars[open_us]

    def discard_future(self, now_us: int, *, trades_until_us: int) -> Discarded:
        """As the ledger does; these transactions are not taken back."""
        bars = 0
        for kept in self._bars.values():
            for open_us in [each for each, bar in kept.items() if bar.close_time_us > now_us]:
                del kept[open_us]
                bars += 1
        ahead = [each for each, state in self._states.items() if newest_time_us(state) > trades_until_us]
        for instrument in ahead:
            del self._states[instrument]
            del self._trades[instrument]
        if bars or ahead:
            self._undo.clear()
        return Discarded(bars=bars, sequences=len(ahead))

    # ---------------------------------------------------------------- as the ledger is read by a restart

    def last_bar(self, instrument: Instrument, interval_us: int) -> Bar | None:  # one interval here
        bars = self._bars.get(instrument)
        return bars[max(bars)] if bars else None

    def bars(self, instrument: Instrument, interval_us: int, start_us: int, end_us: int) -> list[Bar]:
        bars = self._bars.get(instrument, {})
        return [bars[open_us] for open_us in sorted(bars) if start_us <= open_us < end_us]

    def sequence_state(self, instrument: Instrument) -> SequenceState | None:
        return self._states.get(instrument)

    def open_trades(self, instrument: Instrument, from_time_us: int) -> list[Trade]:
        return [trade for trade in self._trades.get(instrument, []) if trade.time_us >= from_time_us]

    def _commit(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)
        del self._undo[:-8]
