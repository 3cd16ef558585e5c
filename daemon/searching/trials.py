"""The run folder: trials as JSON, their forecasts beside them, so that a search that was killed goes on.

search.json                what the search is; another one is refused here
fold-0.npz                 a fold's outcomes, and the forecasts of HAR, random walk and reversal
trial-003.json             what the trial sets, and how it stands
trial-003-fold-0.npz       what it had said in a fold
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from daemon.errors import EXIT_USAGE, Fatal
from models.evaluation.candidates import ALWAYS
from models.evaluation.outcomes import Answers, Outcomes, joined

_KEYS = ("index", "close_time_us", "fold", "log_close", "returns", "variances")


class OtherSearch(Fatal):
    """The folder holds another search, or cannot be used."""

    exit_code = EXIT_USAGE


class Trials:
    """What is done so far, in one folder. Files appear whole, by a rename."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, kind: str, empty: Outcomes) -> None:
        """``empty``: the outcomes of no cut-off, which say interval, horizons, levels and series.

        Raises OtherSearch.
        """
        self.folder = folder
        self._kind = kind
        self._empty = empty
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._claim(json.loads(json.dumps(identity)))
        except OSError as error:
            raise OtherSearch(f"{folder}: cannot be used: {error.strerror}; name another with --run") from error

    def _claim(self, identity: dict[str, Any]) -> None:
        file = self.folder / "search.json"
        if not file.exists():
            _write(file, lambda out: out.write(json.dumps(identity, indent=1).encode()))
            return
        there = json.loads(file.read_text("utf-8"))
        if differs := [name for name in identity if there.get(name) != identity[name]]:
            raise OtherSearch(f"{self.folder} holds another search ({', '.join(differs)} differ); name another --run")

    def has(self, trial: int, fold: int) -> bool:
        return self._answers_file(trial, fold).exists() and self._truth_file(fold).exists()

    def add(self, trial: int, fold: int, outcomes: Outcomes) -> None:
        """Keeps what the trial said in a fold, and the fold's truth where it is the first."""
        if not self._truth_file(fold).exists():
            truth = {name: getattr(outcomes, name) for name in _KEYS}
            said = {name: each for kind in ALWAYS for name, each in _arrays(kind, outcomes.answers[kind]).items()}
            _write(self._truth_file(fold), lambda out: np.savez(out, **truth, **said))
        said = _arrays(self._kind, outcomes.answers[self._kind])
        _write(self._answers_file(trial, fold), lambda out: np.savez(out, **said))

    def outcomes(self, trial: int, folds: list[int]) -> Outcomes:
        """The trial's forecasts in some folds beside the truth and the yardsticks."""
        return joined([self._fold(trial, fold) for fold in folds])

    def note(self, trial: int, content: Mapping[str, Any]) -> None:
        """How the trial stands, for people and programs; what is done is decided by the forecasts alone."""
        text = json.dumps(content, indent=1) + "\n"
        _write(self.folder / f"trial-{trial:03}.json", lambda out: out.write(text.encode()))

    def _fold(self, trial: int, fold: int) -> Outcomes:
        truth, said = _read(self._truth_file(fold)), _read(self._answers_file(trial, fold))
        answers = {kind: _answers(kind, truth) for kind in ALWAYS} | {self._kind: _answers(self._kind, said)}
        arrays: dict[str, Any] = {name: truth[name] for name in _KEYS}
        return replace(self._empty, **arrays, answers=answers)

    def _truth_file(self, fold: int) -> Path:
        return self.folder / f"fold-{fold}.npz"

    def _answers_file(self, trial: int, fold: int) -> Path:
        return self.folder / f"trial-{trial:03}-fold-{fold}.npz"


def _arrays(kind: str, answers: Answers) -> dict[str, Any]:
    return {f"{kind}_quantiles": answers.quantiles, f"{kind}_volatility": answers.volatility}


def _answers(kind: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Answers:
    return Answers(arrays[f"{kind}_quantiles"], arrays[f"{kind}_volatility"], None)


def _read(file: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _write(file: Path, fill: Callable[[IO[bytes]], object]) -> None:
    aside = file.with_name(f".{file.name}.new")
    try:
        with aside.open("wb") as out:
            fill(out)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
