"""``forecastd train``: one training run in the foreground; it leaves a candidate artifact and says how it scored."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from rich import box
from rich.table import Table

from daemon.cli.commands.console import open_console
from daemon.cli.commands.history import open_ledger
from daemon.cli.commands.training_bar import TrainingBar
from daemon.clock import SystemClock
from daemon.config import Config, Secrets, load_config
from daemon.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from daemon.logs import start_logging
from daemon.output_files import write_parquet
from daemon.retraining.child import State
from daemon.retraining.supervisor import RetrainOutcome, run_in_foreground
from daemon.retraining.training_spec import training_spec
from daemon.runtime.history_loader import MAX_BARS
from daemon.runtime.store_opening import prepared_state_dir
from daemon.timestamps import iso
from features.market import Instrument
from models.artifacts.artifact import MANIFEST, Manifest
from models.artifacts.registry import Registry
from models.overrides import Overrides
from models.specification import Progress, TrainingSpec
from models.training.bars_file import BarsRefused, read_bars

RUN_FOLDER = "training"  # below the state directory: snapshot of the store, and how far a killed run was


class TrainRefused(Fatal):
    """The command's arguments do not fit."""

    exit_code = EXIT_USAGE


class NoTrainingBars(Fatal):
    """The store holds nothing to train on."""

    exit_code = EXIT_UNAVAILABLE


class TrainFailed(Fatal):
    """The run ended without an artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What was asked for; None and empty mean the default."""

    kind: str
    preset: str = "auto"
    overrides: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    epochs: int | None = None
    seeds: int = 1
    data: Path | None = None


def run_train(config_file: Path | None, options: TrainOptions, *, json: bool) -> None:
    """Trains from ``options.data``, else from the store. Raises TrainRefused, NoBars or TrainFailed.

    Started again after a kill, with the same options and unchanged data, it goes on where it was.
    """
    start_logging(level="warning")
    config = load_config(config_file, secrets=Secrets.UNCHECKED)
    registry, run_dir = Registry(config.instance.state_dir / "models"), config.instance.state_dir / RUN_FOLDER
    spec = _specification(config, options, registry, run_dir)
    view = _View(json=json)
    with _data(config, options, run_dir) as data_file:
        try:
            outcome = run_in_foreground(
                replace(spec, data_file=data_file),
                view.progress,
                run_dir=run_dir,
                models_dir=registry.root,
                clock=SystemClock(),
            )
        finally:
            view.close()
    if outcome.unusable_bars:
        raise _refused_bars(options, outcome.reason or "")
    if outcome.state is not State.FINISHED or outcome.artifact is None:
        raise TrainFailed(f"training ended as {outcome.state.value}: {outcome.reason}")
    view.result(outcome, Manifest.from_json((Path(outcome.artifact) / MANIFEST).read_text("utf-8")))


def _specification(config: Config, options: TrainOptions, registry: Registry, run_dir: Path) -> TrainingSpec:
    try:
        spec = training_spec(config, run_dir / "bars.parquet", registry, None, kind=options.kind)
        preset = spec.preset if options.preset == "auto" else options.preset
        overrides = Overrides.parse(options.overrides) if options.overrides else spec.overrides
        return replace(
            spec,
            preset=preset,
            overrides=overrides,
            epochs=options.epochs,
            seeds=options.seeds,
            run_dir=run_dir.absolute(),
        )
    except ValueError as error:
        raise TrainRefused(str(error)) from error


