"""The training loop: windows gathered by index on the device, early stopping, one deterministic result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.attention_lstm import AttentionLSTM, AttentionLSTMConfig, NetworkOutput
from models.heads import pinball_loss, qlike_loss
from models.presets import Recipe

VOLATILITY_WEIGHT = 0.3  # of QLIKE beside the pinball loss: the range of the bars is the better teacher
_GRADIENT_NORM = 1.0
_EVALUATION_BATCH = 1024


class TrainingDiverged(Exception):
    """The loss became NaN or infinite; nothing of the run is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowTensors:
    """All rows on one regular grid and the samples that point into it, on one device.

    values (G, F) scaled, mask (G,); every series is preceded by window - 1 masked rows.
    slot (N,) grid row of each sample's last bar, symbol (N,) embedding index, returns (N, H) log returns over
    the scale, variances (N, H) realised variances over the scale's square; NaN where a label is unknown.
    """

    values: Tensor
    mask: Tensor
    slot: Tensor
    symbol: Tensor
    returns: Tensor
    variances: Tensor
    window: int

    def gather(self, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """samples (B,) to values (B, L, F), mask (B, L), symbol (B,)."""
        back = torch.arange(1 - self.window, 1, device=self.slot.device)
        rows = self.slot[samples].unsqueeze(1) + back  # (B, L)
        return self.values[rows], self.mask[rows], self.symbol[samples]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """``ratio`` of the planned steps that are done; the losses are those of the last finished pass."""

    epoch: int
    epochs: int
    ratio: float
    train_loss: float | None
    validation_loss: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The network with the weights of its best epoch."""

    network: AttentionLSTM
    best_epoch: int
    epochs_run: int
    validation_loss: float
    stopped: str  # "epochs", "patience" or "time"


class Fitting:
    """One run over one set of windows. ``stop`` is asked between steps whether the time is up."""

    def __init__(
        self,
        windows: WindowTensors,
        *,
        train: npt.NDArray[np.int64],
        validation: npt.NDArray[np.int64],
        config: AttentionLSTMConfig,
        recipe: Recipe,
        epochs: int,
        seed: int,
        start_quantiles: npt.NDArray[np.float64],
    ) -> None:
        device = windows.values.device
        self.windows = windows
        self.train = torch.from_numpy(train)
        self.validation = torch.from_numpy(validation).to(device)
        self.recipe = recipe
        self.epochs = epochs
        self.levels = torch.tensor(config.levels, device=device)
        self._order = torch.Generator().manual_seed(seed)
        self._seed = seed
        self._steps_an_epoch = math.ceil(len(train) / recipe.stride / recipe.batch_size)
        with _seeded(seed):
            self.network = AttentionLSTM(config)
        self.network.quantiles.start_at(start_quantiles)
        self.network.to(device)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )

    def run(self, *, on_report: Callable[[EpochReport], None], stop: Callable[[], bool]) -> Fitted:
        """Trains until the epochs, the patience or the time is over. Raises TrainingDiverged."""
        with _seeded(self._seed):
            return self._run(on_report, stop)

    def _run(self, on_report: Callable[[EpochReport], None], stop: Callable[[], bool]) -> Fitted:
        best_loss, best_epoch = self.evaluate(), 0
        best = _copy(self.network)
        reason, epoch = "epochs", 0
        for epoch in range(1, self.epochs + 1):
            train_loss, finished = self._epoch(epoch, best_loss, on_report, stop)
            loss = self.evaluate()
            on_report(EpochReport(epoch, self.epochs, epoch / self.epochs, train_loss, loss))
            if loss < best_loss:
                best_loss, best_epoch, best = loss, epoch, _copy(self.network)
            if not finished:
                reason = "time"
                break
            if epoch - best_epoch >= self.recipe.patience:
                reason = "patience"
                break
        self.network.load_state_dict(best)
        return Fitted(self.network.eval(), best_epoch, epoch, best_loss, reason)

    def _epoch(
        self, epoch: int, validation_loss: float, on_report: Callable[[EpochReport], None], stop: Callable[[], bool]
    ) -> tuple[float, bool]:
        """The mean training loss, and whether the epoch was finished."""
        total, finished = 0.0, True
        self.network.train()
        batches = self._batches(epoch)
        for done, batch in enumerate(batches, start=1):
            steps = (epoch - 1) * self._steps_an_epoch + done
            total += self._step(batch, steps)
            mean = total / done
            on_report(EpochReport(epoch, self.epochs, self._ratio(steps), mean, validation_loss))
            if stop():
                finished = False
                break
        return mean, finished

    def _batches(self, epoch: int) -> tuple[Tensor, ...]:
        share = self.train[epoch % self.recipe.stride :: self.recipe.stride]
        shuffled = share[torch.randperm(len(share), generator=self._order)]
        return torch.split(shuffled.to(self.windows.slot.device), self.recipe.batch_size)

    def _step(self, batch: Tensor, steps: int) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * self._annealing(steps)
        loss = self._loss(self.network(*self.windows.gather(batch)), batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_NORM)
        self._optimiser.step()
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDiverged(f"the loss became {value} at step {steps}")
        return value

    def _annealing(self, steps: int) -> float:
        warm_up = min(1.0, steps / self._steps_an_epoch)
        return warm_up * (0.55 + 0.45 * math.cos(math.pi * self._ratio(steps)))

    def _ratio(self, steps: int) -> float:
        return min(1.0, steps / (self._steps_an_epoch * self.epochs))

    def _loss(self, output: NetworkOutput, samples: Tensor) -> Tensor:
        quantiles = pinball_loss(self.windows.returns[samples], output.quantiles, self.levels)
        volatility = qlike_loss(self.windows.variances[samples], output.log_sigma)
        return quantiles + VOLATILITY_WEIGHT * volatility

    @torch.inference_mode()
    def evaluate(self) -> float:
        """The validation loss, in evaluation mode."""
        self.network.eval()
        parts = torch.split(self.validation, _EVALUATION_BATCH)
        total = sum(self._loss(self.network(*self.windows.gather(part)), part).item() * len(part) for part in parts)
        loss = total / len(self.validation)
        if not math.isfinite(loss):
            raise TrainingDiverged(f"the validation loss became {loss}")
        return loss


@torch.inference_mode()
def predict(
    network: AttentionLSTM, windows: WindowTensors, samples: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Quantiles (N, H, Q) and log_sigma (N, H) of some samples, in units of the scale."""
    network.eval()
    parts = torch.split(torch.from_numpy(samples).to(windows.slot.device), _EVALUATION_BATCH)
    outputs = [network(*windows.gather(part)) for part in parts]
    quantiles = torch.cat([output.quantiles for output in outputs]).double().cpu().numpy()
    return quantiles, torch.cat([output.log_sigma for output in outputs]).double().cpu().numpy()


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's global generators seeded inside, restored after: initial weights and dropout draw from them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
