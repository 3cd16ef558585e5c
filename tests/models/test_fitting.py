"""The training loop on windows made up for the purpose."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.attention_lstm import AttentionLSTMConfig
from models.fitting import EpochReport, Fitted, Fitting, TrainingDiverged, WindowTensors, predict
from models.presets import Recipe

LEVELS = (0.1, 0.5, 0.9)
NORMAL = np.array([[-1.28, 0.0, 1.28]])
RECIPE = Recipe(
    hidden=8, layers=1, widths=(8,), dropout=0.1, epochs=6, patience=6, batch_size=32, learning_rate=0.01,
    weight_decay=0.0, stride=1,
)  # fmt: skip


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
        returns=torch.from_numpy(returns),
        variances=torch.from_numpy((sigma**2).astype(np.float32))[:, None],
        window=window,
    )


def fit(
    data: WindowTensors, recipe: Recipe = RECIPE, *, stop_after: int | None = None
) -> tuple[Fitted, list[EpochReport]]:
    reports: list[EpochReport] = []
    fitting = Fitting(
        data,
        train=np.arange(450),
        validation=np.arange(470, 600),
        config=AttentionLSTMConfig(
            features=2, window=8, symbols=2, horizons=1, levels=LEVELS, hidden=8, layers=1, widths=(8,)
        ),
        recipe=recipe,
        epochs=recipe.epochs,
        seed=3,
        start_quantiles=NORMAL,
    )
    fitted = fitting.run(on_report=reports.append, stop=lambda: stop_after is not None and len(reports) >= stop_after)
    return fitted, reports


def test_it_learns_a_spread_that_the_scale_does_not_know() -> None:
    """Where a feature tells calm from wild, quantiles and volatility follow it."""
    data = windows()
    fitted, _ = fit(data, replace(RECIPE, epochs=25, patience=25))
    quantiles, log_sigma = predict(fitted.network, data, np.arange(470, 600))
    wild = data.values[data.slot[470:600], 0].numpy() > 0
    width = quantiles[:, 0, 2] - quantiles[:, 0, 0]
    assert width[wild].mean() > 2.5 * width[~wild].mean()
    assert log_sigma[wild].mean() - log_sigma[~wild].mean() > 1.0


def test_two_runs_give_identical_weights_whatever_the_global_seed() -> None:
    """Data, configuration and seed decide; the process's own random state neither matters nor changes."""
    torch.manual_seed(1)
    first, _ = fit(windows())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second, _ = fit(windows())
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name


def test_patience_ends_a_run_that_gets_worse_and_the_best_weights_are_kept() -> None:
    """Where training teaches what validation contradicts, the untrained network is what comes out."""
    data = windows()
    data.returns[:450] = 20.0 * torch.randn(450, 1)
    data.returns[450:] = torch.randn(150, 1)
    data.variances[:450], data.variances[450:] = 400.0, 1.0
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


def test_reports_never_run_backwards() -> None:
    """The ratio rises from step to step and ends at one."""
    _, reports = fit(windows())
    ratios = [report.ratio for report in reports]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    """An infinite feature raises TrainingDiverged; no network comes out."""
    data = windows()
    data.values[100] = torch.inf
    with pytest.raises(TrainingDiverged):
        fit(data)
