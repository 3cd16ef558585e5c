"""Issued forecasts with unscored horizons: all that scoring needs, encoded so that it survives a restart. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.forecasting.calibration import MaturedForecast
from daemon.forecasting.records import IssuedForecast, Score
from features.market import Instrument
from models.evaluation.losses import crps_from_quantiles, inside, mean_pinball
from models.forecast import Forecast


class StoredQuantiles(msgspec.Struct, frozen=True, array_like=True):
    """One forecaster's log-return quantiles (H, Q) and volatility (H,) as raw float64 bytes.

    Raw bytes take a tenth of the space of encoded floats.
    """

    role: str
    kind: str
    model_id: str
    quantiles: bytes
    volatility: bytes


class UnscoredForecast(msgspec.Struct, array_like=True):
    """An issued forecast with horizons left to score, beside its baselines.

    stored: the issued forecast first, then the same before calibration where there is one, then the baselines; ``role``
    says which is which. waiting: the horizons not yet scored. Times are in microseconds, horizons in bars.
    """

    id: str
    venue: str
    symbol: str
    interval_us: int
    close_time_us: int
    levels: tuple[float, ...]
    horizons: tuple[int, ...]
    reference_price: float
    stored: tuple[StoredQuantiles, ...]
    waiting: list[int]

    @property
    def instrument(self) -> Instrument:
        return Instrument(self.venue, self.symbol)

    @property
    def kind(self) -> str:
        return self.stored[0].kind

    def scores(self, horizon_bars: int, *, log_return: float, at_us: int) -> list[Score]:
        """The scores of every forecaster at one horizon, the issued one first."""
        return [self._score(stored, horizon_bars, log_return, at_us) for stored in self.stored]

    def matured(self, horizon_bars: int, log_return: float) -> list[MaturedForecast]:
        """The uncalibrated forecast of each kind at one horizon, from which calibration learns."""
        uncalibrated = [stored for stored in self.stored if stored.role != "issued"]
        if not any(stored.kind == self.kind for stored in uncalibrated):
            uncalibrated.append(self.stored[0])  # without a raw forecast the issued one is uncalibrated
        by_kind = {stored.kind: stored for stored in uncalibrated}
        return [
            MaturedForecast(kind, horizon_bars, self._row(stored, horizon_bars), log_return)
            for kind, stored in by_kind.items()
        ]

    def _row(self, stored: StoredQuantiles, horizon_bars: int) -> npt.NDArray[np.float64]:
        """(Q,) quantiles at one horizon."""
        rows = np.frombuffer(stored.quantiles).reshape(len(self.horizons), len(self.levels))
        return np.asarray(rows[self.horizons.index(horizon_bars)])

    def _score(self, stored: StoredQuantiles, horizon_bars: int, log_return: float, at_us: int) -> Score:
        row, levels = self.horizons.index(horizon_bars), self.levels
        quantiles = self._row(stored, horizon_bars)
        truth = np.asarray(log_return)
        median = float(quantiles[levels.index(0.5)])
        return Score(
            venue=self.venue,
            symbol=self.symbol,
            close_time_us=self.close_time_us,
            horizon_bars=horizon_bars,
            role=stored.role,
            kind=stored.kind,
            model_id=stored.model_id,
            log_return=log_return,
            median=median,
            pinball=float(mean_pinball(truth, quantiles, levels)),
            squared_error=(log_return - median) ** 2,
            inside_80=bool(inside(quantiles, levels.index(0.1), levels.index(0.9), log_return)),
            inside_95=bool(inside(quantiles, levels.index(0.025), levels.index(0.975), log_return)),
            volatility=float(np.frombuffer(stored.volatility)[row]),
            scored_at_us=at_us,
            crps=float(crps_from_quantiles(truth, quantiles, levels)),
        )


def unscored_forecast(issued: IssuedForecast, baselines: Sequence[Forecast]) -> UnscoredForecast:
    """The record of one issued forecast beside the baselines' forecasts of the same bar close.

    Raises ValueError where a baseline is of another instrument, bar close or interval, or has other horizons or levels.
    """
    forecast = issued.forecast
    raw = () if issued.raw is None else (issued.raw,)
    for other in (*raw, *baselines):
        if _target(other) != _target(forecast):
            raise ValueError(f"{other.model.kind} forecast has other targets than {issued.id}")
    return UnscoredForecast(
        id=issued.id,
        venue=forecast.venue,
        symbol=forecast.symbol,
        interval_us=forecast.interval_us,
        close_time_us=forecast.close_time_us,
        levels=forecast.levels,
        horizons=forecast.horizons,
        reference_price=issued.reference_price,
        stored=(
            _stored_quantiles(forecast, "issued"),
            *(_stored_quantiles(each, "raw") for each in raw),
            *(_stored_quantiles(baseline, "baseline") for baseline in baselines),
        ),
        waiting=list(forecast.horizons),
    )


def encode(pending: UnscoredForecast) -> bytes:
    return msgspec.msgpack.encode(pending)


def decode(record: bytes) -> UnscoredForecast:
    """Raises msgspec.DecodeError for bytes that ``encode`` did not write."""
    return msgspec.msgpack.decode(record, type=UnscoredForecast)


def _target(forecast: Forecast) -> tuple[object, ...]:
    instrument = (forecast.venue, forecast.symbol, forecast.interval_us)
    return (*instrument, forecast.close_time_us, forecast.horizons, forecast.levels)


def _stored_quantiles(forecast: Forecast, role: str) -> StoredQuantiles:
    return StoredQuantiles(
        role=role,
        kind=forecast.model.kind,
        model_id=forecast.model.id,
        quantiles=np.ascontiguousarray(forecast.quantiles, dtype=np.float64).tobytes(),
        volatility=np.ascontiguousarray(forecast.volatility, dtype=np.float64).tobytes(),
    )
