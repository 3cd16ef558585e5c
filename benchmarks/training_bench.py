"""How fast networks train: windows gathered by index, beside the same network and steps in a plain DataLoader loop."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.inference_bench import WINDOW, config_of
from benchmarks.table import Row, ratio, row
from features.calendar import CALENDAR
from features.catalogue import FEATURE_NAMES
from models.networks.builder import build_member
from models.networks.heads import log_variance_loss, pinball_loss
from models.networks.network_forecaster import use_one_thread
from models.presets import PRESETS
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS
from models.training.batches import SplitWindows, WindowTensors
from models.training.fitting import VOLATILITY_WEIGHT, Fitting

_TURNS = 5


def run() -> list[Row]:
    """The rows of the benchmark table: name, value, unit, guide."""
    use_one_thread()
    rows: list[Row] = []
    for kind, presets in PRESETS.items():
        for preset in presets:
            if preset == "large":
                continue
            ours = _windows_a_second(kind, preset)
            rows.append(row(f"training, {kind} {preset}, one thread", ours, "windows/s"))
            if preset == "small":
                turns = [(_windows_a_second(kind, preset), _loaded_a_second(kind, preset)) for _ in range(_TURNS)]
                faster = ratio(*zip(*turns, strict=True))
                rows.append(row(f"training, {kind} small, over a DataLoader loop", faster, "ratio", 3.0, at_least=True))
    return rows


def _windows_a_second(kind: str, preset: str) -> float:
    """Rate of training steps on generated windows, evaluation left out."""
    recipe = PRESETS[kind][preset].recipe
    count = recipe.batch_size * recipe.stride * 2
    fitting = Fitting(
        SplitWindows(_made_up(count + 1), np.arange(count), np.arange(count, count + 1), DEFAULT_HORIZONS),
        config=config_of(kind, preset),
        recipe=replace(recipe, epochs=3),
        seed=0,
        start_quantiles=np.tile(np.linspace(-2.0, 2.0, len(DEFAULT_LEVELS)), (len(DEFAULT_HORIZONS), 1)),
    )
    times: list[float] = []
    fitting.run(on_report=lambda _: times.append(time.perf_counter()), stop=lambda: False)
    steps = [later - earlier for earlier, later in pairwise(times)]
    steps = [step for index, step in enumerate(steps) if index % 3 == 0]  # a step, then an evaluation, then the next
    return recipe.batch_size / float(np.median(steps))


def _loaded_a_second(kind: str, preset: str) -> float:
    """The same network, losses and optimiser, each window an item of a Dataset, put together by a DataLoader."""
    recipe = PRESETS[kind][preset].recipe
    network = build_member(config_of(kind, preset)).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    loader = DataLoader(_Items(_made_up(recipe.batch_size * 6)), batch_size=recipe.batch_size, shuffle=True)
    levels = torch.tensor(DEFAULT_LEVELS)
    times = [time.perf_counter()]
    for *given, returns, log_variances in loader:
        output = network(*given)
        loss = pinball_loss(returns, output.quantiles, levels)
        loss = loss + VOLATILITY_WEIGHT * log_variance_loss(log_variances, output.log_sigma)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        times.append(time.perf_counter())
    return recipe.batch_size / float(np.median([later - earlier for earlier, later in pairwise(times)]))


class _Items(Dataset[tuple[Tensor, ...]]):
    """One window an item, sliced on access, as in tutorials."""

    def __init__(self, windows: WindowTensors) -> None:
        self._windows = windows

    def __len__(self) -> int:
        return len(self._windows.slot)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        windows = self._windows
        stop = int(windows.slot[index]) + 1
        hours = slice(stop - windows.window, stop)
        return (
            windows.values[hours], windows.mask[hours], windows.symbol[index], windows.calendar[index],
            windows.returns[index], windows.log_variances[index],
        )  # fmt: skip


def _made_up(count: int) -> WindowTensors:
    horizons = len(DEFAULT_HORIZONS)
    return WindowTensors(
        values=torch.randn(count + WINDOW, len(FEATURE_NAMES)),
        mask=torch.ones(count + WINDOW, dtype=torch.bool),
        slot=torch.arange(count) + WINDOW,
        symbol=torch.ones(count, dtype=torch.int64),
        calendar=torch.zeros(count, horizons, len(CALENDAR)),
        returns=torch.randn(count, horizons),
        log_variances=torch.randn(count, horizons),
        age_days=torch.zeros(count),
        window=WINDOW,
    )
