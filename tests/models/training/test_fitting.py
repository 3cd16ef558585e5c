"""The training loop on synthetic windows."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.networks.attention_lstm import AttentionLSTMConfig
from models.networks.heads import log_variance_loss, pinball_loss
from models.networks.lstm import LSTMConfig
from models.networks.tft import TFTConfig
from models.networks.transformer import TransformerConfig
from models.presets import PRESETS, Recipe
from models.training.averaging import WeightAverage
from models.training.batches import SplitWindows, WindowTensors, predict
from models.training.fitting import VOLATILITY_WEIGHT, EpochReport, Fitted, Fitting, TrainingDiverged

LEVELS = (0.1, 0.5, 0.9)
NORMAL = np.array([[-1.28, 0.0, 1.28]])
RECIPE = Recipe(epochs=6, patience=6, batch_size=32, learning_rate=0.01, weight_decay=0.0, stride=1, average_decay=0.9)


def windows(count: int = 600, *, window: int = 8) -> WindowTensors:
    """The spread of the label is 3 where the newest feature is positive and 1/3 where it is not."""
    random = np.random.default_rng(0)
    values = random.standard_normal((count + window, 2)).astype(np.float32)
    slot = np.arange(count) + window
    sigma = np.where(values[slot, 0] > 0, 3.0, 1 / 3)
    returns = (sigma * random.standard_normal(count)).astype(np.float32)[:, None]
    return WindowTensors(
        values=torch.from_numpy(values),
        mask=torch.ones(len(values), dtype=torch.bool),
        slot=torch.from_numpy(slot),
        symbol=torch.ones(count, dtype=torch.int64),
        calendar=torch.zeros(count, 1, 9),
        returns=torch.from_numpy(returns),
        log_variances=torch.from_numpy(2.0 * np.log(sigma)).float()[:, None],
        age_days=torch.zeros(count),
        window=window,
    )


SHARED: dict[str, Any] = {"features": 2, "window": 8, "symbols": 2, "horizons": 1, "levels": LEVELS, "hidden": 8}
CONFIGS = {
    "lstm": LSTMConfig(**SHARED, layers=1, widths=(8,)),
    "attention_lstm": AttentionLSTMConfig(**SHARED, layers=1, widths=(8,)),
    "transformer": TransformerConfig(**SHARED, layers=1, feedforward=16, widths=(8,)),
    "tft": TFTConfig(**SHARED, volatility=(0,), direction=(1,), variable=2, heads=2),
}


def fitting_of(data: WindowTensors, recipe: Recipe = RECIPE, kind: str = "attention_lstm", **options: Any) -> Fitting:
    given: dict[str, Any] = {"seed": 3, "start_quantiles": NORMAL} | options
    return Fitting(split(data), config=CONFIGS[kind], recipe=recipe, **given)


def split(data: WindowTensors, first: int = 0, last: int = 450, horizons: Sequence[int] = (1,)) -> SplitWindows:
    """Trains on the samples from ``first`` to ``last``, validates on those after 470."""
    return SplitWindows(data, np.arange(first, last), np.arange(470, 600), horizons)


def fit(
    data: WindowTensors, recipe: Recipe = RECIPE, kind: str = "attention_lstm", *, stop_after: int | None = None
) -> tuple[Fitted, list[EpochReport]]:
    reports: list[EpochReport] = []
    fitting = fitting_of(data, recipe, kind)
    fitted = fitting.run(on_report=reports.append, stop=lambda: stop_after is not None and len(reports) >= stop_after)
    return fitted, reports


def test_every_kind_is_tested() -> None:
    """The list of kinds below is complete."""
    assert list(CONFIGS) == list(PRESETS)


@pytest.mark.parametrize("kind", ["lstm", *(pytest.param(each, marks=pytest.mark.long) for each in list(CONFIGS)[1:])])
def test_it_learns_a_spread_that_the_scale_does_not_know(kind: str) -> None:
    """If a feature separates calm from volatile windows, quantiles and volatility follow it."""
    data = windows()
    fitted, _ = fit(data, replace(RECIPE, epochs=25, patience=25), kind)
    quantiles, log_sigma = predict(fitted.network, data, np.arange(470, 600))
    wild = data.values[data.slot[470:600], 0].numpy() > 0
    width = quantiles[:, 0, 2] - quantiles[:, 0, 0]
    assert width[wild].mean() > 2.5 * width[~wild].mean()
    assert log_sigma[wild].mean() - log_sigma[~wild].mean() > 1.0


def test_two_runs_give_identical_weights_whatever_the_global_seed() -> None:
    """Only data, configuration and seed matter; the global random state has no effect and is unchanged."""
    torch.manual_seed(1)
    first, _ = fit(windows())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second, _ = fit(windows())
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


class Killed(Exception):
    """Simulates the end of the process: no further code of the run executes."""


@pytest.mark.parametrize(
    ("kind", "killed_at"),
    [
        ("lstm", 20),
        *(pytest.param("lstm", step, marks=pytest.mark.long) for step in (1, 46)),
        *(pytest.param(each, 20, marks=pytest.mark.long) for each in list(CONFIGS)[1:]),
    ],
)
def test_a_killed_run_resumes_and_ends_with_the_same_weights(kind: str, killed_at: int, tmp_path: Path) -> None:
    """Killed in its first, second or fourth epoch and started again, it equals the uninterrupted run."""
    undisturbed = fitting_of(windows(), kind=kind).run(on_report=lambda _: None, stop=lambda: False)
    file, steps = tmp_path / "seed-3.safetensors", iter(range(1, 1000))

    def killed() -> bool:
        if next(steps) == killed_at:
            raise Killed
        return False

    with pytest.raises(Killed):
        fitting_of(windows(), kind=kind, checkpoint_file=file).run(on_report=lambda _: None, stop=killed)
    assert file.exists() == (killed_at > 15)
    torch.manual_seed(killed_at)
    again = fitting_of(windows(), kind=kind, checkpoint_file=file)
    reports: list[EpochReport] = []
    fitted = again.run(on_report=reports.append, stop=lambda: False)
    assert reports[0].epoch == 1 + killed_at // 15
    assert (fitted.best_epoch, fitted.validation_loss) == (undisturbed.best_epoch, undisturbed.validation_loss)
    for name, tensor in undisturbed.network.state_dict().items():
        assert torch.equal(tensor, fitted.network.state_dict()[name]), name
    again.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    """Killed between its last epoch and its artifact, a run returns the result of its checkpoint."""
    file = tmp_path / "seed-3.safetensors"
    first = fitting_of(windows(), checkpoint_file=file).run(on_report=lambda _: None, stop=lambda: False)
    reports: list[EpochReport] = []
    again = fitting_of(windows(), checkpoint_file=file).run(on_report=reports.append, stop=lambda: False)
    assert reports == []
    assert again.stopped == first.stopped
    assert torch.equal(again.network.symbol.weight, first.network.symbol.weight)


@pytest.mark.parametrize(
    "spoil", ["data", "cut", *(pytest.param(each, marks=pytest.mark.long) for each in ("recipe", "seed"))]
)
def test_a_checkpoint_of_another_run_is_ignored(spoil: str, tmp_path: Path) -> None:
    """Other data, another recipe or seed, or a truncated file: the run starts from the beginning."""
    file = tmp_path / "seed-3.safetensors"
    fitting_of(windows(), checkpoint_file=file).run(on_report=lambda _: None, stop=lambda: False)
    data, recipe, seed = windows(), RECIPE, 3
    if spoil == "data":
        data.returns[5] += 1e-3
    elif spoil == "recipe":
        recipe = replace(RECIPE, learning_rate=0.02)
    elif spoil == "seed":
        seed = 4
    else:
        file.write_bytes(file.read_bytes()[:-10])
    reports: list[EpochReport] = []
    fitting_of(data, recipe, seed=seed, checkpoint_file=file).run(on_report=reports.append, stop=lambda: False)
    assert reports[0].epoch == 1


@pytest.mark.long
def test_half_precision_trains(tmp_path: Path) -> None:
    """In bfloat16, as on CUDA, the loss falls and the weights stay float32."""
    data = windows()
    # Without oneDNN: whether its LSTM supports bfloat16 depends on the processor.
    with torch.backends.mkldnn.flags(enabled=False):
        fitting = fitting_of(data, replace(RECIPE, epochs=10), mixed_precision=True)
        before = fitting.evaluate()
        fitted = fitting.run(on_report=lambda _: None, stop=lambda: False)
    assert fitted.validation_loss < before - 0.1
    assert {tensor.dtype for tensor in fitted.network.state_dict().values()} == {torch.float32}


def test_the_average_of_the_weights_is_kept() -> None:
    """The average follows its formula, short memory first; without decay it is the weights themselves."""
    weights = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(weights.weight)
    average, none = WeightAverage(weights, decay=0.5), WeightAverage(weights, decay=0.0)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)):
        torch.nn.init.constant_(weights.weight, value)
        average.update()
        none.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.network.weight.item() == pytest.approx(expected)
        assert none.network.weight.item() == value
    assert not average.network.weight.requires_grad


def test_early_stopping_ends_a_run_and_keeps_the_best_weights() -> None:
    """If validation contradicts training, the untrained network is the result."""
    data = windows()
    data.returns[:450] = 20.0 * torch.randn(450, 1)
    data.returns[450:] = torch.randn(150, 1)
    data.log_variances[:450], data.log_variances[450:] = math.log(400.0), 0.0
    fitted, _ = fit(data, replace(RECIPE, patience=2))
    assert fitted.stopped == "patience"
    assert (fitted.best_epoch, fitted.epochs_run) == (0, 2)
    quantiles, _ = predict(fitted.network, data, np.arange(450, 600))
    np.testing.assert_allclose(quantiles.mean(axis=0), NORMAL, atol=0.15)


def test_stop_ends_the_run_between_steps() -> None:
    """When the time is up the run ends within the epoch, with a result."""
    fitted, reports = fit(windows(), stop_after=3)
    assert fitted.stopped == "time"
    assert reports[-1].epoch == 1
    assert math.isfinite(fitted.validation_loss)


def test_the_reported_ratio_never_decreases() -> None:
    """The ratio rises from step to step and ends at one."""
    _, reports = fit(windows())
    ratios = [report.ratio for report in reports]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    """An infinite feature raises TrainingDiverged; there is no result."""
    data = windows()
    data.values[100] = torch.inf
    with pytest.raises(TrainingDiverged):
        fit(data)


@pytest.mark.long
def test_newer_windows_outweigh_older_ones_that_contradict_them() -> None:
    """Spread 3 where the feature is positive in the newer half, where it is negative in the older one."""
    data = windows()
    old = np.arange(600) < 300
    newest = data.values[data.slot, 0].numpy()
    sigma = np.where((newest > 0) ^ old, 3.0, 1 / 3)
    returns = sigma * np.random.default_rng(1).standard_normal(600)
    data = replace(
        data,
        returns=torch.from_numpy(returns).float()[:, None],
        log_variances=torch.from_numpy(2.0 * np.log(sigma)).float()[:, None],
        age_days=torch.from_numpy(np.where(old, 100.0, 0.0)).float(),
    )
    wild = newest[470:] > 0

    def spread_ratio(half_life_days: float | None) -> float:
        """Predicted spread of recently volatile windows over that of formerly volatile ones."""
        recipe = replace(RECIPE, epochs=25, patience=25, half_life_days=half_life_days)
        fitting = Fitting(split(data, first=150), config=CONFIGS["lstm"], recipe=recipe, seed=3, start_quantiles=NORMAL)
        fitted = fitting.run(on_report=lambda _: None, stop=lambda: False)
        quantiles, _ = predict(fitted.network, data, np.arange(470, 600))
        width = quantiles[:, 0, 2] - quantiles[:, 0, 0]
        return float(width[wild].mean() / width[~wild].mean())

    assert spread_ratio(10.0) > 2.0 * spread_ratio(None)


def test_a_long_horizon_counts_by_the_square_of_its_length() -> None:
    """The validation loss is that of one bar ahead and, for 1/4, that of two; unknown labels have no weight."""
    one = windows()
    longer = one.returns.roll(1, 0)
    longer[:520] = torch.nan
    data = replace(
        one,
        calendar=torch.zeros(600, 2, 9),
        returns=torch.cat([one.returns, longer], 1),
        log_variances=torch.cat([one.log_variances, one.log_variances + 1.0], 1),
    )
    validation = np.arange(470, 600)
    fitting = Fitting(
        split(data, horizons=(1, 2)),
        config=replace(CONFIGS["lstm"], horizons=2),
        recipe=replace(RECIPE, epochs=1),
        seed=3,
        start_quantiles=np.repeat(NORMAL, 2, axis=0),
    )
    network = fitting.network.eval()
    quantiles, log_sigma = (torch.from_numpy(each).float() for each in predict(network, data, validation))
    columns, counts = (0, 1), np.array([1.0, 1 / 4])
    pinballs = [
        pinball_loss(data.returns[470:, [each]], quantiles[:, [each]], torch.tensor(LEVELS)) for each in columns
    ]
    losses = [log_variance_loss(data.log_variances[470:, [each]], log_sigma[:, [each]]) for each in columns]
    expected = np.average(pinballs, weights=counts * (130, 80))
    expected += VOLATILITY_WEIGHT * np.average(losses, weights=counts)
    assert fitting.evaluate(network) == pytest.approx(expected, rel=1e-5)
