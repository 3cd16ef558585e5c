"""What a backtest runs over, and what it refuses before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.backtesting.plan import BacktestOptions, BacktestRefused, NoTestBars, chosen_kinds, make_plan
from daemon.config import Config, load_config
from daemon.timestamps import from_iso
from models.evaluation.candidates import RIVALS
from tests.models.synthetic import HOUR_US, START_US, garch_bars

BARS = 5000  # 208 days from 2024-01-01


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    for symbol in ("BTC-USDT", "ETH-USDT"):
        garch_bars(BARS, (symbol,)).write_parquet(folder / f"{symbol}.parquet")
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Config:
    state = {"HOME": "/home/ann", "FORECASTD__INSTANCE__STATE_DIR": str(tmp_path)}
    return load_config(None, environ=state)


def test_the_default_is_the_last_ninety_days_in_three_folds(config: Config, data: Path) -> None:
    """Up to the last close of the data, trained as far back as the configuration says, every baseline beside."""
    plan = make_plan(config, BacktestOptions(data=(data,)))
    assert plan.until_us == START_US + (BARS + 1) * HOUR_US
    assert plan.until_us - plan.from_us == 90 * 24 * HOUR_US
    assert len(plan.folds) == 3
    assert plan.folds[0].train_from_us == START_US
    assert plan.folds[0].test_from_us - plan.folds[0].train_until_us == 24 * HOUR_US
    assert plan.kinds == RIVALS
    assert plan.settings.keep_in is None


def test_dates_symbols_and_folds_are_taken(config: Config, data: Path, tmp_path: Path) -> None:
    """A day or an instant, on the grid of bars; networks are kept below the report."""
    options = BacktestOptions(
        data=(data,), symbols=("ETH-USDT",), start="2024-05-01", end="2024-06-01T11:30", folds=2, report=tmp_path
    )
    plan = make_plan(config, options)
    assert (plan.from_us, plan.until_us) == (from_iso("2024-05-01"), from_iso("2024-06-01T12:00"))
    assert plan.bars["symbol"].unique().to_list() == ["ETH-USDT"]
    assert plan.settings.keep_in == tmp_path / "models"


def test_training_reaches_back_as_far_as_retraining_would(config: Config, data: Path) -> None:
    """``retrain.history`` holds here too."""
    short = config.model_copy(update={"retrain": type(config.retrain).model_validate({"history": "60d"})})
    for fold in make_plan(short, BacktestOptions(data=(data,))).folds:
        assert fold.train_until_us - fold.train_from_us == 60 * 24 * HOUR_US


@pytest.mark.parametrize(
    ("configured", "asked", "measured"), [(True, None, True), (False, None, False), (False, True, True)]
)
def test_calibration_is_measured_as_configured_unless_asked_otherwise(
    config: Config, data: Path, configured: bool, asked: bool | None, measured: bool
) -> None:
    """``model.conformal`` decides; the option overrides it."""
    chosen = config.model_copy(update={"model": type(config.model)(conformal=configured)})
    assert make_plan(chosen, BacktestOptions(data=(data,), conformal=asked)).conformal is measured


def test_several_files_are_one_market(config: Config, data: Path) -> None:
    """In the order in which they are named; a symbol may be in one of them only."""
    files = tuple(data / f"{symbol}.parquet" for symbol in ("ETH-USDT", "BTC-USDT"))
    plan = make_plan(config, BacktestOptions(data=files))
    assert plan.bars["symbol"].unique(maintain_order=True).to_list() == ["ETH-USDT", "BTC-USDT"]
    one = make_plan(config, BacktestOptions(data=files, symbols=("BTC-USDT",)))
    assert one.bars["symbol"].unique().to_list() == ["BTC-USDT"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ("oracle",)}, "--model: there is no oracle; there are lstm, .*lightgbm"),
        ({"baselines": ("tft",)}, "--baselines: there is no tft; there are random_walk"),
        ({"start": "yesterday"}, "--from was 'yesterday'; write a day"),
        ({"end": "2024-13-01"}, "--to was '2024-13-01'; write a day"),
        ({"start": "2023-01-01"}, "within the bars, 2024-01-01T00:00:00Z to 2024-07-27T08:00:00Z"),
        ({"start": "2024-06-01", "end": "2024-05-01"}, "must be in this order"),
        ({"end": "2025-01-01"}, "within the bars"),
        ({"start": "2024-01-01T12:00"}, "fold 1 would have nothing to train on"),
        ({"start": "2024-07-27", "folds": 50}, "cannot be cut into 50 folds"),
        ({"symbols": ("XRP-USDT",)}, "holds no XRP"),
    ],
)
def test_what_does_not_fit_is_said_before_the_work(
    changes: dict[str, object], says: str, config: Config, data: Path
) -> None:
    """One line that names the option and the cure."""
    with pytest.raises(BacktestRefused, match=says):
        make_plan(config, replace(BacktestOptions(data=(data,)), **changes))  # type: ignore[arg-type]  # as named


def test_a_symbol_that_no_file_holds_is_named(config: Config, data: Path) -> None:
    """Also where there are several files."""
    files = tuple(sorted(data.iterdir()))
    with pytest.raises(BacktestRefused, match="holds no XRP-USDT; the symbols in it: BTC-USDT, ETH-USDT"):
        make_plan(config, BacktestOptions(data=files, symbols=("XRP-USDT",)))


def test_a_baseline_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out by default, refused where it is requested."""
    monkeypatch.setattr("models.evaluation.candidates.find_spec", lambda _: None)
    assert chosen_kinds(BacktestOptions()) == ("random_walk", "reversal", "har", "ewma")
    with pytest.raises(BacktestRefused, match=r'lightgbm is not installed: pip install "forecastd\[lightgbm\]"'):
        chosen_kinds(BacktestOptions(baselines=("lightgbm",)))


def test_the_three_stand_beside_whatever_is_chosen() -> None:
    """Those to judge come first, each kind once."""
    options = BacktestOptions(models=("tft", "har"), baselines=("ewma",))
    assert chosen_kinds(options) == ("tft", "har", "ewma", "random_walk", "reversal")


def test_an_empty_store_says_what_to_do(config: Config) -> None:
    """Without files the store is tested on; it holds nothing yet."""
    with pytest.raises(NoTestBars, match="history fetch first, or name files with --data"):
        make_plan(config, BacktestOptions())


def test_values_of_a_preset_are_set_for_the_one_kind_that_is_judged(config: Config, data: Path) -> None:
    """They apply to no baseline beside it; the configured values apply to the configured network."""
    options = BacktestOptions(data=(data,), models=("lightgbm",), overrides=("num_leaves=7",))
    assert {kind: str(each) for kind, each in make_plan(config, options).settings.overrides.items()} == {
        "lightgbm": "num_leaves=7"
    }
    configured = config.model_copy(update={"model": type(config.model)(kind="lstm", overrides=("dropout=0.3",))})
    plan = make_plan(configured, BacktestOptions(data=(data,), models=("lstm", "tft")))
    assert {kind: str(each) for kind, each in plan.settings.overrides.items()} == {"lstm": "dropout=0.3"}
    for models, overrides, says in (
        ((), "dropout=0.1", "--set is of one kind"),
        (("lstm", "tft"), "dropout=0.1", "--set is of one kind"),
        (("lightgbm",), "dropout=0.1", "--set: dropout is set, but lightgbm has"),
        (("lstm",), "dropout", "--set: was 'dropout'; write NAME=VALUE"),
    ):
        with pytest.raises(BacktestRefused, match=says):
            make_plan(config, BacktestOptions(data=(data,), models=models, overrides=(overrides,)))
