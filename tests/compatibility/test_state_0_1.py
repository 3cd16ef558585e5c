"""The state directory of forecastd 0.1 (commit a44baf2): its store and its model are read as that version read them.

``state_0_1.tar.xz`` is what a demo of 24 hours left, cut to its last hours; ``state_0_1.json`` is what the code of that
commit read from it. Fields may be added since; none of those may be missing or different.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest

from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.forecasting.calibration import Calibration
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.timeouts import Timeouts
from daemon.publishing import payloads
from daemon.runtime.restore import ScoreboardRestoration, restore_pipeline, unreconciled_bars
from daemon.serving.metrics import Metrics
from daemon.store.ledger import LEDGER_NAME, Ledger
from features.market import HOUR_US, Instrument
from models.artifacts.registry import Registry
from models.networks.network_forecaster import NetworkForecaster
from models.specification import DEFAULT_HORIZONS, DEFAULT_LEVELS

HERE = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((HERE / "state_0_1.json").read_text())
INSTRUMENTS = tuple(Instrument("binance", symbol) for symbol in ("BTC-USDT", "ETH-USDT", "SOL-USDT"))
LATEST_US = 2**61


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    with tarfile.open(HERE / "state_0_1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "state"


@pytest.fixture(scope="module")
def ledger(state_dir: Path) -> Iterator[Ledger]:
    with Ledger(state_dir / LEDGER_NAME) as opened:
        yield opened


def holds(found: Any, expected: Any) -> bool:
    """Whether ``found`` has every field of ``expected`` with the same value, and perhaps more fields."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(key in found and holds(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(holds, found, expected))
    return bool(found == expected)


def test_bars_are_read(ledger: Ledger) -> None:
    """Every field of the last bars, and the number of bars."""
    for instrument in INSTRUMENTS:
        bars = ledger.bars(instrument, HOUR_US, 0, LATEST_US)
        *last, count = EXPECTED["bars"][instrument.symbol]
        assert len(bars) == count
        assert holds(msgspec.to_builtins(bars[-3:]), last)


def test_trades_and_sequences_are_read(ledger: Ledger) -> None:
    """The watermark and the trades of the open bar."""
    for instrument in INSTRUMENTS:
        assert holds(
            msgspec.to_builtins(ledger.sequence_state(instrument)), EXPECTED["sequence_states"][instrument.symbol]
        )
        trades = ledger.open_trades(instrument, 0)
        count, volume = EXPECTED["open_trades"][instrument.symbol]
        assert len(trades) == count
        assert sum(trade.size for trade in trades) == pytest.approx(volume, rel=1e-12)


def test_forecasts_are_byte_for_byte_the_same(ledger: Ledger) -> None:
    """A forecast is published again as it was issued, and the message still fits its schema."""
    stored = ledger.forecasts(0, LATEST_US)
    assert {each.id: hashlib.sha256(each.payload).hexdigest() for each in stored} == EXPECTED["forecasts"]
    assert {each.id: json.loads(each.payload) for each in ledger.latest_forecasts()} == EXPECTED["latest"]


def test_bar_payloads_keep_every_field(ledger: Ledger) -> None:
    """The bar message of a stored bar has the fields and values of version 0.1."""
    for instrument in INSTRUMENTS:
        last = ledger.last_bar(instrument, HOUR_US)
        assert last is not None
        assert holds(json.loads(payloads.bar(last)), EXPECTED["bar_payloads"][instrument.symbol])


def test_scores_calibration_and_readings_are_read(ledger: Ledger) -> None:
    """Sums of all scores, the digest of each calibration state, and what each forecast weighed."""
    scores = ledger.scores(0)
    count, pinball, crps = EXPECTED["scores"]
    assert len(scores) == count
    assert sum(score.pinball for score in scores) == pytest.approx(pinball, rel=1e-12)
    assert sum(score.crps or 0.0 for score in scores) == pytest.approx(crps, rel=1e-12)
    states = ledger.calibrations(HOUR_US)
    digests = sorted([each.symbol, each.kind, hashlib.sha256(each.state.encode()).hexdigest()] for each in states)
    assert digests == EXPECTED["calibrations"]
    readings = {each.id: ledger.reading(each.id) for each in ledger.forecasts(0, LATEST_US)}
    found = {
        key: [len(each.feature_names), int(each.known.sum())] for key, each in readings.items() if each is not None
    }
    assert found == EXPECTED["readings"]


def test_a_daemon_goes_on_from_it(ledger: Ledger) -> None:
    """Sequences, pending forecasts and skill continue as version 0.1 continued them."""
    calibration = Calibration(interval_us=HOUR_US, horizons=DEFAULT_HORIZONS, levels=DEFAULT_LEVELS)
    scoreboard = Scoreboard(interval_us=HOUR_US, levels=DEFAULT_LEVELS, calibration=calibration)
    pipeline = Pipeline(
        INSTRUMENTS,
        interval_us=HOUR_US,
        traits={"binance": traits(venue("binance", []))},
        timeouts=Timeouts(grace_us=1, proof_wait_us=1),
        scoreboard=scoreboard,
    )
    last = ledger.last_bar(INSTRUMENTS[0], HOUR_US)
    assert last is not None
    now_us = last.close_time_us + 60_000_000
    restore_pipeline(pipeline, ledger, INSTRUMENTS, now_us)
    ScoreboardRestoration(scoreboard, ledger, 0).run()
    for instrument in INSTRUMENTS:
        resumed = pipeline.instruments[instrument]
        found = {
            "warm": resumed.warm,
            "next_close_us": resumed.next_close_us,
            "last_price": resumed.last_price,
            "reference_price": pipeline.reference_price(instrument),
        }
        assert found == EXPECTED["resumed"][instrument.symbol]
        assert holds(msgspec.to_builtins(scoreboard.skill(*instrument)), EXPECTED["skill"][instrument.symbol])
    assert sorted(scoreboard.dump()) == EXPECTED["pending"]
    assert len(unreconciled_bars(ledger, INSTRUMENTS, HOUR_US, now_us)) == EXPECTED["unaudited"]


def test_the_champion_is_served(state_dir: Path) -> None:
    """The artifact passes its checks, golden windows included, and keeps its identity."""
    champion = Registry(state_dir / "models").champion()
    assert champion is not None
    assert champion.name == EXPECTED["champion"]
    assert holds(msgspec.to_builtins(NetworkForecaster.load(champion).info), EXPECTED["model"])


def test_metrics_keep_their_names_types_and_labels() -> None:
    """Dashboards and alerts of version 0.1 find every series."""
    metrics = Metrics(version="x", market_us=lambda: 0)
    metrics.prepare(INSTRUMENTS, horizons=(1,), baselines=("har", "random_walk"), skill_window="30d")
    lines = set(generate_latest(metrics.registry).decode().splitlines())
    series = {line.rpartition(" ")[0] for line in lines}
    for name, expected in EXPECTED["metrics"].items():
        assert f"# TYPE {name} {expected['type']}" in lines
        assert set(expected["series"]) <= series
