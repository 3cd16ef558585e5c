"""Parquet bars become exact integers, or are refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from daemon.errors import DataFault
from daemon.simulator.loading import SAMPLE, load, load_sample
from daemon.simulator.market_data import PRICES
from daemon.simulator.number_format import fixed
from daemon.timestamps import from_iso
from tests.paths import HOURLY

QUOTE_SIZES = {"quote_volume": "volume", "taker_buy_quote_volume": "taker_buy_volume"}
VOLUMES = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


def table(**changes: Sequence[object]) -> pl.DataFrame:
    columns: dict[str, Sequence[object]] = {
        "symbol": ["BTCUSDT"] * 3,
        "open_time": [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in range(3)],
        "open": [100.5, 101.0, 100.0],
        "high": [102.0, 101.0, 103.25],
        "low": [100.0, 101.0, 99.0],
        "close": [101.0, 101.0, 101.0],
        "volume": [10.0, 1.5, 20.0],
        "quote_volume": [1010.0, 151.5, 2020.0],
        "trades": [12, 3, 30],
        "taker_buy_volume": [5.0, 0.5, 10.0],
        "taker_buy_quote_volume": [505.0, 50.5, 1010.0],
    }
    return pl.DataFrame(columns | changes)


def written(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "bars.parquet")
    return folder / "bars.parquet"


def test_the_sample_is_whole_and_small() -> None:
    """20 months of three symbols, nothing missing, nothing invented, under 2 MB."""
    data = load_sample()
    assert data.symbols == ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    assert len(data) == (datetime(2026, 1, 1, tzinfo=UTC) - datetime(2024, 5, 1, tzinfo=UTC)) // timedelta(hours=1)
    assert data.start_us == from_iso("2024-05-01")
    assert data.notes == ()
    assert all(series.present.all() and series.trades.min() > 0 for series in data.series.values())
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) <= 2_000_000


def test_times_in_any_unit_and_symbols_of_any_script(tmp_path: Path) -> None:
    """Rows may change their unit; letters of any script are a symbol's."""
    frame = table(symbol=["币安人生-USDT"] * 3)
    expected = load(written(frame, tmp_path))
    assert [(each.base, each.quote) for each in expected.series.values()] == [("币安人生", "USDT")]
    opens = frame["open_time"].cast(pl.Datetime("ms")).dt.epoch("ms")
    texts = [str(opens[0] // 1000), str(opens[1]), str(opens[2] * 1_000_000)]
    frame.with_columns(open_time=pl.Series(texts)).write_csv(tmp_path / "bars.csv")
    assert load(tmp_path / "bars.csv").start_us == expected.start_us


@pytest.mark.skipif(not HOURLY.is_dir(), reason="the full hourly data set is not beside this checkout")
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_the_sample_is_what_the_exchange_published(symbol: str) -> None:
    """Every figure of the sample prints as the number in the source, bit for bit as a double."""
    source = pl.read_parquet(HOURLY / f"binance_{symbol}_1h.parquet").filter(
        pl.col("open_time") >= datetime(2024, 5, 1, tzinfo=UTC)
    )
    series = load_sample().series[symbol]
    decimals = dict.fromkeys(PRICES, series.price_decimals) | dict.fromkeys(VOLUMES, series.size_decimals)
    decimals |= dict.fromkeys(("quote_volume", "taker_buy_quote_volume"), series.quote_decimals)
    for name, places in decimals.items():
        printed = [float(fixed(value, places)) for value in getattr(series, name).tolist()]
        assert printed == source[name].to_list(), name
    assert series.trades.tolist() == source["trades"].to_list()


@pytest.mark.skipif(not HOURLY.is_dir(), reason="the full hourly data set is not beside this checkout")
def test_a_long_history_with_outages_loads() -> None:
    """Eight years of BTC: 126 hours of outages are absent bars, the hours around them are kept."""
    data = load(HOURLY / "binance_BTCUSDT_1h.parquet")
    assert int((~data.series["BTCUSDT"].present).sum()) == 126


def test_doubles_become_the_decimals_they_were_published_as(tmp_path: Path) -> None:
    """0.1 and its like are taken as written, never as their binary neighbours."""
    series = load(written(table(high=[102.1, 101.0, 103.3]), tmp_path)).series["BTCUSDT"]
    assert (series.price_decimals, series.size_decimals, series.quote_decimals) == (1, 1, 2)
    assert series.high.tolist() == [1021, 1010, 1033]
    assert series.quote_volume.tolist() == [101_000, 15_150, 202_000]
    assert (series.base, series.quote) == ("BTC", "USDT")


def test_a_missing_hour_is_an_absent_empty_bar(tmp_path: Path) -> None:
    """A hole in the source is kept as a hole: flat, empty, and marked."""
    hours = [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in (0, 1, 3)]
    series = load(written(table(open_time=hours), tmp_path)).series["BTCUSDT"]
    assert series.present.tolist() == [True, True, False, True]
    assert series.figures(2)[:5] == (10100, 10100, 10100, 10100, 0)


def test_unknown_columns_are_invented_and_said(tmp_path: Path) -> None:
    """A null becomes something trades can make, and a note says so."""
    frame = table(
        trades=[12, None, 30], taker_buy_volume=[5.0, None, 10.0], taker_buy_quote_volume=[505.0, None, 1010.0]
    )
    data = load(written(frame, tmp_path))
    bar = data.series["BTCUSDT"].figures(1)
    assert 0 < bar.taker_buy_volume < bar.volume
    assert bar.trades >= 2
    assert [note.split(" is ")[0] for note in data.notes] == [
        "BTCUSDT: taker_buy_volume",
        "BTCUSDT: taker_buy_quote_volume",
        "BTCUSDT: trades",
    ]


def test_symbols_are_cut_to_their_common_span(tmp_path: Path) -> None:
    """A folder of files is one market over the hours that all symbols have."""
    table().write_parquet(tmp_path / "a.parquet")
    later = [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in (1, 2, 3)]
    table(symbol=["ETH-USDT"] * 3, open_time=later).write_parquet(tmp_path / "b.parquet")
    data = load(tmp_path)
    assert data.symbols == ("BTCUSDT", "ETHUSDT")
    assert (len(data), data.start_us) == (2, from_iso("2025-01-01T01:00:00Z"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"low": [100.9, 101.0, 99.0]}, "open or close outside"),
        ({"taker_buy_volume": [5.0, 2.5, 10.0]}, "more taker-buy volume"),
        ({"volume": [10.0, 0.0, 20.0], "taker_buy_volume": [5.0, 0.0, 10.0]}, "trades without volume"),
        ({"trades": [2, 3, 30]}, "fewer trades than its prices need"),
        ({"trades": [12, 1, 30]}, "one trade with both"),
        ({"close": [None, 101.0, 101.0]}, "without a price"),
        ({"symbol": ["XYZ"] * 3}, "known quote currency"),
        ({"symbol": ["BTCUSDT", None, "BTCUSDT"]}, "row 2, column symbol: is missing"),
        ({"quote_volume": [1e19] * 3}, "quote_volume has values too large to replay"),
        ({"open_time": ["now"] * 3}, "row 1, column open_time: was 'now', which is no time"),
        ({"open_time": [datetime(2025, 1, 1, 0, minute, tzinfo=UTC) for minute in (0, 7, 20)]}, "grid"),
    ],
)
def test_what_cannot_be_replayed_is_refused(tmp_path: Path, changes: dict[str, list[object]], fault: str) -> None:
    """Each impossible table is a DataFault that says what is wrong."""
    with pytest.raises(DataFault, match=fault):
        load(written(table(**changes), tmp_path))


