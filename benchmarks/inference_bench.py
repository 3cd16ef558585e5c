"""What a forecast costs beside the bare network, alone and beside a busy process.

The reference network with its weights as they are drawn: how long it takes does not depend on what it learned.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import torch

from benchmarks.table import Row, row
from features.buffer import FeatureBuffer
from features.calendar import CALENDAR
from features.catalogue import FEATURE_NAMES, schema_hash
from features.frames import BARS_SCHEMA
from features.market import HOUR_US, Instrument
from features.scaling import RobustScaler
from models.artifacts.artifact import Artifact, Manifest, write_artifact
from models.baselines import Har
from models.forecast import ForecastInput
from models.networks.builder import build_member, network_config
from models.networks.network import Network, NetworkConfig, NetworkInput
from models.networks.network_forecaster import NetworkForecaster, use_one_thread
from models.presets import PRESETS
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS

INSTRUMENTS = [Instrument("binance", symbol) for symbol in ("BTC-USDT", "ETH-USDT", "SOL-USDT")]
WINDOW = 48
HISTORY = 1_500
ROUNDS = 200


def run() -> list[Row]:
    """The rows of the benchmark table: name, value, unit, guide."""
    use_one_thread()
    bars = random_bars()
    network = drawn("attention_lstm", "reference")
    with tempfile.TemporaryDirectory() as folder:
        forecaster = NetworkForecaster.load(write_artifact(Path(folder), reference_artifact(network, bars)))
    inputs = _inputs(bars)
    bare = bare_forward(network)
    alone_s, bare_s = _in_turn(lambda: forecaster.forecast(inputs), bare)
    with busy_process():
        beside_s, bare_beside_s = _in_turn(lambda: forecaster.forecast(inputs), bare)
    return [
        row("reference forward, 3 windows, median", np.median(bare_s) * 1e3, "ms"),
        row("reference forecast of 3 symbols, median", np.median(alone_s) * 1e3, "ms", 20.0),
        row("forecast over bare forward, p99", _p99(alone_s) / _p99(bare_s), "ratio", 1.5),
        row(
            "forecast over bare forward beside a busy process, p99", _p99(beside_s) / _p99(bare_beside_s), "ratio", 1.5
        ),
        row("reference forecast beside a busy process, p99", _p99(beside_s) * 1e3, "ms", 40.0),
        *(
            row(
                f"{kind} reference forward, {count:,} windows",
                np.median(_in_turn(bare_forward(drawn(kind, "reference"), count), rounds=rounds)) * 1e3,
                "ms",
            )
            for kind in PRESETS
            for count, rounds in ((1, 50), (64, 10), (1000, 3))
        ),
    ]


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that keeps a core busy, as a training child does."""
    burner = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    try:
        yield
    finally:
        burner.kill()
        burner.wait(5)


def _p99(durations_s: list[float]) -> float:
    return float(np.quantile(durations_s, 0.99))


def _in_turn(*actions: Callable[[], object], rounds: int = ROUNDS) -> list[list[float]]:
    """The durations of each action in seconds, measured in turn on the same machine."""
    durations: list[list[float]] = [[] for _ in actions]
    for action in actions:
        action()
    for _ in range(rounds):
        for action, taken in zip(actions, durations, strict=True):
            started_s = time.perf_counter()
            action()
            taken.append(time.perf_counter() - started_s)
    return durations


def config_of(kind: str, preset: str) -> NetworkConfig:
    return network_config(
        kind,
        PRESETS[kind][preset].shape,
        feature_names=FEATURE_NAMES,
        window=WINDOW,
        symbols=4,
        horizons=len(DEFAULT_HORIZONS),
        levels=DEFAULT_LEVELS,
    )


def drawn(kind: str, preset: str) -> Network:
    """A network with random weights, ready for inference."""
    return build_member(config_of(kind, preset)).eval()


def made_up_inputs(windows: int) -> NetworkInput:
    return NetworkInput(
        values=torch.randn(windows, WINDOW, len(FEATURE_NAMES)),
        mask=torch.ones(windows, WINDOW, dtype=torch.bool),
        symbol=torch.arange(windows) % 3,
        calendar=torch.rand(windows, len(DEFAULT_HORIZONS), len(CALENDAR)),
    )


def bare_forward(network: Network, windows: int = 3) -> Callable[[], object]:
    """The network alone, on prepared windows."""
    given = made_up_inputs(windows)

    def forward() -> object:
        with torch.inference_mode():
            return network(*given)

    return forward


def reference_artifact(network: Network, bars: pl.DataFrame) -> Artifact:
    """The network with random weights as an artifact of the daemon."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((100, len(FEATURE_NAMES))).astype(np.float32)
    given = made_up_inputs(3)
    with torch.inference_mode():
        answer = network(*given)
    symbols = tuple(map(str, INSTRUMENTS))
    manifest = Manifest(
        id="bench", kind="attention_lstm", preset="reference", feature_names=FEATURE_NAMES,
        schema_hash=schema_hash(FEATURE_NAMES, symbols), interval_us=HOUR_US, horizons=DEFAULT_HORIZONS,
        levels=DEFAULT_LEVELS, window=WINDOW, symbols=symbols, network=asdict(network.config), data_from_us=0,
        fitted_until_us=0, trained_until_us=0, scores={}, training={}, seed=0, parent=None, versions={},
    )  # fmt: skip
    return Artifact(
        manifest=manifest,
        weights={name: value.numpy() for name, value in network.state_dict().items()},
        scaler=json.loads(RobustScaler.fit(rows, np.ones(100, dtype=np.bool_), FEATURE_NAMES).to_json()),
        har=Har.fit(bars, interval_us=HOUR_US, horizons=DEFAULT_HORIZONS, levels=DEFAULT_LEVELS).to_json(),
        golden={
            **{name: tensor.numpy() for name, tensor in given._asdict().items()},
            "quantiles": answer.quantiles.numpy(),
            "log_sigma": answer.log_sigma.numpy(),
        },
    )


def _inputs(bars: pl.DataFrame) -> list[ForecastInput]:
    buffer = FeatureBuffer(INSTRUMENTS, interval_us=HOUR_US, window=WINDOW)
    buffer.load(bars)
    now_us = HISTORY * HOUR_US
    return [
        ForecastInput(*each, now_us, HOUR_US, buffer.window(each, now_us, FEATURE_NAMES), buffer.recent(each, now_us))
        for each in INSTRUMENTS
    ]


def random_bars() -> pl.DataFrame:
    return pl.concat([_random_walk(instrument, seed) for seed, instrument in enumerate(INSTRUMENTS)])


def _random_walk(instrument: Instrument, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(0.005 * random.standard_normal(HISTORY)))
    opened = np.concatenate([[100.0], close[:-1]])
    spread = np.exp(0.002 * np.abs(random.standard_normal(HISTORY)))
    volume = random.lognormal(3.0, 0.5, HISTORY)
    taker = volume * random.uniform(0.3, 0.7, HISTORY)
    columns = {
        "venue": [instrument.venue] * HISTORY, "symbol": [instrument.symbol] * HISTORY,
        "open_time_us": np.arange(HISTORY) * HOUR_US, "open": opened, "high": np.maximum(opened, close) * spread,
        "low": np.minimum(opened, close) / spread, "close": close, "volume": volume, "quote_volume": volume * close,
        "trades": random.integers(100, 1000, HISTORY), "taker_buy_volume": taker,
        "taker_buy_quote_volume": taker * close, "complete": [True] * HISTORY,
    }  # fmt: skip
    return pl.DataFrame(columns, schema=BARS_SCHEMA)
