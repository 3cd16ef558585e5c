"""Tests of window readings: stored with their forecast and deleted with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from daemon.store.errors import StoreDamaged
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from daemon.store.schema import MIGRATIONS, migrate
from features.market import HOUR_US, Instrument
from models.forecast import WindowReading
from tests.daemon.store.builders import BTC, ETH

KNOWN = np.arange(48) % 5 != 0
NAMES = ("log_return_1", "hour_sin", "taker_imbalance_24")
SELECTED = WindowReading(known=KNOWN, feature_names=NAMES, importance=np.array([0.5, 0.3, 0.2]))


def save(
    ledger: Ledger, hour: int, reading: WindowReading | None, instrument: Instrument = BTC, payload: bytes = b"{}"
) -> str:
    name = f"{instrument}:{hour}"
    ledger.save_forecast(
        StoredForecast(
            id=name,
            venue=instrument.venue,
            symbol=instrument.symbol,
            interval_us=HOUR_US,
            close_time_us=hour * HOUR_US,
            valid_until_us=hour * HOUR_US + 1,
            topic="forecast",
            payload=payload,
        ),
        reading=reading,
    )
    return name


def test_a_reading_comes_back(ledger: Ledger) -> None:
    """Known hours and names as they were, importance to float32's seven digits."""
    read = ledger.reading(save(ledger, 1, SELECTED))
    assert read is not None
    assert read.importance is not None
    np.testing.assert_array_equal(read.known, KNOWN)
    np.testing.assert_allclose(read.importance, [0.5, 0.3, 0.2], rtol=1e-7)
    assert read.feature_names == NAMES


def test_a_network_that_selects_nothing_has_no_importance(ledger: Ledger) -> None:
    """Its reading has no importance."""
    read = ledger.reading(save(ledger, 1, WindowReading(KNOWN, NAMES, None)))
    assert read is not None
    assert read.importance is None


def test_a_baseline_has_no_reading(ledger: Ledger) -> None:
    """An unknown forecast has none either."""
    assert ledger.reading(save(ledger, 1, None)) is None
    assert ledger.reading("binance:BTC-USDT:2") is None


def test_names_are_kept_once(ledger: Ledger) -> None:
    """A year of forecasts costs one list of features; another list costs another."""
    for hour in range(1, 6):
        save(ledger, hour, SELECTED)
    other = WindowReading(KNOWN, NAMES[:2], np.array([0.5, 0.5]))
    read = ledger.reading(save(ledger, 6, other))
    assert read is not None
    assert read.feature_names == NAMES[:2]
    assert ledger._connection.execute("SELECT count(*) FROM feature_lists").fetchone() == (2,)


def test_the_first_reading_stands(ledger: Ledger) -> None:
    """The very same forecast again changes nothing, its reading included."""
    save(ledger, 1, SELECTED)
    read = ledger.reading(save(ledger, 1, WindowReading(~KNOWN, NAMES, None)))
    assert read is not None
    np.testing.assert_array_equal(read.known, KNOWN)


def test_a_pruned_forecast_takes_its_reading_along(ledger: Ledger) -> None:
    """Readings need no bound of their own."""
    name = save(ledger, 1, SELECTED)
    ledger.prune_forecasts(100 * HOUR_US)
    assert ledger.reading(name) is None


def test_a_reading_that_does_not_fit_is_damage(ledger: Ledger) -> None:
    """Weights without names are not shown under other names."""
    name = save(ledger, 1, SELECTED)
    ledger._connection.execute("UPDATE feature_lists SET names = 'one'")
    with pytest.raises(StoreDamaged, match=name):
        ledger.reading(name)


def test_forecasts_of_an_earlier_schema_have_none(path: Path) -> None:
    """Before and after its migration, an older store's forecasts have no readings."""
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, path, MIGRATIONS[:2])
    old.execute("INSERT INTO instruments VALUES (1, 'binance', 'BTC-USDT')")
    old.execute("INSERT INTO forecasts VALUES ('old', 1, 3600000000, 7, 8, 'topic', x'7b7d')")
    old.close()
    for read_only in (True, False):
        with Ledger(path, read_only=read_only) as ledger:
            found = ledger.forecast("old")
            assert found is not None
            assert found.payload == b"{}"
            assert ledger.reading("old") is None


def test_the_last_forecasts_of_one_instrument(ledger: Ledger) -> None:
    """Up to a close, oldest first, and only its own."""
    for hour in (5, 1, 3, 2, 4):
        save(ledger, hour, None)
    save(ledger, 3, None, ETH)
    found = ledger.forecasts_until(BTC, HOUR_US, 4 * HOUR_US, 3)
    assert [each.id for each in found] == ["binance:BTC-USDT:2", "binance:BTC-USDT:3", "binance:BTC-USDT:4"]
    assert ledger.forecasts_until(BTC, HOUR_US // 2, 4 * HOUR_US, 3) == []
