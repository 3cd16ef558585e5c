"""Training loop of one network: deterministic, resumable, with early stopping on averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.networks.builder import build_member
from models.networks.ensemble import Ensemble
from models.networks.heads import log_variance_loss, pinball_loss
from models.networks.network import Network, NetworkConfig, NetworkOutput
from models.presets import Recipe
from models.training.averaging import WeightAverage
from models.training.batches import EVALUATION_BATCH, SplitWindows
from models.training.checkpoint import (
    Checkpoint,
    fingerprint,
    optimiser_state,
    read_checkpoint,
    restore_optimiser,
    write_checkpoint,
)
from models.training.label_weights import age_weights, horizon_weights
from models.training.ranks import ALONE, Ranks

VOLATILITY_WEIGHT = (
    0.5  # weight of the log-variance loss relative to the pinball loss: bar ranges are the more precise target
)
_GRADIENT_NORM = 1.0
_STEPS_PER_READING = 25  # on CUDA: steps between readings of the loss, each of which waits for all queued work


class TrainingDiverged(Exception):
    """The loss became NaN or infinite; nothing of the run is kept."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """Progress of a fit: ``ratio`` of the planned steps that are done, and the newest known losses."""

    epoch: int
    epochs: int
    ratio: float
    train_loss: float | None
    validation_loss: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The network with the weights of its best epoch."""

    network: Network
    best_epoch: int
    epochs_run: int
    validation_loss: float
    stopped: str  # "epochs", "patience" or "time"


