"""One deterministic training run: bars in, a finished artifact out.

``python -m models.train --data bars.parquet --out DIR`` needs only torch, numpy, polars and safetensors;
``torchrun --nproc-per-node N -m models.train ...`` trains with N processes, a GPU each where there are GPUs.
"""

from __future__ import annotations

import os

# Idle OpenMP workers that spin would take cores from other processes; torch reads this once, at import.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Without a fixed workspace cuBLAS sums in another order from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.artifacts.artifact import ArtifactError, write_artifact
from models.artifacts.assembly import assemble
from models.devices import choose_device
from models.networks.builder import ensemble, network_config
from models.networks.ensemble import Ensemble
from models.networks.network import Network
from models.overrides import Overrides
from models.presets import choose_preset
from models.specification import DEFAULT_KIND, NETWORK_KINDS, PRESET_NAMES, Progress, TrainingSpec
from models.training.bars_file import read_bars
from models.training.batches import SplitWindows, WindowTensors, window_tensors
from models.training.dataset import TrainingData, prepare
from models.training.fitting import EpochReport, Fitted, Fitting, TrainingDiverged
from models.training.ranks import ALONE, Ranks, joined_ranks

_FEATURES_SHARE = 0.05  # of the progress; training follows, up to _TRAINED_SHARE
_TRAINED_SHARE = 0.97
_RESERVED_SHARE = 0.05  # of the time budget, for scoring and writing


def train(
    spec: TrainingSpec,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    checkpoint: Callable[[], None] = lambda: None,
    monotonic_s: Callable[[], float] = time.monotonic,
    ranks: Ranks = ALONE,
) -> Path:
    """Trains as specified and returns the folder of the finished artifact, below ``spec.output_dir``.

    Its id ends with a hash of the weights: an artifact that the same run wrote before is kept.

    ``ranks``: the processes that train together, which all call this with the same specification; the first reports
    and writes. ``checkpoint`` is called between steps: it may block to pause the run, or raise to cancel it, which
    leaves only the files in ``spec.run_dir``. Raises ValueError for data that cannot be trained on, TrainingDiverged if
    the loss is no longer finite, ArtifactError if the artifact cannot be written.
    """
    return _Run(spec, on_progress, checkpoint, monotonic_s, ranks).run()


