"""Evidence that the daemon forecasts: which bar closes were forecast, stored and confirmed by the broker. No I/O."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from features.market import Instrument

_OPEN_CLOSES = 256  # an instrument's closes without a confirmation; more add no evidence


class ForecastStep(StrEnum):
    """The steps of a closed bar's forecast, in their order."""

    FORECAST = "made"
    STORED = "stored"
    CONFIRMED = "confirmed by the broker"


class _Close:
    __slots__ = ("close_us", "closed_s", "done")

    def __init__(self, close_us: int, closed_s: float) -> None:
        self.close_us = close_us
        self.closed_s = closed_s
        self.done: set[ForecastStep] = set()

    @property
    def missing(self) -> ForecastStep | None:
        return next((step for step in ForecastStep if step not in self.done), None)


class Confirmations:
    """The steps of each instrument's last closes. Closes are market times in microseconds, ``_s`` wall times."""

    def __init__(self) -> None:
        self._open: dict[Instrument, deque[_Close]] = {}
        self._complete_us: dict[Instrument, int] = {}

    def closed(self, instrument: Instrument, close_us: int, now_s: float) -> None:
        """A bar closed, and its forecast is due."""
        waiting = self._open.setdefault(instrument, deque())
        known_us = max(self._complete_us.get(instrument, 0), waiting[-1].close_us if waiting else 0)
        if close_us <= known_us:
            return
        if len(waiting) == _OPEN_CLOSES:
            waiting.pop()  # the oldest says since when, the newest what is due
        waiting.append(_Close(close_us, now_s))

    def done(self, instrument: Instrument, close_us: int, step: ForecastStep) -> None:
        """A step of the forecast of ``close_us`` succeeded; closes before one that is complete are no longer due."""
        waiting = self._open.get(instrument, deque())
        for close in waiting:
            if close.close_us == close_us:
                close.done.add(step)
        complete_us = max((close.close_us for close in waiting if close.missing is None), default=0)
        if complete_us:
            self._complete_us[instrument] = max(complete_us, self._complete_us.get(instrument, 0))
            while waiting and waiting[0].close_us <= complete_us:
                waiting.popleft()

    def forget(self, instrument: Instrument) -> None:
        """The instrument's closes are due no longer: no forecast can come."""
        self._open.pop(instrument, None)
        self._complete_us.pop(instrument, None)

    @property
    def any_complete(self) -> bool:
        """Whether at least one instrument's forecast was confirmed."""
        return bool(self._complete_us)

    def is_complete(self, instrument: Instrument) -> bool:
        """Whether at least one forecast of the instrument was confirmed."""
        return instrument in self._complete_us

    def overdue(self, now_s: float, allowed_s: float) -> dict[Instrument, str]:
        """The instruments with a close that is older than ``allowed_s``, each with the step that is missing."""
        late: dict[Instrument, str] = {}
        for instrument, waiting in self._open.items():
            if waiting and now_s - waiting[0].closed_s >= allowed_s:
                late[instrument] = f"the forecast of the last close is not {waiting[0].missing}"
        return late
