"""Groups closed bars into rounds of forecasts, and decides when each round goes out. No I/O.

A round goes out when every live instrument has closed its bar. One that is late is waited for briefly and then has a
later round of the same close; one that is stale, halted, without a start or behind by more than that bar is not waited
for. So the fault of one instrument or venue delays the forecasts of the others by little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

from daemon.pipeline.events import BarClosed, RoundClosed, SymbolState
from daemon.pipeline.instrument import InstrumentPipeline
from features.cross_section import choose_leaders
from features.market import Bar, Instrument

_COMING = frozenset({SymbolState.LIVE, SymbolState.WARMING_UP})


class RoundCollector:
    """Rounds come in the order of their close, later ones of the same close after earlier ones.

    wait_for_leaders: whether features read the leader of their venue (BTC). The venue's bars then wait for the
    leader's as long as that may wait for its proof, because without it the model cannot forecast them.
    """

    def __init__(self, instruments: Mapping[Instrument, InstrumentPipeline], *, wait_for_leaders: bool) -> None:
        self._instruments = instruments
        leaders = choose_leaders(instruments) if wait_for_leaders else {}
        self._leaders = {venue: Instrument(venue, symbol) for venue, symbol in leaders.items()}
        self._closes: dict[int, _Close] = {}
        self._newest_round_us = 0
        self._next_due_us = inf

    def bar_closed(self, event: BarClosed) -> None:
        """Adds a closed bar to the next round of its close."""
        bar = event.bar
        close = self._closes.get(bar.close_time_us)
        if close is None:
            close = self._closes[bar.close_time_us] = self._opened(bar, bar.close_time_us + event.wait_us)
        close.bars[bar.instrument] = bar

    def is_due(self, now_us: int) -> bool:
        """Whether a wait is over, so that ``take`` returns a round that it held back."""
        return now_us >= self._next_due_us

    def take(self, now_us: int) -> Iterator[RoundClosed]:
        """The rounds that go out now, oldest close first. A later close waits for an earlier one."""
        self._next_due_us = inf
        for close_us in sorted(self._closes):
            close = self._closes[close_us]
            if ready := self._ready(close, now_us):
                self._newest_round_us = max(self._newest_round_us, close_us)
                yield RoundClosed(close_us, tuple(close.bars.pop(each) for each in ready))
            if close.bars:
                self._next_due_us = close.due_us if now_us < close.due_us else close.leader_due_us
                return
            del self._closes[close_us]

    def _opened(self, bar: Bar, closed_at_us: int) -> _Close:
        timeouts, close_us = self._instruments[bar.instrument].timeouts, bar.close_time_us
        wait_us = min(timeouts.round_wait_us, timeouts.proof_wait_us)
        due_us = max(close_us + min(timeouts.grace_us + wait_us, timeouts.proof_wait_us), closed_at_us + wait_us // 2)
        return _Close(
            close_us,
            due_us=due_us,
            leader_due_us=max(due_us, close_us + timeouts.proof_wait_us + wait_us // 2),
            missing={each for each, state in self._instruments.items() if state.warm},
        )

    def _ready(self, close: _Close, now_us: int) -> list[Instrument]:
        """The instruments whose bars wait no longer."""
        close.missing = {each for each in close.missing if self._instruments[each].next_close_us <= close.close_us}
        if now_us < close.due_us and any(self._is_coming(each, close.close_us) for each in close.missing):
            return []
        if now_us >= close.leader_due_us:
            return list(close.bars)
        return [each for each in close.bars if not self._waits_for_leader(each, close)]

    def _is_coming(self, instrument: Instrument, close_us: int) -> bool:
        """Whether the instrument's bar is expected within moments.

        After the first round of the close that holds for halted and stale instruments too: those that REST proves one
        after the other share a round, because each round computes the features of all instruments.
        """
        each = self._instruments[instrument]
        return each.next_close_us == close_us and (each.state in _COMING or close_us <= self._newest_round_us)

    def _waits_for_leader(self, instrument: Instrument, close: _Close) -> bool:
        leader = self._leaders.get(instrument.venue)
        if leader is None or leader not in close.missing:
            return False
        each = self._instruments[leader]
        return each.next_close_us == close.close_us and each.state in _COMING


class _Close:
    """The bars of one close that no round has taken yet. ``missing``: instruments that may still close theirs."""

    def __init__(self, close_us: int, *, due_us: int, leader_due_us: int, missing: set[Instrument]) -> None:
        self.close_us = close_us
        self.due_us = due_us
        self.leader_due_us = leader_due_us
        self.missing = missing
        self.bars: dict[Instrument, Bar] = {}
