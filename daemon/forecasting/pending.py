"""Issued forecasts with unscored horizons: all that scoring needs, encoded so that it survives a restart. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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

    def quantiles_at(self, horizon_bars: int) -> npt.NDArray[np.float64]:
        """(S, Q) quantiles of the S stored forecasters at one horizon."""
        row = self.horizons.index(horizon_bars)
        levels = len(self.levels)
        size, offset = levels * 8, row * levels * 8  # float64
        rows = b"".join(stored.quantiles[offset : offset + size] for stored in self.stored)
        return np.frombuffer(rows).reshape(len(self.stored), levels)


class DueForecast(NamedTuple):
    """One horizon of an issued forecast whose truth, a log return, is known."""

    forecast: UnscoredForecast
    horizon_bars: int
    log_return: float

    def matured(self) -> list[MaturedForecast]:
        """The uncalibrated forecast of each kind, from which calibration learns."""
        forecast = self.forecast
        issued, *others = zip(forecast.stored, forecast.quantiles_at(self.horizon_bars), strict=True)
        if not any(stored.kind == forecast.kind for stored, _ in others):
            others.append(issued)  # without a raw forecast the issued one is uncalibrated
        by_kind = {stored.kind: row for stored, row in others}
        return [MaturedForecast(kind, self.horizon_bars, row, self.log_return) for kind, row in by_kind.items()]


def score_due(due: Sequence[DueForecast], *, at_us: int) -> list[list[Score]]:
    """The scores of every forecaster of each, the issued one first; all must have the same levels.

    They are computed together: NumPy calls on one row each would take most of the time of a bar close.
    """
    if not due:
        return []
    levels = due[0].forecast.levels
    quantiles = np.concatenate([each.forecast.quantiles_at(each.horizon_bars) for each in due])  # (N, Q)
    truth = np.repeat([each.log_return for each in due], [len(each.forecast.stored) for each in due])  # (N,)
    columns = zip(
        quantiles[:, levels.index(0.5)].tolist(),
        mean_pinball(truth, quantiles, levels).tolist(),
        inside(quantiles, levels.index(0.1), levels.index(0.9), truth).tolist(),
        inside(quantiles, levels.index(0.025), levels.index(0.975), truth).tolist(),
        crps_from_quantiles(truth, quantiles, levels).tolist(),
        strict=True,
    )
    return [_scores(each, at_us, columns) for each in due]


def _scores(due: DueForecast, at_us: int, columns: Iterator[tuple[float, float, bool, bool, float]]) -> list[Score]:
    """One score for each stored forecast; takes as many rows of ``columns``."""
    forecast, row = due.forecast, due.forecast.horizons.index(due.horizon_bars)
    return [
        Score(
            venue=forecast.venue,
            symbol=forecast.symbol,
            close_time_us=forecast.close_time_us,
            horizon_bars=due.horizon_bars,
            role=stored.role,
            kind=stored.kind,
            model_id=stored.model_id,
            log_return=due.log_return,
            median=median,
            pinball=pinball,
            squared_error=(due.log_return - median) ** 2,
            inside_80=inside_80,
            inside_95=inside_95,
            volatility=float(np.frombuffer(stored.volatility)[row]),
            scored_at_us=at_us,
            crps=crps,
        )
        for stored, (median, pinball, inside_80, inside_95, crps) in zip(forecast.stored, columns, strict=False)
    ]


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
