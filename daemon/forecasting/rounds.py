"""What one bar close leads to: the inputs that are prepared, the answers, and who gave them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from features.market import Instrument
from models.forecast import Forecast, Forecaster, ForecastInput

if TYPE_CHECKING:
    from models.artifacts.artifact import Manifest


class Champion(Forecaster, Protocol):
    """A network that is served."""

    manifest: Manifest

    def rejection_reason(self, given: ForecastInput) -> str | None:
        """Why this input cannot be forecast; None where it can."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentForecast:
    """What one instrument is told at one bar close.

    issued: the forecast to publish. source: "model" or "baseline"; ``reason`` says why it is a baseline's.
    baselines: the baselines' forecasts, computed at every close whoever is issued, for the scoreboard.
    window_bars_missing: bars of the window that are missing or empty.
    """

    issued: Forecast
    source: str
    reason: str | None
    baselines: tuple[Forecast, ...]
    window_bars_missing: int


@dataclass(frozen=True, slots=True, eq=False)
class RoundForecasts:
    """All forecasts of one bar close. ``unforecast`` names instruments with too little history even for a baseline.

    failure: why the network gave no answer at all, None where it did or was not asked.
    """

    close_time_us: int
    forecasts: tuple[InstrumentForecast, ...]
    unforecast: tuple[tuple[Instrument, str], ...]
    failure: str | None
    features_ms: float
    inference_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRound:
    """All that is known before the network speaks.

    inputs[i] belongs to baselines[i], which is never empty and has HAR first where HAR can speak.
    champion: the network to ask, fixed for the round, None where there is none; refusals[i]: why it cannot be
    asked about inputs[i].
    """

    close_time_us: int
    inputs: tuple[ForecastInput, ...]
    baselines: tuple[tuple[Forecast, ...], ...]
    champion: Champion | None
    refusals: tuple[str | None, ...]
    unforecast: tuple[tuple[Instrument, str], ...]
    features_ms: float

    @property
    def askable(self) -> tuple[ForecastInput, ...]:
        """The inputs that the champion can be asked about."""
        return tuple(given for given, refusal in zip(self.inputs, self.refusals, strict=True) if refusal is None)
