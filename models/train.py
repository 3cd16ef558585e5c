"""One deterministic training run: bars in, a finished artifact out.

``python -m models.train --data bars.parquet --out DIR`` needs no more than torch, numpy, polars and safetensors.
"""

from __future__ import annotations

import os

# An idle OpenMP worker that spins takes the core of whoever else runs here; read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Without a fixed workspace cuBLAS sums in another order from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from features.catalogue import schema_hash
from models.artifact import Artifact, ArtifactError, Manifest, weights_digest, write_artifact
from models.attention_lstm import AttentionLSTMConfig
from models.bars_file import read_bars
from models.dataset import TrainingData, prepare
from models.devices import choose_device
from models.fitting import EpochReport, Fitted, Fitting, TrainingDiverged, WindowTensors, predict
from models.presets import Recipe, choose_recipe
from models.scoring import scores
from models.specification import Progress, TrainingSpec

_FEATURES_SHARE = 0.05  # of the progress bar; the rest but for the last is training
_TRAINED_SHARE = 0.97
_RESERVED_SHARE = 0.05  # of the time budget, for scoring and writing
_GOLDEN_WINDOWS = 3


def train(
    spec: TrainingSpec,
    *,
    symbols: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda _: None,
    checkpoint: Callable[[], None] = lambda: None,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> Path:
    """Trains as specified and returns the folder of the finished artifact, below ``spec.output_dir``.

    Its id ends with a hash of the weights: where the same run has left the same artifact before, that one stays.
    ``symbols`` are those of the file to train on; empty means all.

    ``checkpoint`` is called between steps: it may block to pause the run, or raise to cancel it, and then
    nothing is left behind. Raises ValueError for data that cannot be trained on, TrainingDiverged where the loss
    is no longer finite, ArtifactError where the result cannot be written.
    """
    return _Run(spec, symbols, on_progress, checkpoint, monotonic_s).run()


class _Run:
    """The state of one run: when it started, how far it is."""

    def __init__(
        self,
        spec: TrainingSpec,
        symbols: Sequence[str],
        on_progress: Callable[[Progress], None],
        checkpoint: Callable[[], None],
        monotonic_s: Callable[[], float],
    ) -> None:
        self.spec = spec
        self.symbols = symbols
        self.device = choose_device(spec.device)
        self.preset, self.recipe = choose_recipe(spec.preset, on_gpu=self.device.type == "cuda")
        self.epochs = spec.epochs or self.recipe.epochs
        self.threads = spec.threads or max(1, (os.cpu_count() or 1) - 1)
        self._on_progress = on_progress
        self._checkpoint = checkpoint
        self._monotonic_s = monotonic_s
        self._started_s = monotonic_s()
        self._training_started_s = self._started_s

    def run(self) -> Path:
        self._report("features", 0.0)
        torch.set_num_threads(self.threads)
        data = prepare(read_bars(self.spec.data_file, symbols=self.symbols), self.spec)
        self._checkpoint()
        windows = window_tensors(data, window=self.spec.window, device=self.device)
        self._training_started_s = self._monotonic_s()
        self._report("training", _FEATURES_SHARE)
        fitting = self._fitting(data, windows)
        fitted = fitting.run(on_report=self._epoch_reported, stop=self._stop)
        self._report("scoring", _TRAINED_SHARE)
        artifact = self._artifact(data, windows, fitted)
        self._checkpoint()
        path = self.spec.output_dir / artifact.manifest.id
        if not path.exists():
            write_artifact(self.spec.output_dir, artifact)
        self._report("done", 1.0, remaining_s=0.0)
        return path

    def _fitting(self, data: TrainingData, windows: WindowTensors) -> Fitting:
        return Fitting(
            windows,
            train=data.split.train,
            validation=data.split.validation,
            config=network_config(data, self.spec, self.recipe),
            recipe=self.recipe,
            epochs=self.epochs,
            seed=self.spec.seed,
            start_quantiles=np.mean([data.har.residual_quantiles(series) for series in data.series], axis=0),
        )

    def _stop(self) -> bool:
        self._checkpoint()
        budget_s = self.spec.time_budget_s
        return budget_s is not None and self._elapsed_s() > budget_s * (1.0 - _RESERVED_SHARE)

    def _elapsed_s(self) -> float:
        return self._monotonic_s() - self._started_s

    def _epoch_reported(self, report: EpochReport) -> None:
        training_s = self._monotonic_s() - self._training_started_s
        remaining_s = training_s * (1.0 - report.ratio) / report.ratio
        ratio = report.ratio
        if self.spec.time_budget_s is not None:
            left_s = max(self.spec.time_budget_s - self._elapsed_s(), 0.0)
            remaining_s = min(remaining_s, left_s)
            ratio = max(ratio, training_s / (training_s + left_s))
        self._report(
            "training",
            _FEATURES_SHARE + (_TRAINED_SHARE - _FEATURES_SHARE) * ratio,
            epoch=report.epoch,
            train_loss=report.train_loss,
            validation_loss=report.validation_loss,
            remaining_s=remaining_s,
        )

    def _report(self, phase: str, ratio: float, **details: Any) -> None:
        self._on_progress(
            Progress(phase=phase, ratio=ratio, elapsed_s=self._elapsed_s(), epochs=self.epochs, **details)
        )

    def _artifact(self, data: TrainingData, windows: WindowTensors, fitted: Fitted) -> Artifact:
        chosen = data.split.validation
        quantiles, log_sigma = predict(fitted.network, windows, chosen)
        measured = scores(
            data,
            chosen=chosen,
            quantiles=quantiles,
            log_sigma=log_sigma,
            horizons=self.spec.horizons,
            levels=self.spec.levels,
        )
        weights = {name: tensor.cpu().numpy() for name, tensor in fitted.network.state_dict().items()}
        return Artifact(
            manifest=self._manifest(data, fitted, measured, weights_digest(weights)),
            weights=weights,
            scaler=json.loads(data.scaler.to_json()),
            har=data.har.to_json(),
            golden=_golden(windows, chosen, fitted),
        )

    def _manifest(self, data: TrainingData, fitted: Fitted, measured: dict[str, Any], digest: str) -> Manifest:
        oldest_us = min(int(recent.close_time_us[0]) for recent in data.histories.values()) - self.spec.interval_us
        newest_us = max(int(recent.close_time_us[-1]) for recent in data.histories.values())
        return Manifest(
            id=f"{self.spec.kind}-{newest_us // 1_000_000}-{digest}",
            kind=self.spec.kind,
            preset=self.preset,
            feature_names=data.feature_names,
            schema_hash=schema_hash(data.feature_names),
            interval_us=self.spec.interval_us,
            horizons=self.spec.horizons,
            levels=self.spec.levels,
            window=self.spec.window,
            symbols=tuple(f"{venue}:{symbol}" for venue, symbol in data.series),
            network=asdict(fitted.network.config),
            data_from_us=oldest_us,
            fitted_until_us=data.split.cut_us,
            trained_until_us=newest_us,
            scores=measured,
            training=asdict(self.recipe)
            | {
                "epochs": self.epochs,
                "best_epoch": fitted.best_epoch,
                "epochs_run": fitted.epochs_run,
                "stopped_by": fitted.stopped,
                "validation_loss": fitted.validation_loss,
                "train_windows": len(data.split.train),
                "validation_windows": len(data.split.validation),
                "device": str(self.device),
                "threads": self.threads,
            },
            seed=self.spec.seed,
            parent=self.spec.parent,
            versions={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "polars": pl.__version__,
            },
        )


def network_config(data: TrainingData, spec: TrainingSpec, recipe: Recipe) -> AttentionLSTMConfig:
    """The network that fits these data."""
    return AttentionLSTMConfig(
        features=len(data.feature_names),
        window=spec.window,
        symbols=len(data.series) + 1,
        horizons=len(spec.horizons),
        levels=spec.levels,
        hidden=recipe.hidden,
        layers=recipe.layers,
        widths=recipe.widths,
        dropout=recipe.dropout,
    )


def window_tensors(data: TrainingData, *, window: int, device: torch.device) -> WindowTensors:
    """All rows and labels on the device, labels in units of each sample's scale."""
    samples = data.samples
    return WindowTensors(
        values=torch.from_numpy(data.values).to(device),
        mask=torch.from_numpy(data.mask).to(device),
        slot=torch.from_numpy(samples.slot).to(device),
        symbol=torch.from_numpy(samples.series + 1).to(device),
        returns=torch.from_numpy(samples.log_returns / samples.sigma).float().to(device),
        variances=torch.from_numpy(samples.variances / samples.sigma**2).float().to(device),
        window=window,
    )


def _golden(windows: WindowTensors, chosen: Any, fitted: Fitted) -> dict[str, Any]:
    """A few windows and the network's answers, for the parity check wherever the artifact is loaded."""
    picked = chosen[np.linspace(0, len(chosen) - 1, _GOLDEN_WINDOWS).astype(np.int64)]
    values, mask, symbol = windows.gather(torch.from_numpy(picked).to(windows.slot.device))
    quantiles, log_sigma = predict(fitted.network, windows, picked)
    return {
        "values": values.cpu().numpy(),
        "mask": mask.cpu().numpy(),
        "symbol": symbol.cpu().numpy(),
        "quantiles": quantiles,
        "log_sigma": log_sigma,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 0, 1 where the run failed, 2 for arguments or data that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description="Trains one model on a file of bars.")
    parser.add_argument("--data", type=Path, required=True, help="Parquet of bars or klines, or a folder of them")
    parser.add_argument("--symbols", nargs="+", default=[], metavar="BASE-QUOTE", help="only these; default: all")
    parser.add_argument("--out", type=Path, required=True, help="folder in which the artifact appears")
    parser.add_argument("--preset", default="auto", help="auto | small | reference")
    parser.add_argument("--epochs", type=_positive(int), help="default: the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N")
    parser.add_argument("--interval-seconds", type=_positive(int), default=3600, help="length of a bar")
    parser.add_argument("--time-budget-seconds", type=_positive(float), help="wall time for the whole run")
    given = parser.parse_args(arguments)
    try:
        spec = TrainingSpec(
            data_file=given.data,
            output_dir=given.out,
            preset=given.preset,
            epochs=given.epochs,
            seed=given.seed,
            device=given.device,
            interval_us=given.interval_seconds * 1_000_000,
            time_budget_s=given.time_budget_seconds,
        )
        path = train(spec, symbols=given.symbols, on_progress=_Printer(terminal=sys.stdout.isatty()))
    except (ValueError, TrainingDiverged, ArtifactError) as error:
        print(f"models.train: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        return 2 if isinstance(error, ValueError) else 1
    print(path)  # noqa: T201  # this is a command
    return 0


def _positive(number: type[int] | type[float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        if (value := number(text)) <= 0:
            raise argparse.ArgumentTypeError(f"was {text}; write a number above 0")
        return value

    parse.__name__ = number.__name__  # what argparse says was invalid
    return parse


class _Printer:
    """Progress once a percent: a line that rewrites itself on a terminal, JSON lines elsewhere."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._printed = -1

    def __call__(self, progress: Progress) -> None:
        percent = int(progress.ratio * 100)
        if percent == self._printed:
            return
        self._printed = percent
        if self._terminal:
            loss = "" if progress.validation_loss is None else f"  validation {progress.validation_loss:.4f}"
            text = f"\r{progress.phase:<9}{percent:>4}%  epoch {progress.epoch}/{progress.epochs}{loss}  "
            print(text, end="\n" if progress.phase == "done" else "", flush=True)  # noqa: T201  # this is a command
        else:
            print(progress.to_json(), flush=True)  # noqa: T201  # this is a command


if __name__ == "__main__":
    raise SystemExit(main())
