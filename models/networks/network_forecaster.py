"""Forecaster that serves a network from its artifact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from features.calendar import CALENDAR, calendar_ahead
from features.catalogue import schema_hash
from features.earlier_schemas import accepted_hashes
from features.scaling import RobustScaler
from models.artifacts.artifact import Artifact, ArtifactDamaged, ArtifactMismatch, Manifest, read_artifact
from models.baselines import Har
from models.devices import choose_device
from models.distribution import probability_above_zero
from models.forecast import Forecast, ForecastInput, ModelInfo, WindowReading
from models.networks.builder import build_network, config_from_json
from models.networks.ensemble import Ensemble
from models.networks.network import UNKNOWN_SYMBOL, Network, NetworkOutput
from models.training.dataset import least_known_bars

FloatArray = npt.NDArray[np.float64]
_PARITY = 1e-3  # in units of the scale; devices and thread counts differ by 1e-5


class _Outputs(NamedTuple):
    """Outputs of a network for B windows, in units of the scale; ``importance`` is None if it selects no features."""

    quantiles: FloatArray  # (B, H, Q)
    log_sigma: FloatArray  # (B, H)
    attention: FloatArray  # (B, L)
    importance: FloatArray | None  # (B, F)

    def each(self) -> Iterator[_Outputs]:
        """The outputs of each window, without the first axis."""
        quantiles, log_sigma, attention, importance = self
        for row in range(len(quantiles)):
            chosen = None if importance is None else importance[row]
            yield _Outputs(quantiles[row], log_sigma[row], attention[row], chosen)


class NetworkForecaster:
    """One network on one device: all inputs of a bar in one forward pass.

    A symbol that the network was not trained on maps to its unknown symbol. The output of the network is in units of
    the standard deviation that the artifact's HAR predicts from the recent bars.
    """

    def __init__(self, manifest: Manifest, network: Network | Ensemble, scaler: RobustScaler, har: Har) -> None:
        self.manifest = manifest
        self.info = ModelInfo(id=manifest.id, kind=manifest.kind, trained_until_us=manifest.trained_until_us)
        self._network = network
        self._device = next(network.parameters()).device
        self._scaler = scaler
        self._har = har
        self._symbols = {name: index for index, name in enumerate(manifest.symbols, start=UNKNOWN_SYMBOL + 1)}

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu") -> NetworkForecaster:
        """Loads the artifact at ``path``. Raises ArtifactDamaged or ArtifactMismatch if it must not be served."""
        artifact = read_artifact(path)
        _check_features(artifact.manifest, path)
        network = _build(artifact, path).to(choose_device(device))
        _check_golden(network, artifact, path)
        try:
            scaler, har = RobustScaler.from_json(json.dumps(artifact.scaler)), Har.from_json(artifact.har)
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactDamaged(f"the scaler or HAR of {path} cannot be read: {error}") from error
        return cls(artifact.manifest, network, scaler, har)

    def rejection_reason(self, given: ForecastInput) -> str | None:
        """Why this input cannot be forecast; None if it can."""
        window = given.window
        if window is None:
            return "there is no window of features yet"
        if given.interval_us != self.manifest.interval_us:
            return f"the bars last {given.interval_us} us, the model needs {self.manifest.interval_us} us"
        if window.feature_names != self.manifest.feature_names or len(window.mask) != self.manifest.window:
            return "the window does not hold the features or the length that the model was trained on"
        if not window.mask[-1]:
            return "the newest bar lacks a feature"
        if window.mask.sum() < least_known_bars(self.manifest.window):
            return f"only {int(window.mask.sum())} of {self.manifest.window} bars have all features"
        try:
            self._har.sigma_now((given.venue, given.symbol), given.recent)
        except ValueError as error:
            return str(error)
        return None

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[Forecast]:
        """Raises ValueError if any input must be rejected, or the output of the network is not finite."""
        for given in inputs:
            if (reason := self.rejection_reason(given)) is not None:
                raise ValueError(f"{given.venue}:{given.symbol} cannot be forecast: {reason}")
        if not inputs:
            return []
        outputs = self._run_network(inputs)
        return [self._forecast(given, output) for given, output in zip(inputs, outputs.each(), strict=True)]

    def _run_network(self, inputs: Sequence[ForecastInput]) -> _Outputs:
        windows = [given.window for given in inputs if given.window is not None]
        values = np.stack([self._scaler.transform(window.values, window.mask) for window in windows])  # (B, L, F)
        mask = np.stack([window.mask for window in windows])  # (B, L)
        symbol = np.array([self._symbols.get(f"{given.venue}:{given.symbol}", UNKNOWN_SYMBOL) for given in inputs])
        closes = np.array([given.close_time_us for given in inputs], dtype=np.int64)
        calendar = calendar_ahead(closes, horizons=self.manifest.horizons, interval_us=self.manifest.interval_us)
        return _run(self._network, self._device, *map(torch.from_numpy, (values, mask, symbol, calendar)))

    def _forecast(self, given: ForecastInput, output: _Outputs) -> Forecast:
        sigma = self._har.sigma_now((given.venue, given.symbol), given.recent)  # (H,)
        scaled = sigma[:, None] * output.quantiles
        window = given.window
        assert window is not None  # an input without one is rejected
        return Forecast(
            venue=given.venue,
            symbol=given.symbol,
            close_time_us=given.close_time_us,
            interval_us=given.interval_us,
            horizons=self.manifest.horizons,
            levels=self.manifest.levels,
            quantiles=scaled,
            volatility=sigma * np.exp(output.log_sigma),
            prob_up=probability_above_zero(scaled, self.manifest.levels),
            attention=output.attention,
            model=self.info,
            reading=WindowReading(window.mask.copy(), window.feature_names, output.importance),
        )


def use_one_thread() -> None:
    """Limits torch to one CPU thread: beside a busy process, two threads can wait for each other for seconds."""
    torch.set_num_threads(1)


def _run(network: Network | Ensemble, device: torch.device, *given: torch.Tensor) -> _Outputs:
    with torch.inference_mode():
        output: NetworkOutput = network(*(tensor.to(device) for tensor in given), with_attention=True)
    assert output.attention is not None  # requested above
    return _Outputs(
        quantiles=_array(output.quantiles),
        log_sigma=_array(output.log_sigma),
        attention=_array(output.attention),
        importance=None if output.importance is None else _array(output.importance),
    )


def _array(output: torch.Tensor) -> FloatArray:
    return output.double().cpu().numpy()


def _check_features(manifest: Manifest, path: Path) -> None:
    try:
        accepted = accepted_hashes(manifest.feature_names, manifest.symbols)
    except ValueError as error:
        raise ArtifactMismatch(f"{path} was trained on features that this program lacks: {error}") from error
    if manifest.schema_hash not in accepted:
        computed = schema_hash(manifest.feature_names, manifest.symbols)
        raise ArtifactMismatch(
            f"{path} was trained on features of schema {manifest.schema_hash[:12]}, this program has {computed[:12]}"
        )


def _build(artifact: Artifact, path: Path) -> Network | Ensemble:
    try:
        network = build_network(config_from_json(artifact.manifest.kind, artifact.manifest.network))
        network.load_state_dict({name: torch.from_numpy(value) for name, value in artifact.weights.items()})
    except KeyError as error:
        raise ArtifactMismatch(f"{path} is of kind {artifact.manifest.kind!r}, which this program lacks") from error
    except (TypeError, RuntimeError) as error:
        raise ArtifactMismatch(f"the weights of {path} do not fit the network of this program: {error}") from error
    return network.eval()


def _check_golden(network: Network | Ensemble, artifact: Artifact, path: Path) -> None:
    golden, horizons = artifact.golden, len(artifact.manifest.horizons)
    # Older artifacts have no calendar, and their networks do not read it.
    calendar = golden.get("calendar", np.zeros((len(golden["values"]), horizons, len(CALENDAR)), dtype=np.float32))
    given = [torch.from_numpy(each) for each in (golden["values"], golden["mask"], golden["symbol"], calendar)]
    outputs = _run(network, next(network.parameters()).device, *given)
    error = max(np.abs(getattr(outputs, name) - golden[name]).max() for name in ("quantiles", "log_sigma"))
    if not error <= _PARITY:  # this form fails for NaN too
        raise ArtifactMismatch(f"{path} reproduces the saved outputs for its golden windows only to {error:.2g}")
