"""Choice of the forecast to explain, from real stores of every kind of network, and the errors where there is none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from daemon.errors import Unreachable
from daemon.explaining.finding import LATEST, Explained, ExplainRefused, find
from daemon.store.errors import StoreDamaged
from daemon.store.ledger import LEDGER_NAME, Ledger
from features.catalogue import FEATURE_NAMES
from features.market import Instrument
from tests.daemon.explaining.conftest import Filled
from tests.daemon.explaining.stores import close_hours, fill, serving

ETH = Instrument("binance", "ETH-USDT")


def found(folder: Path, wanted: str = LATEST, **changes: object) -> Explained:
    with Ledger(folder / LEDGER_NAME, read_only=True) as ledger:
        return find(ledger, wanted, **({"last": 12} | changes))  # type: ignore[arg-type]


def refusal(folder: Path, wanted: str = LATEST, **changes: object) -> str:
    with pytest.raises(ExplainRefused) as refused:
        found(folder, wanted, **changes)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_weights_are_those_of_the_network(filled: Filled) -> None:
    """Weights to the eight digits that are published, the known hours, and what tft's features weighed."""
    for made, issued in zip(filled.made, filled.issued, strict=True):
        forecast = made.issued
        if forecast.attention is None:
            continue
        shown = found(filled.folder, issued.id)
        np.testing.assert_allclose(shown.attention, forecast.attention, rtol=5e-8)
        assert forecast.reading is not None
        assert [hour.known for hour in shown.hours] == forecast.reading.known.tolist()
        assert sum(hour.weight for hour in shown.hours if not hour.known) == 0.0
        if filled.kind == "tft":
            said = dict(zip(forecast.reading.feature_names, forecast.reading.importance, strict=True))
            assert {each.name for each in shown.features} == set(said)
            for each in shown.features:
                assert each.weight == pytest.approx(said[each.name], rel=1e-7)


def test_hours_that_are_lost_are_in_the_store(filled: Filled) -> None:
    """The newest window has the gap in it, and it is said to be one."""
    shown = found(filled.folder)
    unknown = [hour.bars_ago for hour in shown.hours if hour.known is False]
    assert unknown
    assert len(unknown) < 24
    assert shown.hours[-1].known is True


def test_what_is_missing_is_named(filled: Filled) -> None:
    """Only tft selects features; for the others one sentence states that."""
    shown = found(filled.folder)
    if filled.kind == "tft":
        assert shown.missing == ()
        assert [each.weight for each in shown.features] == sorted((e.weight for e in shown.features), reverse=True)
        assert {each.name for each in shown.features} <= set(FEATURE_NAMES)
    else:
        assert shown.features == ()
        assert f"not known of {filled.kind}: only tft" in shown.missing[-1]


def test_the_newest_of_the_symbol(filled_by_tft: Filled) -> None:
    """``latest`` is the newest close, of equal ones the first that is configured; a symbol narrows it."""
    folder = filled_by_tft.folder
    assert found(folder).instrument.symbol == "BTC-USDT"
    assert found(folder, preferred=(ETH,)).instrument == ETH
    for name in ("ETH-USDT", "eth-usdt", "binance:ETH-USDT"):
        shown = found(folder, symbol=name)
        assert shown.stored.id == [each.id for each in filled_by_tft.issued if each.forecast.symbol == "ETH-USDT"][-1]


def test_the_last_forecasts_of_the_same_instrument(filled_by_tft: Filled) -> None:
    """Until the explained one, oldest first, baselines among them without weights."""
    made = filled_by_tft.of("BTC-USDT")
    shown = found(filled_by_tft.folder, last=1000)
    assert [each.close_time_us for each in shown.recent] == [each.issued.close_time_us for each in made]
    assert [each.kind for each in shown.recent] == [each.issued.model.kind for each in made]
    assert [each.attention is None for each in shown.recent] == [each.issued.attention is None for each in made]
    assert {"har", "tft"} == {each.kind for each in shown.recent}
    earlier = shown.recent[5].id
    assert [each.id for each in found(filled_by_tft.folder, earlier, last=3).recent] == [
        each.id for each in shown.recent[3:6]
    ]


def test_a_baseline_looked_at_nothing(filled_by_tft: Filled) -> None:
    """It is named, and so is the last forecast of a network before it, or how to get one."""
    of_btc = [each for each in filled_by_tft.issued if each.forecast.symbol == "BTC-USDT"]
    first = of_btc[0]
    said = refusal(filled_by_tft.folder, first.id)
    assert f"{first.id} was made by the baseline har" in said
    assert "retrain --now" in said
    gap = next(place for place, each in enumerate(of_btc) if place > 2 and each.forecast.attention is None)
    said = refusal(filled_by_tft.folder, of_btc[gap].id)
    assert said.endswith(f"the last one of a network before it is {of_btc[gap - 1].id}")


def test_a_configured_baseline_has_another_cure(tmp_path: Path) -> None:
    """Retraining is not suggested where HAR is configured."""
    fill(tmp_path, close_hours(serving(None, "har"), (1,)))
    assert "set [model] kind to one of lstm, attention_lstm, transformer, tft" in refusal(tmp_path)


def test_an_unknown_id_and_symbol(filled_by_tft: Filled) -> None:
    """What there is instead is named."""
    newest = found(filled_by_tft.folder).stored.id
    assert refusal(filled_by_tft.folder, "nonsense").endswith(f"holds no forecast nonsense; the newest is {newest}")
    said = refusal(filled_by_tft.folder, symbol="XRP-USDT")
    assert "there are forecasts of binance:BTC-USDT, binance:ETH-USDT" in said
    assert "leave one of them out" in refusal(filled_by_tft.folder, newest, symbol="ETH-USDT")


def test_an_empty_store(tmp_path: Path) -> None:
    """No forecasts and no store at all are a service that is not there."""
    Ledger(tmp_path / LEDGER_NAME).close()
    with pytest.raises(Unreachable, match="holds no forecasts yet"):
        found(tmp_path)
    with pytest.raises(Unreachable, match="is not there"):
        found(tmp_path / "nowhere")


def test_a_forecast_of_an_earlier_version(filled_by_tft: Filled, tmp_path: Path) -> None:
    """Its attention was published, so it is shown; that the rest was not kept is said."""
    with Ledger(filled_by_tft.folder / LEDGER_NAME) as ledger:
        ledger._connection.execute("VACUUM INTO ?", (str(tmp_path / LEDGER_NAME),))
    name = found(tmp_path).stored.id
    with sqlite3.connect(tmp_path / LEDGER_NAME) as earlier:
        earlier.execute("UPDATE forecasts SET feature_list = NULL, known = NULL, importance = NULL")
    earlier.close()
    shown = found(tmp_path, name)
    assert {hour.known for hour in shown.hours} == {None}
    assert shown.features == ()
    assert "An earlier forecastd stored this forecast" in shown.missing[0]


def test_a_reading_of_other_hours_is_damage(filled_by_tft: Filled, tmp_path: Path) -> None:
    """Weights are not shown beside another window's mask."""
    with Ledger(filled_by_tft.folder / LEDGER_NAME) as ledger:
        ledger._connection.execute("VACUUM INTO ?", (str(tmp_path / LEDGER_NAME),))
    with sqlite3.connect(tmp_path / LEDGER_NAME) as damaged:
        damaged.execute("UPDATE forecasts SET known = x'0101' WHERE known IS NOT NULL")
    damaged.close()
    with pytest.raises(StoreDamaged, match="attention is over 48 bars, known has 2"):
        found(tmp_path)
