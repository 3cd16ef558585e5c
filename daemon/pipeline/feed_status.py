"""What subscribers are told of an instrument between bars: its state, and gaps as they open and close. No I/O."""

from __future__ import annotations

from collections.abc import Callable

from daemon.pipeline.events import Event, FeedSilent, GapOpened, GapRepaired, SymbolState, SymbolStateChanged
from daemon.pipeline.sequence import Interruption, MissingIds
from features.market import Instrument


class FeedStatus:
    """``events`` is the pipeline's list; ``last_trade_at_us`` says when the instrument last traded.

    starting: a start is being caught up with, and what is missing meanwhile is no news.
    """

    def __init__(
        self, instrument: Instrument, *, last_trade_at_us: Callable[[], int | None], events: list[Event]
    ) -> None:
        self.state = SymbolState.WARMING_UP
        self.reason = "waiting for the first trades"
        self.starting = False
        self._instrument = instrument
        self._last_trade_at_us = last_trade_at_us
        self._events = events
        self._gap_announced = False
        self._fetched = 0

    @property
    def steady(self) -> bool:
        """Whether trades come in, and nothing that is missing has been told of or is still caught up with."""
        return self.state is SymbolState.LIVE and not self.starting and not self._gap_announced

    def set_state(self, state: SymbolState, now_us: int, reason: str) -> None:
        """Announces the state if it, or its reason, is another than before."""
        if state is self.state and reason == self.reason:
            return
        self.state, self.reason = state, reason
        self._events.append(SymbolStateChanged(self._instrument, state, now_us, self._last_trade_at_us(), reason))

    def gap_opened(self, lost: MissingIds | Interruption, now_us: int) -> None:
        if not self.starting:
            self._gap_announced = True
            self._events.append(GapOpened(self._instrument, lost, now_us))

    def trades_fetched(self, trades: int) -> None:
        """So many missing trades were fetched."""
        self._fetched += trades

    def gap_abandoned(self) -> None:
        """What is missing cannot be had: it will never be told as repaired."""
        self._gap_announced = False

    def gap_closed(self, now_us: int) -> None:
        """Nothing is missing any more."""
        if self._gap_announced:
            self._events.append(GapRepaired(self._instrument, self._fetched, now_us))
        self._gap_announced, self._fetched = False, 0
        if self.state is SymbolState.LIVE:
            self.starting = False

    def mark_stream_silent(self, trades: int, now_us: int) -> None:
        """The venue has ``trades`` that the stream did not bring and should have."""
        self.set_state(SymbolState.STALE, now_us, f"{trades} trades did not come by the stream")
        self._events.append(FeedSilent(self._instrument, trades))
