"""``forecastd retrain``: asks the running daemon, or trains in the foreground from the store."""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from daemon.cli.commands.history import open_ledger
from daemon.cli.commands.status import client_for
from daemon.cli.commands.training_bar import TrainingBar, progress_text
from daemon.clock import SystemClock
from daemon.config import Config, Secrets, load_config
from daemon.errors import EXIT_UNAVAILABLE, Fatal, Retryable, Unreachable
from daemon.logs import start_logging
from daemon.output_files import write_parquet
from daemon.retraining.child import State
from daemon.retraining.supervisor import run_in_foreground
from daemon.retraining.training_spec import training_spec
from daemon.runtime.history_loader import MAX_BARS
from models.artifacts.registry import Registry
from models.specification import NETWORK_KINDS
from models.specification import Progress as TrainingProgress


class NothingToTrain(Fatal):
    """There is no daemon, and no way to train without one."""

    exit_code = EXIT_UNAVAILABLE


class RetrainFailed(Retryable):
    """The run ended without a promoted model."""


def run_retrain(config_file: Path | None, *, wait: bool, cancel: bool, json: bool) -> None:
    """Retrains or cancels. Raises RetrainFailed where the run ends without a promoted model."""
    start_logging(level="warning")
    view = _View(json=json)
    try:
        asyncio.run(_ask_daemon(config_file, view, wait=wait, cancel=cancel))
    except Unreachable:
        if cancel or view.started:
            raise
        _in_foreground(load_config(config_file, secrets=Secrets.UNCHECKED), view)
    finally:
        view.close()
    if view.outcome is not None and view.outcome["outcome"] not in {"promoted", "finished"}:
        raise RetrainFailed(f"the retraining ended as {view.outcome['outcome']}: {view.outcome['reason']}")


async def _ask_daemon(config_file: Path | None, view: _View, *, wait: bool, cancel: bool) -> None:
    client = client_for(config_file)
    if cancel:
        async for reply in client.stream("cancel_retrain"):
            view.say(reply, "cancelled" if reply["cancelled"] else "no retraining was running")
        return
    async for reply in client.stream("retrain", wait=wait):
        view.show(reply)


def _in_foreground(config: Config, view: _View) -> None:
    """Trains from the store; the artifact becomes the champion of the next start."""
    kind = config.model.kind
    if kind not in NETWORK_KINDS:
        raise NothingToTrain(f"{kind} is fitted when the daemon starts; without a daemon there is nothing to train")
    clock, state_dir = SystemClock(), config.instance.state_dir
    interval_us = config.bars.interval_us
    with open_ledger(config) as ledger:
        now_us = clock.market_us()
        reach_us = min(config.retrain.history.microseconds, MAX_BARS * interval_us)
        bars = ledger.bars_frame(config.instruments, interval_us, now_us - reach_us, now_us)
    if bars.is_empty():
        raise NothingToTrain(f"{state_dir}: no daemon runs and the store holds no bars; forecastd history fetch first")
    registry = Registry(state_dir / "models")
    run_dir = state_dir / "retraining"
    run_dir.mkdir(parents=True, exist_ok=True)
    data_file = run_dir / "bars.parquet"
    write_parquet(data_file, bars)
    champion = registry.champion()
    try:
        outcome = run_in_foreground(
            training_spec(config, data_file, registry, champion.name if champion else None),
            lambda progress: view.show({"progress": msgspec.to_builtins(progress)}),
            run_dir=run_dir,
            models_dir=registry.root,
            clock=clock,
        )
    finally:
        data_file.unlink(missing_ok=True)
    if outcome.state is State.FINISHED and outcome.artifact is not None:
        registry.promote(Path(outcome.artifact))
    view.show(
        {
            "outcome": "promoted" if outcome.state is State.FINISHED else outcome.state.value,
            "reason": outcome.reason or "trained from the store; served from the daemon's next start",
            "model_id": Path(outcome.artifact).name if outcome.artifact else None,
            "duration_s": round(outcome.duration_s, 1),
        }
    )


class _View:
    """Replies as a progress bar on a terminal, one line each off it, or JSON lines."""

    def __init__(self, *, json: bool) -> None:
        self.started = False
        self.outcome: dict[str, Any] | None = None
        self._json = json
        self._console = Console(stderr=False)
        self._bar = TrainingBar(self._console)
        self._told = -1

    def show(self, reply: dict[str, Any]) -> None:
        self.started = True
        if "outcome" in reply:
            self.outcome = reply
            self.close()
            model = f", model {reply['model_id']}" if reply.get("model_id") else ""
            self.say(reply, f"{reply['outcome']} after {reply['duration_s']} s{model}: {reply['reason']}")
        elif "progress" in reply:
            self._progress(reply)
        else:
            self.say(reply, "retraining started")

    def say(self, reply: dict[str, Any], text: str) -> None:
        sys.stdout.write((jsonlib.dumps(reply) if self._json else text) + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        self._bar.close()

    def _progress(self, reply: dict[str, Any]) -> None:
        progress = msgspec.convert(reply["progress"], TrainingProgress)
        text = progress_text(progress)
        tenth = int(progress.ratio * 10)
        if self._json:
            self.say(reply, "")
        elif self._console.is_terminal:
            self._bar.show(progress)
        elif tenth != self._told:
            self._told = tenth
            self.say(reply, text)
