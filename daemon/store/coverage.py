"""Keeps stored sequence states true after trades were lost, so that no restart takes an incomplete bar for complete.

No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from daemon.pipeline.sequence import SequenceState
from features.market import Instrument, Trade, interval_start

TradeBatch = tuple[Instrument, Sequence[Trade], SequenceState]


class TradeCoverage:
    """Which trades were not stored, and what may be stored after them.

    A state says that every trade up to it is stored. After a loss nothing of the instrument is stored until the next
    bar opens: a restart before then continues from the state before the loss and fetches the trades since from the
    venue. From the next bar on, states cover that bar and the later ones only.
    """

    def __init__(self, interval_us: int) -> None:
        self._interval_us = interval_us
        self._complete_from_us: dict[Instrument, int] = {}

    def lost(self, batches: Sequence[TradeBatch]) -> None:
        """These trades and states were not stored."""
        for instrument, trades, state in batches:
            newest_us = max([state.last_time_us, *(trade.time_us for trade in trades)])
            next_open_us = interval_start(newest_us, self._interval_us) + self._interval_us
            self._complete_from_us[instrument] = max(next_open_us, self._complete_from_us.get(instrument, 0))

    def storable(self, batches: Sequence[TradeBatch]) -> list[TradeBatch]:
        """What of ``batches`` may be stored, with states that cover no lost trade."""
        if not self._complete_from_us:
            return list(batches)
        return [kept for batch in batches if (kept := self._storable(batch)) is not None]

    def _storable(self, batch: TradeBatch) -> TradeBatch | None:
        instrument, trades, state = batch
        from_us = self._complete_from_us.get(instrument, 0)
        if state.covered_from_us >= from_us:
            return batch
        if state.last_time_us < from_us:
            return None
        covered = msgspec.structs.replace(
            state,
            covered_from_us=from_us,
            missing=tuple(each for each in state.missing if each.before_us >= from_us),
        )
        return instrument, [trade for trade in trades if trade.time_us >= from_us], covered