def test_files_that_are_no_bars_are_refused(tmp_path: Path) -> None:
    """An empty folder, a text file and a table without columns are named."""
    with pytest.raises(DataFault, match="holds no"):
        load(tmp_path)
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(DataFault, match="cannot be read"):
        load(tmp_path / "text.parquet")
    with pytest.raises(DataFault, match="lacks the columns volume"):
        load(written(table().drop("volume"), tmp_path))


@pytest.mark.parametrize(("price", "decimals"), [(1.2035e-9, 13), (4.5e-8, 9), (0.00001234, 8), (0.01234567, 8)])
def test_small_prices_are_kept(tmp_path: Path, price: float, decimals: int) -> None:
    """A price far below one has its digits, up to five, on the tick grid."""
    columns = {name: [price] * 3 for name in PRICES}
    quotes = {name: [price * each for each in table()[size]] for name, size in QUOTE_SIZES.items()}
    data = load(written(table(**columns, **quotes), tmp_path))
    series = data.series["BTCUSDT"]
    assert series.price_decimals == decimals
    assert [int(each) for each in series.close] == [round(price * 10**decimals)] * 3
    assert float(fixed(int(series.close[0]), decimals)) == price


def test_prices_are_rounded_where_volumes_are_large(tmp_path: Path) -> None:
    """A quote volume stays within 64 bits: prices lose digits, which is noted, and never become 0."""
    columns = {name: [1.2035e-9] * 3 for name in PRICES}
    sizes = {"volume": [3e15] * 3, "taker_buy_volume": [1e15] * 3}
    quotes = {"quote_volume": [3e15 * 1.2035e-9] * 3, "taker_buy_quote_volume": [1e15 * 1.2035e-9] * 3}
    data = load(written(table(**columns, **sizes, **quotes), tmp_path))
    assert data.notes == ("BTCUSDT: prices were rounded to 11 decimals",)
    assert [int(each) for each in data.series["BTCUSDT"].close] == [120] * 3
    sizes = {"volume": [3e21] * 3, "taker_buy_volume": [1e21] * 3}
    with pytest.raises(DataFault, match="too large to replay"):
        load(written(table(**columns, **sizes, **quotes), tmp_path))
    with pytest.raises(DataFault, match="a price of 0"):
        load(written(table(low=[100.0, 0.0, 99.0]), tmp_path))
