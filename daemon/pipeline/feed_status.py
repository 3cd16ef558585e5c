"""Feed status (warming up, live, stale, halted) and gap notifications of one instrument. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from daemon.pipeline.events import Event, FeedSilent, GapOpened, GapRepaired, SymbolState, SymbolStateChanged
from daemon.pipeline.sequence import Interruption, MissingIds
from features.market import Instrument

NOT_ASKED = "waiting for the first trades"


class FeedStatus:
    """Appends status and gap events to ``events``, the pipeline's list.

    last_trade_at_us: returns the event time of the instrument's newest trade.
    starting: the trades around a start are still being fetched; what is missing meanwhile is no gap to announce.
    """

    def __init__(
        self, instrument: Instrument, *, last_trade_at_us: Callable[[], int | None], events: list[Event]
    ) -> None:
        self.state = SymbolState.WARMING_UP
        self.reason = NOT_ASKED
        self.starting = False
        self._instrument = instrument
        self._last_trade_at_us = last_trade_at_us
        self._events = events
        self._gap_announced = False
        self._fetched = 0

    @property
    def steady(self) -> bool:
        """Whether the instrument is live, past its start, and without an announced gap."""
        return self.state is SymbolState.LIVE and not self.starting and not self._gap_announced

    def set_state(self, state: SymbolState, now_us: int, reason: str) -> None:
        """Announces the state if it or its reason differs from the current one."""
        if state is self.state and reason == self.reason:
            return
        self.state, self.reason = state, reason
        self._events.append(SymbolStateChanged(self._instrument, state, now_us, self._last_trade_at_us(), reason))

    def gap_opened(self, missing: MissingIds | Interruption, now_us: int) -> None:
        """Announces a gap, except during a start."""
        if not self.starting:
            self._gap_announced = True
            self._events.append(GapOpened(self._instrument, missing, now_us))

    def trades_fetched(self, trades: int) -> None:
        """Counts missing trades that were fetched, for the next ``GapRepaired``."""
        self._fetched += trades

    def gap_abandoned(self) -> None:
        """The missing trades cannot be fetched: the gap will not be announced as repaired."""
        self._gap_announced = False

    def gap_closed(self, now_us: int) -> None:
        """Nothing is missing any more: announces that where a gap was announced."""
        if self._gap_announced:
            self._events.append(GapRepaired(self._instrument, self._fetched, now_us))
        self._gap_announced, self._fetched = False, 0
        if self.state is SymbolState.LIVE:
            self.starting = False

    def mark_stream_silent(self, undelivered: int, now_us: int) -> None:
        """REST returned ``undelivered`` trades that the stream should have delivered: the instrument is stale."""
        self.set_state(SymbolState.STALE, now_us, f"{undelivered} trades did not come by the stream")
        self._events.append(FeedSilent(self._instrument, undelivered))
