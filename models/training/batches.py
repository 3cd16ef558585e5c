"""All rows of a training run on one device, from which batches of windows are gathered by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from features.calendar import calendar_ahead
from models.networks.ensemble import Ensemble
from models.networks.network import Network, NetworkInput, NetworkOutput
from models.specification import TrainingSpec
from models.training.dataset import TrainingData

EVALUATION_BATCH = 512
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, eq=False)
class WindowTensors:
    """All rows on one regular grid, and samples that refer to its rows, on one device.

    values (G, F) scaled, mask (G,); every series is preceded by window - 1 masked rows.
    slot (N,) grid row of each sample's last bar, symbol (N,) embedding index, calendar (N, H, C) of the targets,
    returns (N, H) log returns over the scale, log_variances (N, H) logarithms of the realised variances over the
    scale's square, less their mean in training, so that the scale's own level is 0; NaN where a label is unknown.
    age_days (N,) age relative to the newest sample.
    """

    values: Tensor
    mask: Tensor
    slot: Tensor
    symbol: Tensor
    calendar: Tensor
    returns: Tensor
    log_variances: Tensor
    age_days: Tensor
    window: int

    @property
    def device(self) -> torch.device:
        return self.values.device

    def gather(self, samples: Tensor) -> NetworkInput:
        """The windows of samples (B,)."""
        back = torch.arange(1 - self.window, 1, device=self.device)
        rows = self.slot[samples].unsqueeze(1) + back  # (B, L)
        return NetworkInput(self.values[rows], self.mask[rows], self.symbol[samples], self.calendar[samples])


@dataclass(frozen=True, slots=True, eq=False)
class SplitWindows:
    """All windows, and the positions of the samples that a network is trained on and validated on.

    horizons: of the H labels of each sample, in bars.
    """

    windows: WindowTensors
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    horizons: Sequence[int]


def window_tensors(data: TrainingData, spec: TrainingSpec, *, device: torch.device) -> WindowTensors:
    """All rows and labels on the device, labels in units of each sample's scale."""
    samples = data.samples
    calendar = calendar_ahead(samples.close_time_us, horizons=spec.horizons, interval_us=spec.interval_us)
    return WindowTensors(
        values=torch.from_numpy(data.values).to(device),
        mask=torch.from_numpy(data.mask).to(device),
        slot=torch.from_numpy(samples.slot).to(device),
        symbol=torch.from_numpy(samples.series + 1).to(device),
        calendar=torch.from_numpy(calendar).to(device),
        returns=torch.from_numpy(samples.log_returns / samples.sigma).float().to(device),
        log_variances=torch.from_numpy(_log_variances(data)).float().to(device),
        age_days=torch.from_numpy((samples.close_time_us.max() - samples.close_time_us) / _DAY_US).float().to(device),
        window=spec.window,
    )


def _log_variances(data: TrainingData) -> npt.NDArray[np.float64]:
    """Log variances (N, H) less their mean in training.

    The mean is removed because a mean logarithm is below the logarithm of the mean, which the scale represents.
    """
    logs = np.log(data.samples.variances / data.samples.sigma**2)
    trained = logs[data.split.train]
    known = np.isfinite(trained)
    mean = np.where(known, trained, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)  # (H,)
    return np.asarray(logs - mean, dtype=np.float64)


@torch.inference_mode()
def predict(
    network: Network | Ensemble, windows: WindowTensors, samples: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Quantiles (N, H, Q) and log_sigma (N, H) of some samples, in units of the scale."""
    network.eval()
    parts = torch.split(torch.from_numpy(samples).to(windows.device), EVALUATION_BATCH)
    outputs: list[NetworkOutput] = [network(*windows.gather(part)) for part in parts]
    quantiles = torch.cat([output.quantiles for output in outputs]).double().cpu().numpy()
    return quantiles, torch.cat([output.log_sigma for output in outputs]).double().cpu().numpy()