class _Run:
    """The state of one run: its start time and progress."""

    def __init__(
        self,
        spec: TrainingSpec,
        on_progress: Callable[[Progress], None],
        checkpoint: Callable[[], None],
        monotonic_s: Callable[[], float],
        ranks: Ranks,
    ) -> None:
        self.spec = spec
        self.ranks = ranks
        self.device = ranks.device(choose_device(spec.device))
        self.preset, chosen = choose_preset(spec.kind, spec.preset, on_gpu=self.device.type == "cuda")
        chosen = spec.overrides.applied(chosen)
        self.recipe, self.shape = replace(chosen.recipe, epochs=spec.epochs or chosen.recipe.epochs), chosen.shape
        self.threads = spec.threads or max(1, ((os.cpu_count() or 1) - 1) // ranks.local_size)
        self._on_progress = on_progress
        self._checkpoint = checkpoint
        self._monotonic_s = monotonic_s
        self._started_s = monotonic_s()
        self._training_started_s = self._started_s

    def run(self) -> Path:
        self._report("features", 0.0)
        torch.set_num_threads(self.threads)
        data = prepare(read_bars(self.spec.data_file, symbols=self.spec.symbols), self.spec)
        self._checkpoint()
        windows = window_tensors(data, self.spec, device=self.device)
        self._training_started_s = self._monotonic_s()
        self._report("training", _FEATURES_SHARE)
        fittings, members = self._members(data, windows)
        self._report("scoring", _TRAINED_SHARE)
        network, losses = _best_of(fittings[-1], members)
        training = self._training(data, members, losses)
        artifact = assemble(self.spec, data, preset=self.preset, windows=windows, network=network, training=training)
        self._checkpoint()
        path = self.spec.output_dir / artifact.manifest.id
        if self.ranks.first:
            if not path.exists():
                write_artifact(self.spec.output_dir, artifact)
            for fitting in fittings:
                fitting.forget()
        self._report("done", 1.0, remaining_s=0.0)
        return path

    def _members(self, data: TrainingData, windows: WindowTensors) -> tuple[list[Fitting], list[Fitted]]:
        """One fitted network for each seed; fewer if the time runs out."""
        fittings: list[Fitting] = []
        members: list[Fitted] = []
        while len(members) < self.spec.seeds and (not members or members[-1].stopped != "time"):
            fittings.append(self._fitting(data, windows, self.spec.seed + len(members)))
            reported = partial(self._epoch_reported, before=len(members))
            members.append(fittings[-1].run(on_report=reported, stop=self._stop))
        return fittings, members

    def _fitting(self, data: TrainingData, windows: WindowTensors, seed: int) -> Fitting:
        run_dir = self.spec.run_dir
        return Fitting(
            SplitWindows(windows, data.split.train, data.split.validation, self.spec.horizons),
            config=network_config(
                self.spec.kind,
                self.shape,
                feature_names=data.feature_names,
                window=self.spec.window,
                symbols=len(data.series) + 1,
                horizons=len(self.spec.horizons),
                levels=self.spec.levels,
            ),
            recipe=self.recipe,
            seed=seed,
            start_quantiles=np.mean([data.har.residual_quantiles(series) for series in data.series], axis=0),
            checkpoint_file=None if run_dir is None else run_dir / f"seed-{seed}.safetensors",
            ranks=self.ranks,
        )

    def _stop(self) -> bool:
        self._checkpoint()
        budget_s = self.spec.time_budget_s
        if budget_s is None:
            return False
        return self.ranks.agreed(self._elapsed_s() > budget_s * (1.0 - _RESERVED_SHARE), self.device)

    def _elapsed_s(self) -> float:
        return self._monotonic_s() - self._started_s

    def _epoch_reported(self, report: EpochReport, *, before: int) -> None:
        """Reports one step or epoch; ``before``: how many seeds are done."""
        training_s = self._monotonic_s() - self._training_started_s
        ratio = (before + report.ratio) / self.spec.seeds
        remaining_s = training_s * (1.0 - ratio) / ratio
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
        if not self.ranks.first:
            return
        self._on_progress(
            Progress(phase=phase, ratio=ratio, elapsed_s=self._elapsed_s(), epochs=self.recipe.epochs, **details)
        )

    def _training(self, data: TrainingData, members: Sequence[Fitted], losses: Mapping[str, Any]) -> dict[str, Any]:
        """Training details for the manifest; with several seeds, the epochs are those of the first."""
        first = members[0]
        return asdict(self.recipe) | {
            "best_epoch": first.best_epoch,
            "epochs_run": first.epochs_run,
            "stopped_by": members[-1].stopped,
            **losses,
            "train_windows": len(data.split.train),
            "validation_windows": len(data.split.validation),
            "device": str(self.device),
            "threads": self.threads,
            **({"processes": self.ranks.size} if self.ranks.joined else {}),
            **({"overrides": overrides} if (overrides := self.spec.overrides.given) else {}),
        }


def _best_of(evaluator: Fitting, members: Sequence[Fitted]) -> tuple[Network | Ensemble, dict[str, Any]]:
    """The average of all seeds if its validation loss is below that of the best seed, else that seed's network."""
    best = min(members, key=lambda member: member.validation_loss)
    losses: dict[str, Any] = {"validation_loss": best.validation_loss}
    if len(members) == 1:
        return best.network, losses
    averaged = ensemble([member.network for member in members])
    loss = evaluator.evaluate(averaged)
    losses |= {"seed_losses": [member.validation_loss for member in members], "average_loss": loss}
    if loss >= best.validation_loss:
        return best.network, losses
    return averaged.eval(), losses | {"validation_loss": loss}


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 0; 1 if the run failed; 2 for unusable arguments or data; 70 for a defect; 75 for a
    full disk.
    """
    given = _parser().parse_args(arguments)
    try:
        spec = TrainingSpec(
            data_file=given.data,
            output_dir=given.out,
            kind=given.model,
            preset=given.preset,
            overrides=Overrides.parse(given.set),
            symbols=tuple(given.symbols),
            epochs=given.epochs,
            seed=given.seed,
            seeds=given.seeds,
            device=given.device,
            interval_us=given.interval_seconds * 1_000_000,
            time_budget_s=given.time_budget_seconds,
            run_dir=given.run_dir,
        )
        with joined_ranks(choose_device(spec.device)) as ranks:
            path = train(spec, on_progress=_Printer(terminal=sys.stdout.isatty()), ranks=ranks)
    except OSError as error:
        print(f"models.train: {error}; free space there, or write elsewhere", file=sys.stderr)  # noqa: T201  # this is a command
        return 75
    except (ValueError, TrainingDiverged, ArtifactError) as error:
        print(f"models.train: {error}", file=sys.stderr)  # noqa: T201  # this is a command
        if isinstance(error.__cause__, OSError):
            return 75
        return 2 if isinstance(error, ValueError) else 1
    except Exception as error:  # noqa: BLE001  # the last place: a traceback helps no user
        print(f"models.train: internal error: {_one_line(error)}; {_save_traceback(given.out)}", file=sys.stderr)  # noqa: T201  # this is a command
        return 70
    if ranks.first:
        print(path)  # noqa: T201  # this is a command
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.train", description="Trains one model on a file of bars.")
    parser.add_argument("--data", type=Path, required=True, help="Parquet or CSV of bars or klines, or a folder")
    parser.add_argument("--symbols", nargs="+", default=[], metavar="BASE-QUOTE", help="only these; default: all")
    parser.add_argument("--out", type=Path, required=True, help="folder in which the artifact appears")
    parser.add_argument("--model", default=DEFAULT_KIND, help=" | ".join(NETWORK_KINDS))
    parser.add_argument("--preset", default="auto", help=" | ".join(PRESET_NAMES))
    parser.add_argument("--epochs", type=_positive(int), help="default: the preset's")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of the preset, e.g. dropout=0.2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seeds", type=_positive(int), default=1, help="networks to train; their average is kept if it scores better"
    )
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N")
    parser.add_argument("--interval-seconds", type=_positive(int), default=3600, help="length of a bar")
    parser.add_argument("--time-budget-seconds", type=_positive(float), help="wall time for the whole run")
    parser.add_argument("--run-dir", type=Path, help="folder of checkpoints, from which a killed run resumes")
    return parser


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _save_traceback(folder: Path) -> str:
    """Appends the traceback of the current error to a file in ``folder``; returns where it is."""
    path = folder / "errors.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{traceback.format_exc()}\n")
    except OSError as refused:
        return f"its traceback cannot be saved in {path} ({refused.strerror})"
    return f"please report it with the traceback in {path}"


def _positive(number: type[int] | type[float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        if (value := number(text)) <= 0:
            raise argparse.ArgumentTypeError(f"was {text}; write a number above 0")
        return value

    parse.__name__ = number.__name__  # argparse names this in its error message
    return parse


class _Printer:
    """Prints progress once per percent: one line, rewritten, on a terminal, JSON lines elsewhere."""

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
