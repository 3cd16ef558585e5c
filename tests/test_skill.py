"""The account of skill: months fitted before they begin, outcomes that are kept whole, a table that can say no."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.skill.account import account
from benchmarks.skill.keeping import fold_file, keep, kept
from benchmarks.skill.page import tables
from benchmarks.skill.plan import DAY_US, SYMBOLS, SkillRun, tasks
from models.evaluation.outcomes import Outcomes
from models.evaluation.walkforward import FoldTask
from tests.models.known_outcomes import normal, outcomes, with_baselines

COUNT = 4000
RANDOM = np.random.default_rng(3)
SIGMA = 0.01 * np.exp(0.5 * RANDOM.standard_normal(COUNT))
RETURNS = SIGMA * RANDOM.standard_normal(COUNT)
KIND = "lstm"


def published(mine: np.ndarray) -> Outcomes:
    """A year's part in which ``mine`` is the network's standard deviation, and HAR and LightGBM know one width only."""
    answers = with_baselines(RETURNS, 0.0113, **{KIND: normal(mine, RETURNS), "lightgbm": normal(0.0113, RETURNS)})
    return outcomes(RETURNS, answers, variances=SIGMA**2)


@pytest.fixture(scope="module")
def klines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up hours of three symbols, from November 2024 to a day in March 2025."""
    folder = tmp_path_factory.mktemp("klines")
    begin_ms, hours = 1_730_419_200_000, 24 * 130
    walk = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.005, hours)))
    for symbol in SYMBOLS:
        pl.DataFrame(
            {
                "symbol": [symbol.replace("-", "")] * hours,
                "exchange": ["binance"] * hours,
                "open_time": begin_ms + np.arange(hours) * 3_600_000,
                "open": walk, "high": walk * 1.01, "low": walk * 0.99, "close": walk,
                "volume": np.ones(hours), "quote_volume": walk, "trades": np.full(hours, 9),
                "taker_buy_volume": np.full(hours, 0.5), "taker_buy_quote_volume": walk / 2,
            }
        ).write_parquet(folder / f"binance_{symbol.replace('-', '')}_1h.parquet")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def months(klines: Path) -> list[FoldTask]:
    return tasks(SkillRun(data=klines, folder=klines / "report", months=2))


def test_a_year_that_is_not_over_has_the_months_that_have_begun(klines: Path) -> None:
    """The last of them as far as it goes; of a year that has not begun nothing is included."""
    run = SkillRun(data=klines, folder=klines / "report")
    *_, march = tasks(run)
    assert march.fold.index == 2
    assert march.fold.test_from_us < march.bars["open_time_us"].max() < march.fold.test_until_us  # type: ignore[operator]
    with pytest.raises(ValueError, match="2026"):
        tasks(replace(run, year=2026))


def test_each_month_is_fitted_a_day_before_it_begins(months: list[FoldTask]) -> None:
    """The longest horizon lies between what is fitted and what is forecast, and the months follow each other."""
    january, february = (task.fold for task in months)
    assert january.test_until_us == february.test_from_us
    for fold in (january, february):
        assert fold.train_until_us == fold.test_from_us - DAY_US
    assert all({"har", "lightgbm", "random_walk"} < set(task.kinds) for task in months)


def test_what_is_kept_is_what_was_made(months: list[FoldTask], tmp_path: Path) -> None:
    """Read again whole; another recipe, other data or another seed is another file."""
    task = replace(months[0], kinds=(KIND, "lightgbm", "har", "random_walk", "reversal"))
    made = published(SIGMA)
    task = replace(
        task, series=made.series, settings=replace(task.settings, horizons=made.horizons, levels=made.levels)
    )
    file = fold_file(tmp_path, task)
    assert kept(file, task) is None
    keep(file, made)
    again = kept(file, task)
    assert again is not None
    np.testing.assert_array_equal(again.returns, made.returns)
    for kind, answers in made.answers.items():
        np.testing.assert_array_equal(again.answers[kind].quantiles, answers.quantiles)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert fold_file(tmp_path, replace(task, settings=replace(task.settings, seed=1))) != file
    assert fold_file(tmp_path, replace(task, bars=task.bars.head(100))) != file


def test_who_knows_more_meets_the_targets_and_who_does_not_misses_them() -> None:
    """The table says yes and no by the figures, not by the name."""
    knows, guesses = (account(published(sigma), KIND) for sigma in (SIGMA, np.full(COUNT, 0.03)))
    assert knows[0].calibrated["har"].value < 0.98 < guesses[0].raw["har"].value
    said = {name: "\n".join(tables(lines, KIND)) for name, lines in (("knows", knows), ("guesses", guesses))}
    assert "| pinball at least 2% below HAR | yes |" in said["knows"]
    assert "| R2 of log variance at least 0.03 above HAR | yes |" in said["knows"]
    assert "| pinball at least 2% below HAR | no |" in said["guesses"]
    assert "| R2 of log variance at least 0.03 above HAR | no |" in said["guesses"]


def test_too_few_outcomes_give_no_table() -> None:
    """No table without outcomes."""
    few = published(SIGMA)
    with pytest.raises(ValueError, match="too few"):
        account(replace(few, returns=np.full_like(few.returns, np.nan)), KIND)