@contextmanager
def _data(config: Config, options: TrainOptions, run_dir: Path) -> Iterator[Path]:
    """The file to train on: a snapshot of what was asked for, gone when the run is."""
    bars = (
        _from_store(config, options.symbols)
        if options.data is None
        else _from_file(config, options.data, options.symbols)
    )
    prepared_state_dir(config.instance.state_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    snapshot = run_dir / "bars.parquet"
    write_parquet(snapshot, bars)
    try:
        yield snapshot
    finally:
        snapshot.unlink(missing_ok=True)


def _from_file(config: Config, path: Path, symbols: tuple[str, ...]) -> pl.DataFrame:
    try:
        bars = read_bars(path, symbols=symbols)
    except BarsRefused as error:
        raise TrainRefused(str(error)) from error
    off_grid = bars.filter(pl.col("open_time_us") % config.bars.interval_us != 0)
    if not off_grid.is_empty():
        symbol, opened_us = off_grid.select("symbol", "open_time_us").row(0)
        raise TrainRefused(
            f"{path}: a bar of {symbol} opens at {iso(opened_us)}, which is not on the {config.bars.interval} grid; "
            "set [bars] interval to that of the file"
        )
    return bars


def _refused_bars(options: TrainOptions, reason: str) -> Fatal:
    """The error for bars that nothing can be trained on: the named file's, or the store's."""
    if options.data is not None:
        return TrainRefused(f"{options.data}: {reason}")
    return NoTrainingBars(f"{reason}; fetch older bars with `forecastd history fetch --from DATE`")


def _from_store(config: Config, symbols: tuple[str, ...]) -> pl.DataFrame:
    interval_us, now_us = config.bars.interval_us, SystemClock().market_us()
    reach_us = min(config.retrain.history.microseconds, MAX_BARS * interval_us)
    with open_ledger(config) as ledger:
        stored = [Instrument(span.venue, span.symbol) for span in ledger.spans(interval_us)]
        chosen = [each for each in stored if each.symbol in symbols] if symbols else config.instruments
        if unknown := set(symbols) - {each.symbol for each in stored}:
            held = ", ".join(map(str, stored)) or "none"
            raise TrainRefused(f"--symbols: the store holds no {', '.join(sorted(unknown))}; it holds {held}")
        bars = ledger.bars_frame(chosen, interval_us, now_us - reach_us, now_us)
    if bars.is_empty():
        raise NoTrainingBars(
            f"{config.instance.state_dir}: the store holds no bars; forecastd history fetch first, "
            "or name a file with --data"
        )
    return bars


class _View:
    """A bar and a table on a terminal; JSON lines off one, or where they were asked for."""

    def __init__(self, *, json: bool) -> None:
        self._console = open_console()
        self._json = json or not self._console.is_terminal
        self._bar = TrainingBar(self._console)
        self._told = (-1, -1)

    def progress(self, progress: Progress) -> None:
        if not self._json:
            self._bar.show(progress)
        elif (step := (progress.epoch, int(100 * progress.ratio))) != self._told:
            self._told = step
            self._line({"progress": msgspec.to_builtins(progress)})

    def close(self) -> None:
        self._bar.close()

    def result(self, outcome: RetrainOutcome, manifest: Manifest) -> None:
        """Where the candidate is, and how it scored."""
        if self._json:
            self._line(
                {
                    "artifact": outcome.artifact,
                    "model_id": manifest.id,
                    "kind": manifest.kind,
                    "preset": manifest.preset,
                    "training": manifest.training,
                    "duration_s": round(outcome.duration_s, 1),
                    "scores": manifest.scores,
                }
            )
            return
        trained = manifest.training
        self._console.print(
            f"{manifest.kind} {manifest.preset}: {trained['parameters']:,} parameters, best after epoch "
            f"{trained['best_epoch']}; {trained['train_windows']:,} windows to train on, "
            f"{trained['validation_windows']:,} later ones to choose that epoch and to score on"
        )
        self._console.print(score_table(manifest.scores))
        self._console.print(f"candidate {outcome.artifact}", soft_wrap=True)

    def _line(self, content: Mapping[str, Any]) -> None:
        sys.stdout.write(jsonlib.dumps(content) + "\n")
        sys.stdout.flush()


def score_table(scores: Mapping[str, Mapping[str, Any]]) -> Table:
    """An artifact's scores, one row a horizon; a ratio below 1 beats the baseline, +- one standard error."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("bars", "scored", "pinball bp", "HAR", "random walk", "vs HAR", "vs random walk", "in 80%", "in 95%"):
        table.add_column(title, justify="right")
    for horizon, score in sorted(scores.items(), key=lambda each: int(each[0])):
        table.add_row(
            horizon,
            f"{score['scored']:,}",
            *(f"{score[f'pinball_bp_{name}']:.2f}" for name in ("model", "har", "random_walk")),
            *(
                f"{score[f'pinball_vs_{name}']:.4f} ± {score[f'pinball_vs_{name}_se']:.4f}"
                for name in ("har", "random_walk")
            ),
            *(f"{100 * score[f'coverage_{level}']:.1f}%" for level in (80, 95)),
        )
    return table
