"""A search: the data that it may read, its resumption after a kill, and its report."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from daemon.backtesting.plan import BacktestOptions, BacktestRefused
from daemon.cli.commands.console import open_console
from daemon.config import Config, load_config
from daemon.executing.base import Cancelled
from daemon.executing.local import InProcess
from daemon.searching.document import SCHEMA, print_search, search_document
from daemon.searching.plan import SearchOptions, SearchPlan, identity, make_search_plan
from daemon.searching.running import Listener, Piece, TrialResult, ranked, run_search
from daemon.searching.trials import OtherSearch, Trials
from features.frames import PRICES
from models.evaluation.objective import METRICS
from models.evaluation.skill import Estimate
from models.overrides import Overrides
from tests.models.synthetic import garch_bars
from tests.paths import ROOT

BEGIN, END = "2024-02-09", "2024-02-19"  # of data from 2024-01-01 to 2024-02-20
FIXED = ("hidden=16", "batch_size=512")  # small and quick


def bars_file(folder: Path, *, spoiled_from: str | None = None) -> Path:
    """Bars of one symbol; other prices from ``spoiled_from`` on."""
    bars = garch_bars(1220, ("BTC-USDT",))
    if spoiled_from is not None:
        later = pl.from_epoch("open_time_us", time_unit="us") >= pl.lit(spoiled_from).str.to_datetime()
        bars = bars.with_columns(pl.when(later).then(9.0 * pl.col(name)).otherwise(name).alias(name) for name in PRICES)
    folder.mkdir(exist_ok=True)
    file = folder / "bars.parquet"
    bars.write_parquet(file)
    return file


def options(file: Path, **changes: Any) -> SearchOptions:
    over = BacktestOptions(data=(file,), start=BEGIN, end=END, folds=2, epochs=1, preset="small", overrides=FIXED)
    return replace(SearchOptions(kind="lstm", over=over, trials=2), **changes)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    environ = {
        "HOME": "/home/ann",
        "FORECASTD__INSTANCE__STATE_DIR": str(tmp_path / "state"),
        "FORECASTD__MODEL__HORIZONS": "[1, 2]",
        "FORECASTD__MODEL__DEVICE": "cpu",
    }
    return load_config(None, environ=environ)


def test_nothing_after_the_end_is_known(config: Config, tmp_path: Path) -> None:
    """Other prices from --to on change neither a bar that a trial is given nor what the search is."""
    plan = make_search_plan(config, options(bars_file(tmp_path / "a")))
    other = make_search_plan(config, options(bars_file(tmp_path / "b", spoiled_from=END)))
    assert plan.later
    assert plan.backtest.bars.equals(other.backtest.bars)
    assert identity(plan) == identity(other)
    assert plan.run == other.run
    closes = plan.backtest.bars["open_time_us"] + plan.backtest.settings.interval_us
    assert closes.max() == plan.backtest.until_us
    for task in plan.tasks():
        assert (task.bars["open_time_us"] + plan.backtest.settings.interval_us).max() <= plan.backtest.until_us  # type: ignore[operator]
    earlier = make_search_plan(config, options(bars_file(tmp_path / "c", spoiled_from=BEGIN)))
    assert identity(earlier) != identity(plan)


def test_what_does_not_fit_is_refused_in_words(config: Config, tmp_path: Path) -> None:
    """Before anything is trained."""
    file = bars_file(tmp_path)
    for changes, says in (
        ({"kind": "har"}, "--model: har has no hyper-parameters; name one of lstm, attention_lstm"),
        ({"metric": "mape"}, "--metric was 'mape'; there are pinball, crps"),
        ({"strategy": "grid"}, "--strategy was 'grid'; there are halving, random"),
    ):
        with pytest.raises(BacktestRefused, match=says):
            make_search_plan(config, options(file, **changes))
    short = options(file, over=replace(options(file).over, folds=20))
    with pytest.raises(BacktestRefused, match="--folds: a trial is judged by 12 bars at first, too few for 2 bars"):
        make_search_plan(config, short)
    make_search_plan(config, replace(short, strategy="random"))


class RecordedProgress:
    """Records a search's progress; simulates Ctrl-C after ``stop_after`` pieces."""

    def __init__(self, stop_after: int = 99) -> None:
        self.planned: list[Piece] = []
        self.done = 0
        self._stop_after = stop_after
        self.listener = Listener(self.planned.extend, lambda _index, _step: None, self._count, lambda _i, _r: None)

    def _count(self, _index: int) -> None:
        self.done += 1
        if self.done == self._stop_after:
            raise KeyboardInterrupt


def searched(plan: SearchPlan, recorded: RecordedProgress) -> list[TrialResult]:
    trials = Trials(plan.run, identity(plan), kind=plan.kind, empty=plan.no_outcomes)
    return run_search(plan, trials, InProcess(), recorded.listener)


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on(config: Config, tmp_path: Path) -> None:
    """It does only what is missing and ends where one that was left alone ends; by another metric it does nothing."""
    plan = make_search_plan(config, options(bars_file(tmp_path)))
    with pytest.raises(Cancelled, match="cancelled; 1 of 2 tasks"):
        searched(plan, RecordedProgress(stop_after=1))
    rest = RecordedProgress()
    results = searched(plan, rest)
    # Two trials on the newest fold, one of them done before; both, the preset being one, on the other.
    # Both on the newest fold, of which one was done before; then the better and the preset, be it one or two, on both.
    assert rest.planned[0] == Piece(1, 1)
    assert Piece(0, 0) in rest.planned
    assert {each.trial: each.folds for each in results}[0] == 2
    alone, recorded = replace(plan, run=tmp_path / "alone"), RecordedProgress()
    assert searched(alone, recorded) == results
    assert recorded.done == 1 + rest.done
    again = RecordedProgress()
    by_qlike = searched(replace(plan, metric_name="qlike", strategy="random", trials=1), again)
    assert again.planned == []
    assert by_qlike[0].value not in {each.value for each in results}
    note = json.loads((plan.run / "trial-001.json").read_text())
    assert note["set"] == plan.overrides(1).given
    assert note["folds"][-1] == 1


