"""The program that each process of ``test_ranks`` runs: ``torchrun -m tests.models.training.ranked FOLDER``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.training.fitting import Fitted, Fitting
from models.training.ranks import ALONE, Ranks, RanksDiffer, joined_ranks
from tests.models.training.test_fitting import CONFIGS, NORMAL, RECIPE, split, windows


def fit(kind: str, ranks: Ranks = ALONE, *, dropout: float = 0.0, epochs: int = 2, **options: Any) -> Fitted:
    """Without dropout the result depends on the data alone; in two epochs rounding errors stay small."""
    fitting = Fitting(
        split(windows(), last=449),  # the last batch has one window, too few to be shared
        config=replace(CONFIGS[kind], dropout=dropout, symbol_dropout=0.0),
        recipe=replace(RECIPE, epochs=epochs),
        start_quantiles=NORMAL,
        ranks=ranks,
        **{"seed": 3, **options},
    )
    return fitting.run(on_report=lambda _: None, stop=lambda: False)


def main(folder: Path) -> None:
    """Fits each kind, and writes the weights and loss of this process."""
    torch.set_num_threads(1)
    with joined_ranks(torch.device("cpu")) as ranks:
        results: dict[str, Any] = {"size": ranks.size}
        for kind in CONFIGS:
            fitted = fit(kind, ranks)
            save_file(fitted.network.state_dict(), folder / f"{kind}-{ranks.rank}.safetensors")
            results[kind] = {"loss": fitted.validation_loss, "best_epoch": fitted.best_epoch}
        # With dropout, killed after the second epoch and resumed, compared with a run that was not killed.
        whole = fit("lstm", ranks, dropout=0.3, epochs=4)
        checkpoint = folder / "lstm.checkpoint"
        part = fit_until(2, ranks, checkpoint)
        results["resumed"] = [whole.validation_loss, part.validation_loss]
        try:
            ranks.check_alike("numbers", {"rank": torch.tensor(ranks.rank)})
        except RanksDiffer as error:
            results["differ"] = str(error)
        results["agreed"] = ranks.agreed(ranks.first, torch.device("cpu"))
        (folder / f"results-{ranks.rank}.json").write_text(json.dumps(results))


class Killed(Exception):
    pass


def fit_until(epoch: int, ranks: Ranks, checkpoint: Path) -> Fitted:
    """Interrupts the fit of every process in the epoch after ``epoch``, then resumes it."""

    def fitting() -> Fitting:
        return Fitting(
            split(windows(), last=449),
            config=replace(CONFIGS["lstm"], dropout=0.3, symbol_dropout=0.0),
            recipe=replace(RECIPE, epochs=4),
            seed=3,
            start_quantiles=NORMAL,
            checkpoint_file=checkpoint,
            ranks=ranks,
        )

    def stop_here(report: Any) -> None:
        if report.epoch > epoch:
            raise Killed

    try:
        fitting().run(on_report=stop_here, stop=lambda: False)
    except Killed:
        return fitting().run(on_report=lambda _: None, stop=lambda: False)
    raise AssertionError("nothing was broken off")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
