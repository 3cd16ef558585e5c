"""Puts models into service: the champion at start, a finished artifact, a refitted baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from daemon.errors import ForecastdError
from daemon.forecasting.inference import Inference
from daemon.publishing import event_payloads, payloads
from daemon.runtime.forecast_rounds import ForecastRounds
from daemon.runtime.history_loader import HistoryLoader
from daemon.runtime.reporting import Reporting
from features.market import Instrument
from models.artifacts.artifact import ArtifactError
from models.artifacts.registry import Registry
from models.forecast import ModelInfo
from models.specification import NETWORK_KINDS

log = structlog.get_logger(__name__)

# torch reports a model that it cannot put on the device as RuntimeError; a manifest may have values of any type.
_UNUSABLE = (ArtifactError, ForecastdError, ValueError, RuntimeError, TypeError, LookupError, AttributeError, OSError)


class RunResult(NamedTuple):
    """``result`` is promoted, rejected, failed or cancelled; ``model_id`` is None where there is no model."""

    result: str
    reason: str
    model_id: str | None


class ModelPromoter:
    """Verifies models by loading them, swaps them in between two rounds and announces them."""

    def __init__(
        self,
        registry: Registry,
        *,
        instruments: Sequence[Instrument],
        rounds: ForecastRounds,
        inference: Inference,
        history: HistoryLoader,
        reporting: Reporting,
    ) -> None:
        self.registry = registry
        self._instruments = instruments
        self._rounds = rounds
        self._inference = inference
        self._history = history
        self._messages, self._metrics, self._health, self._clock = reporting
        self.loaded_at_us: int | None = None

    async def start(self, kind: str) -> bool:
        """Loads the champion before the first round; False where a new model must be trained.

        A champion that cannot be loaded is a fault: a baseline forecasts in its place.
        """
        if kind not in NETWORK_KINDS:
            if (model := self._inference.model) is not None:
                self.announce(model, scores={})
            return True
        try:
            artifact = self.registry.champion()
            if artifact is None:
                return False
            info = await self._inference.load_champion(artifact)
        except _UNUSABLE as error:
            log.error("champion_refused", reason=str(error), cure="a baseline serves while a new one is trained")  # noqa: TRY400
            self._health.fault("champion", str(error))
            return False
        self.announce(info, scores={})
        return True

    async def promote(self, artifact: Path, *, scores: Mapping[str, Any]) -> RunResult:
        """Loads the artifact beside the rounds and serves it from the next on; one that does not load is rejected."""
        try:
            info = await self._inference.load_champion(artifact)
        except _UNUSABLE as error:
            self._messages.event(
                event_payloads.model_rejected(
                    at_us=self._clock.market_us(), candidate=artifact.name, reasons=[str(error)]
                )
            )
            return RunResult("rejected", str(error), artifact.name)
        previous = self.champion_name()
        self.registry.promote(artifact)
        self.registry.prune()
        self._health.clear_fault("champion")
        self.announce(info, scores=scores)
        reason = "the artifact passed hash, schema, NaN and parity checks"
        self._messages.event(
            event_payloads.model_promoted(at_us=self._clock.market_us(), info=info, previous_id=previous, reason=reason)
        )
        return RunResult("promoted", reason, info.id)

    async def refit(self) -> ModelInfo | None:
        """Loads the whole history into the buffer and fits the baselines again, between two rounds."""

        async def load() -> ModelInfo | None:
            end_us = self._rounds.forecast_until_us or self._clock.market_us()
            await self._inference.load_history(await self._history.recent_frame(self._instruments, end_us))
            return self._inference.model

        return await self._rounds.between_bars(load)

    def announce(self, info: ModelInfo, *, scores: Mapping[str, Any]) -> None:
        """Publishes the model in service, retained, and shows it in the metrics."""
        now_us = self.loaded_at_us = self._clock.market_us()
        self._metrics.model_loaded(info, at_us=now_us)
        self._messages.model(info, payloads.model(info, promoted_at_us=now_us, scores=scores))

    def champion_name(self) -> str | None:
        """The id of the current champion; None where there is none or its folder is gone."""
        try:
            champion = self.registry.champion()
        except ArtifactError:
            return None
        return champion.name if champion else None