def test_a_folder_of_another_search_is_refused(config: Config, tmp_path: Path) -> None:
    """It says what differs; more trials or another metric are no other search."""
    file = bars_file(tmp_path)
    plan = make_search_plan(config, options(file, run=tmp_path / "run"))
    Trials(plan.run, identity(plan), kind="lstm", empty=plan.no_outcomes)
    more = make_search_plan(config, options(file, run=tmp_path / "run", trials=9, metric="crps"))
    Trials(more.run, identity(more), kind="lstm", empty=more.no_outcomes)
    other = make_search_plan(config, options(file, run=tmp_path / "run", seed=5))
    with pytest.raises(OtherSearch, match=r"holds another search \(seed differ\); name another --run"):
        Trials(other.run, identity(other), kind="lstm", empty=other.no_outcomes)


def result(trial: int, folds: int, value: float) -> TrialResult:
    one = Estimate(1.0, 0.0)
    return TrialResult(
        trial, Overrides(dropout=trial / 10) if trial else Overrides(), folds, Estimate(value, 0.1), one, one
    )


def test_the_best_is_one_that_went_to_the_end() -> None:
    """A better figure on fewer folds is no better; no figure at all is last."""
    nan = float("nan")
    results = [result(0, 4, 1.0), result(1, 4, 0.9), result(2, 1, 0.5), result(3, 4, nan)]
    assert [each.trial for each in ranked(results, METRICS["pinball"])] == [1, 0, 3, 2]
    assert [each.trial for each in ranked(results, METRICS["direction"])] == [0, 1, 3, 2]


def test_the_table_says_how_the_best_is_used(config: Config, tmp_path: Path) -> None:
    """As a command, as lines of the configuration that load, and the command that judges it on later hours."""
    plan = make_search_plan(config, options(bars_file(tmp_path)))
    document = search_document(plan, [result(3, 2, 0.98), result(0, 2, 1.01), result(1, 1, 0.97)])
    out = io.StringIO()
    print_search(open_console(out, width=200), document)
    text = out.getvalue()
    assert "0.9800 ± 0.1000" in text
    assert "forecastd train --model lstm --preset small --epochs 1 --set dropout=0.3" in text
    assert (
        "forecastd backtest --from 2024-02-19T00:00:00Z --model lstm --preset small --epochs 1 --set dropout=0.3"
        in text
    )
    file = tmp_path / "found.toml"
    file.write_text(document["best"]["config"])
    loaded = load_config(file, environ={"HOME": "/home/ann"})
    assert (loaded.model.preset, loaded.model.overrides) == ("small", ("dropout=0.3",))
    nothing = search_document(plan, [result(0, 2, 0.98), result(1, 2, 1.01)])
    out = io.StringIO()
    print_search(open_console(out, width=200), nothing)
    assert "nothing that was tried is better than the preset" in out.getvalue()


@pytest.mark.long
@pytest.mark.slow
def test_the_command_searches_in_processes(tmp_path: Path) -> None:
    """One JSON document, also kept in the run folder, with HAR and the random walk beside every trial."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "daemon", "search", "--model", "lstm", "--data", str(bars_file(tmp_path))),
            *("--from", BEGIN, "--to", END, "--folds", "1", "--trials", "2", "--epochs", "1", "--preset", "small"),
            *("--set", ",".join(FIXED), "--run", str(tmp_path / "run"), "--workers", "2", "--json"),
        ],
        env={
            **os.environ,
            "FORECASTD__INSTANCE__STATE_DIR": str(tmp_path),
            "FORECASTD__MODEL__HORIZONS": "[1, 2]",
            "FORECASTD__MODEL__DEVICE": "cpu",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    recorded = json.loads(done.stdout)
    assert recorded == json.loads((tmp_path / "run" / "result.json").read_text())
    assert (recorded["schema"], recorded["kind"], recorded["preset"], recorded["fixed"]) == (
        *(SCHEMA, "lstm", "small"),
        {"batch_size": 512, "hidden": 16},
    )
    assert {each["trial"] for each in recorded["trials"]} == {0, 1}
    for each in recorded["trials"]:
        assert 0.8 < each["value"]["value"] < 1.3
        assert each["value"]["se"] > 0
        assert each["har"] == {"value": pytest.approx(1.0), "se": pytest.approx(0.0, abs=1e-9)}
        assert each["random_walk"]["se"] > 0
    lines = done.stderr.splitlines()
    assert {line.partition(":")[0] for line in lines} == {f"trial {trial}, retraining 1/1" for trial in (0, 1)}
    assert lines[-1].endswith(": done, 2 of 2")
