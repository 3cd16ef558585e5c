"""Turns the bars of one close into forecasts: owns the feature buffer, the baselines and the champion.

Synchronous and without threads, so that replay and backtest use it directly; ``inference.py`` runs the same steps in
the daemon and sets a deadline on the one that can fail or hang: the network.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from daemon.forecasting.rounds import Champion, InstrumentForecast, PreparedRound, RoundForecasts
from features.buffer import FeatureBuffer
from features.market import Bar, Instrument
from features.windows import Window
from models.baselines import RANDOM_WALK_RETURNS, Ewma, Har, RandomWalk
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import regular_histories
from models.specification import BASELINE_KINDS, NETWORK_KINDS

if TYPE_CHECKING:
    from models.artifacts.artifact import Manifest

NO_MODEL = "no model is trained yet"


class ForecastEngine:
    """Forecasts of a fixed set of instruments. Only ``predict`` may run at the same time as other methods."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        *,
        interval_us: int,
        kind: str,
        horizons: Sequence[int],
        levels: Sequence[float],
        window: int = 48,
        monotonic_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        if kind not in (*NETWORK_KINDS, *BASELINE_KINDS):
            raise ValueError(f"kind was {kind!r}; there are {', '.join((*NETWORK_KINDS, *BASELINE_KINDS))}")
        self.instruments = tuple(instruments)
        self.interval_us = interval_us
        self.kind = kind
        self.horizons = tuple(horizons)
        self.levels = tuple(levels)
        self.window = window
        self._monotonic_s = monotonic_s
        self._buffer = FeatureBuffer(
            self.instruments, interval_us=interval_us, window=window, with_features=kind in NETWORK_KINDS
        )
        self._random_walk = RandomWalk(self.horizons, self.levels)
        self._har: Har | None = None
        self._ewma: Ewma | None = None
        self._champion: Champion | None = None

    @property
    def model(self) -> ModelInfo | None:
        """The model whose forecasts have the source "model"; None while only baselines are available."""
        if self.kind in NETWORK_KINDS:
            return self._champion.info if self._champion else None
        if self.kind == "har":
            return self._har.info if self._har else None
        if self.kind == "ewma":
            return self._ewma.info if self._ewma else None
        return self._random_walk.info

    def load_history(self, bars: pl.DataFrame) -> None:
        """Fills the buffer from a frame of bars (``features.frames.BARS_SCHEMA``) and fits HAR on all of it.

        EWMA is fitted too where it is the configured kind. With too short a history the random walk replaces both until
        the next call.
        """
        self._buffer.load(bars)
        self._har, self._ewma = self._fit_baselines(bars)

    def load_champion(self, path: Path, *, device: str = "cpu") -> Champion:
        """Loads a network's artifact without serving it; see ``serve``. Raises ArtifactError or ValueError.

        Imports torch, which no other method does, and limits it to one CPU thread. May run beside every other method:
        it changes nothing of the engine.
        """
        # A spinning idle OpenMP worker occupies a core; torch reads the variable when it is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from models.networks.network_forecaster import NetworkForecaster, use_one_thread  # noqa: PLC0415  # no network, no torch

        use_one_thread()

        champion = NetworkForecaster.load(path, device=device)
        self._check_fits(champion.manifest)
        return champion

    def serve(self, champion: Champion | None) -> None:
        """Sets the champion of the following rounds; None for none."""
        self._champion = champion

    def close_bars(self, close_time_us: int, bars: Sequence[Bar]) -> RoundForecasts:
        """The forecasts for the bars of one close, without a deadline."""
        prepared = self.prepare(close_time_us, bars)
        started_s = self._monotonic_s()
        try:
            answers = self.predict(prepared)
        except Exception as error:  # noqa: BLE001  # baselines replace a network that raises anything
            return self.finish(prepared, failure=describe_error(error), inference_ms=self._elapsed_ms(started_s))
        return self.finish(prepared, answers, inference_ms=self._elapsed_ms(started_s))

    def revise(self, *bars: Bar) -> None:
        """Puts later revisions of bars into the buffer; forecasts already made are not changed."""
        self._buffer.revise(*bars)

    def prepare(self, close_time_us: int, bars: Sequence[Bar]) -> PreparedRound:
        """Appends the bars, computes features and baselines' forecasts. Raises ValueError for bars that do not fit."""
        started_s = self._monotonic_s()
        self._buffer.append(bars)
        inputs, baselines, unforecast = [], [], []
        given = [self._forecast_input(bar.instrument, close_time_us) for bar in bars]
        for bar, forecast_input, (forecasts, reason) in zip(bars, given, self._baseline_forecasts(given), strict=True):
            if forecasts:
                inputs.append(forecast_input)
                baselines.append(forecasts)
            else:
                unforecast.append((bar.instrument, reason))
        return PreparedRound(
            close_time_us=close_time_us,
            inputs=tuple(inputs),
            baselines=tuple(baselines),
            champion=self._champion,
            rejection_reasons=tuple(
                self._champion.rejection_reason(each) if self._champion else NO_MODEL for each in inputs
            ),
            unforecast=tuple(unforecast),
            features_ms=self._elapsed_ms(started_s),
        )

    def predict(self, prepared: PreparedRound) -> list[Forecast]:
        """The champion's forecasts of ``prepared.accepted_inputs`` in one forward pass; uses no state of the engine."""
        if prepared.champion is None or not prepared.accepted_inputs:
            return []
        return prepared.champion.forecast(prepared.accepted_inputs)

    def finish(
        self,
        prepared: PreparedRound,
        answers: Sequence[Forecast] = (),
        *,
        failure: str | None = None,
        inference_ms: float,
    ) -> RoundForecasts:
        """The round as issued: the champion's ``answers``, and a baseline wherever there is none."""
        remaining = iter(answers)
        forecasts = []
        rounds = zip(prepared.inputs, prepared.baselines, prepared.rejection_reasons, strict=True)
        for forecast_input, baselines, rejection in rounds:
            reason = rejection if rejection is not None else failure
            answer = next(remaining) if reason is None else None
            forecasts.append(self._issue(forecast_input, baselines, answer, reason))
        return RoundForecasts(
            close_time_us=prepared.close_time_us,
            forecasts=tuple(forecasts),
            unforecast=prepared.unforecast,
            failure=failure,
            features_ms=prepared.features_ms,
            inference_ms=inference_ms,
        )

    def _issue(
        self,
        forecast_input: ForecastInput,
        baselines: tuple[Forecast, ...],
        answer: Forecast | None,
        reason: str | None,
    ) -> InstrumentForecast:
        issued = answer or self._preferred_baseline(baselines)
        is_model = issued.model.kind == self.kind
        return InstrumentForecast(
            issued=issued,
            source="model" if is_model else "baseline",
            reason=None if is_model else (reason if self.kind in NETWORK_KINDS else f"{self.kind} lacks history"),
            baselines=baselines,
            window_bars_missing=self._missing_bars(forecast_input),
        )

    def _preferred_baseline(self, baselines: tuple[Forecast, ...]) -> Forecast:
        """The baseline that is configured as the model, else the best available one."""
        for forecast in baselines:
            if forecast.model.kind == self.kind:
                return forecast
        return baselines[0]

    def _missing_bars(self, forecast_input: ForecastInput) -> int:
        closes = forecast_input.recent.log_close[-self.window :]
        return self.window - int(np.isfinite(closes).sum())

    def _forecast_input(self, instrument: Instrument, close_time_us: int) -> ForecastInput:
        return ForecastInput(
            venue=instrument.venue,
            symbol=instrument.symbol,
            close_time_us=close_time_us,
            interval_us=self.interval_us,
            window=self._window(instrument, close_time_us),
            # One more bar than returns.
            recent=self._buffer.recent(instrument, close_time_us, RANDOM_WALK_RETURNS + 1),
        )

    def _window(self, instrument: Instrument, close_time_us: int) -> Window | None:
        if self._champion is None:
            return None
        try:
            return self._buffer.window(instrument, close_time_us, self._champion.manifest.feature_names)
        except ValueError:
            return None  # fewer rows than a window: the champion rejects the input with a reason

    def _baseline_forecasts(self, inputs: Sequence[ForecastInput]) -> list[tuple[tuple[Forecast, ...], str]]:
        """The available baselines' forecasts of each input, best first, and why the last unavailable one failed."""
        available = [each for each in (self._har, self._ewma, self._random_walk) if each is not None]
        by_baseline = [each.forecast_each(inputs) for each in available]
        found = []
        for outcomes in zip(*by_baseline, strict=True):
            forecasts = tuple(each for each in outcomes if not isinstance(each, str))
            reasons = [each for each in outcomes if isinstance(each, str)]
            found.append((forecasts, reasons[-1] if reasons else ""))
        return found

    def _fit_baselines(self, bars: pl.DataFrame) -> tuple[Har | None, Ewma | None]:
        histories = regular_histories(bars, interval_us=self.interval_us)
        try:
            har = Har.fit_histories(histories, horizons=self.horizons, levels=self.levels)
            if self.kind != "ewma":
                return har, None
            return har, Ewma.fit_histories(histories, horizons=self.horizons, levels=self.levels)
        except ValueError:
            return None, None  # too little history, see ``load_history``

    def _check_fits(self, manifest: Manifest) -> None:
        """Raises ValueError where the artifact was trained for another configuration than the engine's."""
        configured = (self.kind, self.interval_us, self.horizons, self.levels, self.window)
        trained = (manifest.kind, manifest.interval_us, manifest.horizons, manifest.levels, manifest.window)
        names = ("kind", "interval_us", "horizons", "levels", "window")
        differing = [
            f"{name} {actual} (configured {expected})"
            for name, actual, expected in zip(names, trained, configured, strict=True)
            if actual != expected
        ]
        if differing:
            raise ValueError(f"{manifest.id} was trained for {', '.join(differing)}")

    def _elapsed_ms(self, started_s: float) -> float:
        return (self._monotonic_s() - started_s) * 1000.0


def describe_error(error: BaseException) -> str:
    """An error's class and message."""
    return f"{type(error).__name__}: {error}"
