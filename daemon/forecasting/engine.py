"""Bars in, forecasts out: the feature buffer, the baselines, and the champion that is served.

Synchronous and without threads, so that replay and backtest run it as it is; ``inference.py`` runs the same
steps in the daemon, with a deadline on the one that can fail or hang: the network.
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
from features.windows import LookaheadError, Window
from models.baselines import RANDOM_WALK_RETURNS, Ewma, Har, RandomWalk
from models.forecast import Forecast, ForecastInput, ModelInfo
from models.history import regular_histories
from models.specification import BASELINE_KINDS, NETWORK_KINDS

if TYPE_CHECKING:
    from models.artifacts.artifact import Manifest

NO_MODEL = "no model is trained yet"


class ForecastEngine:
    """Forecasts of a fixed set of instruments. Its methods must not run at the same time, but for ``predict``."""

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
        self._buffer = FeatureBuffer(self.instruments, interval_us=interval_us, window=window)
        self._random_walk = RandomWalk(self.horizons, self.levels)
        self._har: Har | None = None
        self._ewma: Ewma | None = None
        self._champion: Champion | None = None

    @property
    def model(self) -> ModelInfo | None:
        """Who makes the forecasts whose source is "model"; None while only baselines can speak."""
        if self.kind in NETWORK_KINDS:
            return self._champion.info if self._champion else None
        if self.kind == "har":
            return self._har.info if self._har else None
        if self.kind == "ewma":
            return self._ewma.info if self._ewma else None
        return self._random_walk.info

    def load_history(self, bars: pl.DataFrame) -> None:
        """Fills the buffer from a frame of bars (``features.frames.BARS_SCHEMA``) and fits HAR on all of it.

        EWMA is fitted too where that is the kind. Where the history is too short for them the random walk stands in
        until the next call.
        """
        self._buffer.load(bars)
        self._har, self._ewma = self._fit_baselines(bars)

    def load_champion(self, path: Path, *, device: str = "cpu") -> Champion:
        """Loads a network's artifact without serving it; see ``serve``. Raises ArtifactError or ValueError.

        Imports torch, which nothing else here does, and holds it to one thread on the CPU. To be called by the
        thread that will call ``predict``.
        """
        # An idle OpenMP worker that spins takes the core of whoever else runs here; read when torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from models.networks.network_forecaster import NetworkForecaster, use_one_thread  # noqa: PLC0415  # no network, no torch

        use_one_thread()

        champion = NetworkForecaster.load(path, device=device)
        self._check_fits(champion.manifest)
        return champion

    def serve(self, champion: Champion | None) -> None:
        """The network to ask from the next round on; None for none."""
        self._champion = champion

    def close_bars(self, close_time_us: int, bars: Sequence[Bar]) -> RoundForecasts:
        """Takes the bars of one close and answers at once, without a deadline."""
        prepared = self.prepare(close_time_us, bars)
        started_s = self._monotonic_s()
        try:
            answers = self.predict(prepared)
        except Exception as error:  # noqa: BLE001  # whatever a network raises, the round is answered and the reason told
            return self.finish(prepared, failure=describe(error), inference_ms=self._since_ms(started_s))
        return self.finish(prepared, answers, inference_ms=self._since_ms(started_s))

    def revise(self, bar: Bar) -> None:
        """Puts a later revision of a bar into the buffer; forecasts already made are not changed."""
        self._buffer.revise(bar)

    def prepare(self, close_time_us: int, bars: Sequence[Bar]) -> PreparedRound:
        """Appends the bars, computes features, asks the baselines. Raises ValueError for bars that do not fit."""
        started_s = self._monotonic_s()
        self._buffer.append(bars)
        inputs, baselines, unforecast = [], [], []
        for bar in bars:
            given = self._input(bar.instrument, close_time_us)
            spoken, silence = self._ask_baselines(given)
            if spoken:
                inputs.append(given)
                baselines.append(spoken)
            else:
                unforecast.append((bar.instrument, silence))
        return PreparedRound(
            close_time_us=close_time_us,
            inputs=tuple(inputs),
            baselines=tuple(baselines),
            champion=self._champion,
            refusals=tuple(self._champion.rejection_reason(given) if self._champion else NO_MODEL for given in inputs),
            unforecast=tuple(unforecast),
            features_ms=self._since_ms(started_s),
        )

    def predict(self, prepared: PreparedRound) -> list[Forecast]:
        """The champion's forecasts of ``prepared.askable``, one forward pass; touches nothing else of the engine."""
        if prepared.champion is None or not prepared.askable:
            return []
        return prepared.champion.forecast(prepared.askable)

    def finish(
        self,
        prepared: PreparedRound,
        answers: Sequence[Forecast] = (),
        *,
        failure: str | None = None,
        inference_ms: float,
    ) -> RoundForecasts:
        """The round as it is issued: the champion's ``answers``, and a baseline wherever there is none."""
        spoken = iter(answers)
        forecasts = []
        for given, baselines, refusal in zip(prepared.inputs, prepared.baselines, prepared.refusals, strict=True):
            reason = refusal if refusal is not None else failure
            forecasts.append(self._issue(given, baselines, next(spoken) if reason is None else None, reason))
        return RoundForecasts(
            close_time_us=prepared.close_time_us,
            forecasts=tuple(forecasts),
            unforecast=prepared.unforecast,
            failure=failure,
            features_ms=prepared.features_ms,
            inference_ms=inference_ms,
        )

    def _issue(
        self, given: ForecastInput, baselines: tuple[Forecast, ...], answer: Forecast | None, reason: str | None
    ) -> InstrumentForecast:
        issued = answer or self._configured(baselines)
        is_model = issued.model.kind == self.kind
        return InstrumentForecast(
            issued=issued,
            source="model" if is_model else "baseline",
            reason=None if is_model else (reason if self.kind in NETWORK_KINDS else f"{self.kind} lacks history"),
            baselines=baselines,
            window_bars_missing=self._missing(given),
        )

    def _configured(self, baselines: tuple[Forecast, ...]) -> Forecast:
        """The baseline that is configured as the model where there is one, else the best that could speak."""
        for forecast in baselines:
            if forecast.model.kind == self.kind:
                return forecast
        return baselines[0]

    def _missing(self, given: ForecastInput) -> int:
        closes = given.recent.log_close[-self.window :]
        return self.window - int(np.isfinite(closes).sum())

    def _input(self, instrument: Instrument, close_time_us: int) -> ForecastInput:
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
        except LookaheadError:
            raise
        except ValueError:
            return None  # fewer rows than a window: the champion refuses the input and says so

    def _ask_baselines(self, given: ForecastInput) -> tuple[tuple[Forecast, ...], str]:
        """What the baselines that can speak say, the best first, and why the last of them could not."""
        spoken, silence = [], ""
        for baseline in (self._har, self._ewma, self._random_walk):
            if baseline is None:
                continue
            try:
                spoken += baseline.forecast([given])
            except ValueError as error:
                silence = str(error)
        return tuple(spoken), silence

    def _fit_baselines(self, bars: pl.DataFrame) -> tuple[Har | None, Ewma | None]:
        histories = regular_histories(bars, interval_us=self.interval_us)
        try:
            har = Har.fit_histories(histories, horizons=self.horizons, levels=self.levels)
            if self.kind != "ewma":
                return har, None
            return har, Ewma.fit_histories(histories, horizons=self.horizons, levels=self.levels)
        except ValueError:
            return None, None  # too little history; ``load_history`` says so to its readers

    def _check_fits(self, manifest: Manifest) -> None:
        """Raises ValueError where the artifact was trained for another configuration than the engine's."""
        wanted = (self.kind, self.interval_us, self.horizons, self.levels, self.window)
        got = (manifest.kind, manifest.interval_us, manifest.horizons, manifest.levels, manifest.window)
        names = ("kind", "interval_us", "horizons", "levels", "window")
        differing = [
            f"{name} {has} (configured {want})"
            for name, has, want in zip(names, got, wanted, strict=True)
            if has != want
        ]
        if differing:
            raise ValueError(f"{manifest.id} was trained for {', '.join(differing)}")

    def _since_ms(self, started_s: float) -> float:
        return (self._monotonic_s() - started_s) * 1000.0


def describe(error: BaseException) -> str:
    """An error's kind and message on one line."""
    return f"{type(error).__name__}: {error}"
