"""The simulated exchange's view of its market: past trades, sent trades, and the time on its clock."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.simulator.candles import CandleMaker
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.tape import Tape, TapeTrade


class Market:
    """The market as dialects read it.

    skew_us: how far the exchange's clock is ahead of the machine's; all times of the exchange follow it.
    server_time_offset_us: how wrong the time is that REST reports; trades and candles have right times.
    silenced: symbols whose trades the websocket withholds. delisted: symbols that the venue does not have any more.
    unlisted: symbols that are traded and missing from the symbol list. sent: id of the last trade played, by symbol.
    begin_us: exchange time from which trades are played; older ones are history.
    """

    def __init__(self, tape: Tape, clock: Clock) -> None:
        self.tape = tape
        self.candles = CandleMaker(tape)
        self.skew_us = 0
        self.server_time_offset_us = 0
        self.silenced: set[str] = set()
        self.delisted: set[str] = set()
        self.unlisted: set[str] = set()
        self.sent: dict[str, int] = {}
        self.begin_us = tape.timeline.start_us
        self._clock = clock
        self._happened_us = 0

    def now_us(self) -> int:
        """The time on the exchange's clock."""
        return self._clock.market_us() + self.skew_us

    def server_time_us(self) -> int:
        """The time that REST reports as the present."""
        return self.now_us() + self.server_time_offset_us

    def happened_us(self) -> int:
        """The time up to which trades exist; setting the clock back removes none of them."""
        self._happened_us = max(self._happened_us, self.now_us())
        return self._happened_us

    @property
    def speed(self) -> float:
        return self._clock.speed

    @property
    def symbols(self) -> tuple[str, ...]:
        """In Binance's spelling, e.g. ``BTCUSDT``."""
        return self.tape.data.symbols

    @property
    def listed(self) -> tuple[str, ...]:
        """The symbols in the venue's symbol list."""
        return tuple(symbol for symbol in self.symbols if symbol not in self.delisted | self.unlisted)

    def __contains__(self, symbol: object) -> bool:
        """Whether the symbol is simulated and not delisted."""
        return symbol in self.tape.data.series and symbol not in self.delisted

    def series(self, symbol: str) -> RecordedSeries:
        return self.tape.data.series[symbol]

    def last_sent(self, symbol: str, limit: int) -> list[TapeTrade]:
        """The newest trades that were sent or precede the first played one, oldest first; none of a silenced symbol."""
        if symbol in self.silenced | self.delisted:
            return []
        if symbol in self.sent:
            found = self.tape.downwards(symbol, self.happened_us(), below_id=self.sent[symbol] + 1)
        else:
            found = self.tape.downwards(symbol, self.begin_us - 1)
        return [trade for _, trade in zip(range(limit), found, strict=False)][::-1]