class Fitting:
    """Trains one network on one set of windows.

    All randomness derives from the seed. On CUDA the optimiser is fused and the network runs in bfloat16 where that is
    safe (``mixed_precision`` overrides this), its heads and losses in float32. A run with a ``checkpoint_file`` writes
    a checkpoint after each epoch; after a kill, a new run on the same windows, configuration and recipe resumes there
    and ends with the same weights.

    With ``ranks`` several processes train together: each takes its share of every batch and of the validation, and
    all have the same weights after each step. Only the first writes the checkpoint.
    """

    def __init__(
        self,
        data: SplitWindows,
        *,
        config: NetworkConfig,
        recipe: Recipe,
        seed: int,
        start_quantiles: npt.NDArray[np.float64],
        checkpoint_file: Path | None = None,
        mixed_precision: bool | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        windows = data.windows
        device = windows.device
        on_gpu = device.type == "cuda"
        self.windows = windows
        self.train = torch.from_numpy(data.train)
        self.validation = torch.from_numpy(data.validation).to(device)
        self.recipe = recipe
        self.levels = torch.tensor(config.levels, device=device)
        self._horizon_weights = horizon_weights(data.horizons, device)  # (H,)
        self._weights = age_weights(windows.age_days, recipe.half_life_days) * self._horizon_weights  # (N, H)
        self._mixed_precision = on_gpu if mixed_precision is None else mixed_precision
        self._steps_per_reading = _STEPS_PER_READING if on_gpu else 1
        self._order = torch.Generator().manual_seed(seed)
        self._seed = seed
        self._steps_per_epoch = math.ceil(len(data.train) / recipe.stride / recipe.batch_size)
        with _seeded(seed):
            self.network = build_member(config)
        self.network.quantiles.start_at(start_quantiles)
        self.network.to(device)
        self._average = WeightAverage(self.network, decay=recipe.average_decay)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=on_gpu or None
        )
        self._ranks = ranks
        self._trained = ranks.wrapped(self.network)  # the same network, with gradients averaged over all processes
        self._checkpoint_file = checkpoint_file
        self._fingerprint = "" if checkpoint_file is None else self._identity(start_quantiles)
        self._epoch, self._best_epoch, self._best_loss = 0, 0, math.inf
        self._best: dict[str, Tensor] = {}
        self._stopped: str | None = None

    def run(self, *, on_report: Callable[[EpochReport], None], stop: Callable[[], bool]) -> Fitted:
        """Trains for all epochs, or until early stopping or the time limit. Raises TrainingDiverged.

        ``stop`` is called between steps and returns True when the time is up.
        """
        with _seeded(self._seed):
            if not self._resume():
                self._best_loss, self._best = self.evaluate(), _copy(self._average.network)
            self._ranks.check_alike("epochs that are done", {"epoch": torch.tensor(self._epoch)})
            while self._stopped is None:
                self._run_epoch(on_report, stop)
        self.network.load_state_dict(self._best)
        self._ranks.check_alike("weights", self._best)
        return Fitted(self.network.eval(), self._best_epoch, self._epoch, self._best_loss, self._stopped)

    def forget(self) -> None:
        """Removes the checkpoint, once the result is saved elsewhere."""
        if self._checkpoint_file is not None:
            self._checkpoint_file.unlink(missing_ok=True)

    def _run_epoch(self, on_report: Callable[[EpochReport], None], stop: Callable[[], bool]) -> None:
        self._epoch += 1
        train_loss, finished = self._steps(on_report, stop)
        loss = self.evaluate()
        on_report(EpochReport(self._epoch, self.recipe.epochs, self._epoch / self.recipe.epochs, train_loss, loss))
        if loss < self._best_loss:
            self._best_loss, self._best_epoch, self._best = loss, self._epoch, _copy(self._average.network)
        if not finished:
            self._stopped = "time"
        elif self._epoch - self._best_epoch >= self.recipe.patience:
            self._stopped = "patience"
        elif self._epoch >= self.recipe.epochs:
            self._stopped = "epochs"
        if self._checkpoint_file is not None and finished and self._ranks.first:
            write_checkpoint(self._checkpoint_file, self._checkpoint())

    def _steps(self, on_report: Callable[[EpochReport], None], stop: Callable[[], bool]) -> tuple[float, bool]:
        """Takes the steps of one epoch; returns the mean training loss, and whether all steps were taken."""
        self._trained.train()
        self._seed_epoch()
        batches = self._batches()
        total, mean, finished = torch.zeros((), device=self.windows.device), None, True
        for done, batch in enumerate(batches, start=1):
            step = (self._epoch - 1) * self._steps_per_epoch + done
            total += self._step(batch, step)
            if done % self._steps_per_reading == 0:
                mean = _finite(total / done, f"the loss by step {step}")
            on_report(EpochReport(self._epoch, self.recipe.epochs, self._ratio(step), mean, self._best_loss))
            if stop():
                finished = False
                break
        total = self._ranks.total(total) / self._ranks.size
        return _finite(total / done, f"the loss of epoch {self._epoch}"), finished

    def _seed_epoch(self) -> None:
        """Gives each of several processes its own dropout, the same after a resume."""
        if self._ranks.joined:
            torch.manual_seed((self._seed * 1_000_003 + self._epoch) * 1_000_003 + self._ranks.rank)

    def _batches(self) -> tuple[Tensor, ...]:
        share = self.train[self._epoch % self.recipe.stride :: self.recipe.stride]
        shuffled = share[torch.randperm(len(share), generator=self._order)]
        return torch.split(shuffled.to(self.windows.device), self.recipe.batch_size)

    def _step(self, batch: Tensor, step: int) -> Tensor:
        """Takes one optimiser step; returns the loss, still on the device."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * self._annealing(step)
        part = self._ranks.share(batch)
        loss = self._loss(self._trained, part, self._weights[part])
        if self._ranks.joined:
            loss = loss * self._ranks.weight(self._weights[part], self._weights[batch])
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_NORM)
        self._optimiser.step()
        self._average.update()
        return loss.detach()

    def _annealing(self, step: int) -> float:
        warm_up = min(1.0, step / self._steps_per_epoch)
        return warm_up * (0.55 + 0.45 * math.cos(math.pi * self._ratio(step)))

    def _ratio(self, step: int) -> float:
        return min(1.0, step / (self._steps_per_epoch * self.recipe.epochs))

    def _loss(self, network: nn.Module, samples: Tensor, weights: Tensor) -> Tensor:
        with torch.autocast(self.windows.device.type, dtype=torch.bfloat16, enabled=self._mixed_precision):
            output: NetworkOutput = network(*self.windows.gather(samples))
        return self.loss_of(output, samples, weights)

    def loss_of(self, output: NetworkOutput, samples: Tensor, weights: Tensor) -> Tensor:
        """Sum of pinball and log-variance loss, in units of the scale; samples (B,), weights (B, H) or (H,)."""
        quantiles = pinball_loss(self.windows.returns[samples], output.quantiles, self.levels, weights)
        volatility = log_variance_loss(self.windows.log_variances[samples], output.log_sigma, weights)
        return quantiles + VOLATILITY_WEIGHT * volatility

    @torch.inference_mode()
    def evaluate(self, network: Network | Ensemble | None = None) -> float:
        """The validation loss of ``network``, by default of the averaged weights, in evaluation mode."""
        evaluated = (network or self._average.network).eval()
        parts = torch.split(self.validation, EVALUATION_BATCH)[self._ranks.rank :: self._ranks.size]
        total = sum(self._loss(evaluated, part, self._horizon_weights).double() * len(part) for part in parts)
        total = self._ranks.total(torch.as_tensor(total, dtype=torch.float64, device=self.windows.device))
        return _finite(total / len(self.validation), "the validation loss")

    # ---------------------------------------------------------------- checkpoint and resume

    def _checkpoint(self) -> Checkpoint:
        tensors = {
            "random.cpu": torch.get_rng_state(),
            "random.order": self._order.get_state(),
            **{f"network.{name}": each for name, each in self.network.state_dict().items()},
            **{f"average.{name}": each for name, each in self._average.network.state_dict().items()},
            **{f"best.{name}": each for name, each in self._best.items()},
        }
        if self.windows.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.windows.device)
        tensors |= {f"optimiser.{name}": each for name, each in optimiser_state(self._optimiser).items()}
        values = {
            "fingerprint": self._fingerprint,
            "epoch": self._epoch,
            "best_epoch": self._best_epoch,
            "best_loss": self._best_loss,
            "averaged_steps": self._average.steps,
            "stopped": self._stopped,
        }
        return Checkpoint(tensors, values)

    def _resume(self) -> bool:
        """Restores the checkpoint of a killed run with the same fingerprint; False if there is none."""
        if self._checkpoint_file is None:
            return False
        found = read_checkpoint(self._checkpoint_file, fingerprint=self._fingerprint)
        if found is None:
            return False
        device = self.windows.device
        self.network.load_state_dict(found.part("network"))
        self._average.network.load_state_dict(found.part("average"))
        self._best = {name: each.to(device) for name, each in found.part("best").items()}
        restore_optimiser(self._optimiser, found.part("optimiser"))
        torch.set_rng_state(found.tensors["random.cpu"])
        self._order.set_state(found.tensors["random.order"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(found.tensors["random.cuda"], device)
        self._epoch, self._best_epoch = found.values["epoch"], found.values["best_epoch"]
        self._best_loss, self._stopped = found.values["best_loss"], found.values["stopped"]
        self._average.steps = found.values["averaged_steps"]
        return True

    def _identity(self, start_quantiles: npt.NDArray[np.float64]) -> str:
        """A hash of all that determines the result: windows, split, shape, recipe, seed, threads and torch version."""
        values = {
            "config": asdict(self.network.config),
            "kind": type(self.network).__name__,
            "recipe": asdict(self.recipe),
            "horizon_weights": self._horizon_weights.tolist(),
            "epochs": self.recipe.epochs,
            "seed": self._seed,
            "window": self.windows.window,
            "device": self.windows.device.type,
            "mixed_precision": self._mixed_precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            **({"processes": self._ranks.size} if self._ranks.joined else {}),
        }
        windows = self.windows
        tensors = (
            windows.values, windows.mask, windows.slot, windows.symbol, windows.calendar, windows.returns,
            windows.log_variances, windows.age_days, self.train, self.validation, torch.from_numpy(start_quantiles),
        )  # fmt: skip
        return fingerprint(values, tensors)


def _finite(loss: Tensor, what: str) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingDiverged(f"{what} became {value}")
    return value


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch's global generators, which initial weights and dropout use, and restores them afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
