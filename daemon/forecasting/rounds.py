"""Records of one forecast round: the prepared inputs and the forecasts of one bar close. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from features.market import Instrument
from models.forecast import Forecast, Forecaster, ForecastInput

if TYPE_CHECKING:
    from models.artifacts.artifact import Manifest


class Champion(Forecaster, Protocol):
    """The network that is served."""

    manifest: Manifest

    def rejection_reason(self, given: ForecastInput) -> str | None:
        """Why the champion cannot forecast this input; None where it can."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentForecast:
    """The forecasts of one instrument at one bar close.

    issued: the forecast to publish. source: "model" or "baseline". reason: why a baseline was issued, else None.
    baselines: the baselines' forecasts, computed at every close for the scoreboard.
    window_bars_missing: bars of the window that are missing or empty.
    """

    issued: Forecast
    source: str
    reason: str | None
    baselines: tuple[Forecast, ...]
    window_bars_missing: int


@dataclass(frozen=True, slots=True, eq=False)
class RoundForecasts:
    """All forecasts of one bar close.

    unforecast: instruments whose history is too short even for a baseline, with the reason. failure: why the network
    gave no forecasts at all, None where it did or was not called. ``*_ms``: wall time in milliseconds.
    """

    close_time_us: int
    forecasts: tuple[InstrumentForecast, ...]
    unforecast: tuple[tuple[Instrument, str], ...]
    failure: str | None
    features_ms: float
    inference_ms: float

    def without(self, instruments: Collection[Instrument]) -> RoundForecasts:
        """The same round, in which ``instruments`` have no forecast."""
        kept = [each for each in self.forecasts if (each.issued.venue, each.issued.symbol) not in instruments]
        return replace(self, forecasts=tuple(kept))


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRound:
    """All inputs of one round, before the network is called.

    inputs[i] belongs to baselines[i], which is never empty and starts with HAR where HAR is available.
    champion: the network of the round, None where there is none; rejection_reasons[i]: why it cannot forecast
    inputs[i], None where it can.
    """

    close_time_us: int
    inputs: tuple[ForecastInput, ...]
    baselines: tuple[tuple[Forecast, ...], ...]
    champion: Champion | None
    rejection_reasons: tuple[str | None, ...]
    unforecast: tuple[tuple[Instrument, str], ...]
    features_ms: float

    @property
    def accepted_inputs(self) -> tuple[ForecastInput, ...]:
        """The inputs that the champion can forecast."""
        return tuple(each for each, reason in zip(self.inputs, self.rejection_reasons, strict=True) if reason is None)
