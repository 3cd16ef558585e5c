"""A forecast that waits for its truth: everything needed to score it, in bytes that survive a restart."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.forecasting.calibration import MaturedForecast
from daemon.forecasting.records import IssuedForecast, Score
from features.market import Instrument
from models.evaluation.losses import crps_from_quantiles
from models.evaluation.skill import inside, pinball_loss
from models.forecast import Forecast


class StoredQuantiles(msgspec.Struct, frozen=True, array_like=True):
    """What one forecaster said; the arrays are raw float64, (H, Q) and (H,): a tenth of the room that floats take."""

    role: str
    kind: str
    model_id: str
    quantiles: bytes
    volatility: bytes


class Pending(msgspec.Struct, array_like=True):
    """An issued forecast (``made[0]``), the same before calibration, and its baselines, told apart by their role.

    ``waiting`` are the horizons not yet scored.
    """

    id: str
    venue: str
    symbol: str
    interval_us: int
    close_time_us: int
    levels: tuple[float, ...]
    horizons: tuple[int, ...]
    reference_price: float
    made: tuple[StoredQuantiles, ...]
    waiting: list[int]

    @property
    def instrument(self) -> Instrument:
        return Instrument(self.venue, self.symbol)

    @property
    def kind(self) -> str:
        return self.made[0].kind

    def scores(self, horizon_bars: int, *, log_return: float, at_us: int) -> list[Score]:
        """The scores of every forecaster at one horizon, the issued one first."""
        return [self._score(made, horizon_bars, log_return, at_us) for made in self.made]

    def met(self, horizon_bars: int, log_return: float) -> list[MaturedForecast]:
        """What calibration learns from: each kind once, as its forecaster gave it."""
        given = [made for made in self.made if made.role != "issued"]
        if not any(made.kind == self.kind for made in given):
            given.append(self.made[0])  # issued as it was given
        by_kind = {made.kind: made for made in given}
        return [
            MaturedForecast(kind, horizon_bars, self._row(made, horizon_bars), log_return)
            for kind, made in by_kind.items()
        ]

    def _row(self, made: StoredQuantiles, horizon_bars: int) -> npt.NDArray[np.float64]:
        """(Q,) quantiles at one horizon."""
        rows = np.frombuffer(made.quantiles).reshape(len(self.horizons), len(self.levels))
        return np.asarray(rows[self.horizons.index(horizon_bars)])

    def _score(self, made: StoredQuantiles, horizon_bars: int, log_return: float, at_us: int) -> Score:
        row, levels = self.horizons.index(horizon_bars), self.levels
        quantiles = self._row(made, horizon_bars)
        median = float(quantiles[levels.index(0.5)])
        return Score(
            venue=self.venue,
            symbol=self.symbol,
            close_time_us=self.close_time_us,
            horizon_bars=horizon_bars,
            role=made.role,
            kind=made.kind,
            model_id=made.model_id,
            log_return=log_return,
            median=median,
            pinball=float(pinball_loss(quantiles, np.asarray(levels), log_return)),
            squared_error=(log_return - median) ** 2,
            inside_80=bool(inside(quantiles, levels.index(0.1), levels.index(0.9), log_return)),
            inside_95=bool(inside(quantiles, levels.index(0.025), levels.index(0.975), log_return)),
            volatility=float(np.frombuffer(made.volatility)[row]),
            scored_at_us=at_us,
            crps=float(crps_from_quantiles(np.asarray(log_return), quantiles, levels)),
        )


def remember(issued: IssuedForecast, baselines: Sequence[Forecast]) -> Pending:
    """The record of one issued forecast beside the baselines of the same moment.

    Raises ValueError where a baseline is of another instrument, moment or interval, or has other horizons or levels.
    """
    forecast = issued.forecast
    raw = () if issued.raw is None else (issued.raw,)
    for other in (*raw, *baselines):
        if _target(other) != _target(forecast):
            raise ValueError(f"{other.model.kind} forecast has other targets than {issued.id}")
    return Pending(
        id=issued.id,
        venue=forecast.venue,
        symbol=forecast.symbol,
        interval_us=forecast.interval_us,
        close_time_us=forecast.close_time_us,
        levels=forecast.levels,
        horizons=forecast.horizons,
        reference_price=issued.reference_price,
        made=(
            _made(forecast, "issued"),
            *(_made(each, "raw") for each in raw),
            *(_made(baseline, "baseline") for baseline in baselines),
        ),
        waiting=list(forecast.horizons),
    )


def encode(pending: Pending) -> bytes:
    return msgspec.msgpack.encode(pending)


def decode(record: bytes) -> Pending:
    """Raises msgspec.DecodeError for bytes that ``encode`` did not write."""
    return msgspec.msgpack.decode(record, type=Pending)


def _target(forecast: Forecast) -> tuple[object, ...]:
    instrument = (forecast.venue, forecast.symbol, forecast.interval_us)
    return (*instrument, forecast.close_time_us, forecast.horizons, forecast.levels)


def _made(forecast: Forecast, role: str) -> StoredQuantiles:
    return StoredQuantiles(
        role=role,
        kind=forecast.model.kind,
        model_id=forecast.model.id,
        quantiles=np.ascontiguousarray(forecast.quantiles, dtype=np.float64).tobytes(),
        volatility=np.ascontiguousarray(forecast.volatility, dtype=np.float64).tobytes(),
    )
