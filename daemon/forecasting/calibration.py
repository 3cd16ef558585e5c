"""Online conformal calibration of each forecaster kind and instrument, learned from matured forecasts.

A state belongs to an instrument and a kind of forecaster. A retrained model of the same kind continues with it: widths
are relative to the model's own intervals, so the model inherits the errors of its predecessor, and within weeks its own
errors outweigh them. Baselines learn too, although the scoreboard scores them uncalibrated: a baseline that replaces
the network is calibrated at once. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from daemon.forecasting.records import CalibrationState
from features.market import Instrument
from models.conformal import OnlineCalibration
from models.forecast import Forecast

FloatArray = npt.NDArray[np.float64]


class MaturedForecast(NamedTuple):
    """One uncalibrated forecast of one horizon beside its truth. quantiles: (Q,); both they and ``log_return`` are log
    returns."""

    kind: str
    horizon_bars: int
    quantiles: FloatArray
    log_return: float


class Calibration:
    """All calibration states of one daemon, created on first use. No I/O."""

    def __init__(self, *, interval_us: int, horizons: Sequence[int], levels: Sequence[float]) -> None:
        """Raises ValueError for levels without a median."""
        self._interval_us = interval_us
        self._horizons = tuple(horizons)
        self._levels = tuple(levels)
        self._states: dict[tuple[Instrument, str], OnlineCalibration] = {}
        self._changed: set[tuple[Instrument, str]] = set()
        self._new()

    def calibrated(self, raw: Forecast) -> Forecast:
        """The calibrated forecast to publish. Raises ValueError for other horizons or levels than configured."""
        state = self._states.get((Instrument(raw.venue, raw.symbol), raw.model.kind))
        return raw if state is None else state.calibrated_forecast(raw)

    def learn(self, instrument: Instrument, matured: Iterable[MaturedForecast]) -> None:
        """Updates the states with the forecasts that matured at one bar's close: at most one per kind and horizon.

        Horizons that are no longer configured are ignored.
        """
        quantiles: dict[str, FloatArray] = {}
        truths: dict[str, FloatArray] = {}
        for each in matured:
            if each.horizon_bars not in self._horizons:
                continue
            row = self._horizons.index(each.horizon_bars)
            if each.kind not in quantiles:
                quantiles[each.kind] = np.full((len(self._horizons), len(self._levels)), np.nan)
                truths[each.kind] = np.full(len(self._horizons), np.nan)
            quantiles[each.kind][row], truths[each.kind][row] = each.quantiles, each.log_return
        for kind, forecasts in quantiles.items():
            key = (instrument, kind)
            if key not in self._states:
                self._states[key] = self._new()
            self._states[key].learn(forecasts, truths[kind])
            self._changed.add(key)

    def widths(self, instrument: Instrument, kind: str, horizon_bars: int) -> dict[float, float]:
        """The factor by which each central interval is widened now, by its coverage; 1 each before any truth."""
        state = self._states.get((instrument, kind))
        return (self._new() if state is None else state).widths(horizon_bars)

    def take_changes(self) -> tuple[CalibrationState, ...]:
        """The states that truths changed since the last call, to be stored together with the scores."""
        changed, self._changed = self._changed, set()
        return tuple(
            CalibrationState(
                venue=instrument.venue,
                symbol=instrument.symbol,
                interval_us=self._interval_us,
                kind=kind,
                state=msgspec.json.encode(self._states[instrument, kind].to_json()).decode(),
            )
            for instrument, kind in sorted(changed)
        )

    def load(self, states: Iterable[CalibrationState]) -> None:
        """Restores stored states; states of another bar interval are ignored.

        Raises msgspec.DecodeError, KeyError or ValueError for a state that no calibration wrote.
        """
        for each in states:
            if each.interval_us == self._interval_us:
                self._states[Instrument(each.venue, each.symbol), each.kind] = OnlineCalibration.from_json(
                    msgspec.json.decode(each.state), horizons=self._horizons, levels=self._levels
                )

    def _new(self) -> OnlineCalibration:
        return OnlineCalibration(horizons=self._horizons, levels=self._levels)
