"""Bars from files: our own format and published klines give the same frame."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.frames import BARS_SCHEMA
from models.training.bars_file import BarsRefused, read_bars
from tests.models.synthetic import garch_bars
from tests.paths import ROOT

SAMPLE = ROOT / "daemon" / "simulator" / "sample"
HOURLY = ROOT.parent / "shared" / "data" / "hourly"
BARS = garch_bars(50)


def klines() -> pl.DataFrame:
    """The same bars as a collector would store them."""
    milliseconds = (pl.col("open_time_us") // 1000).alias("open_time")
    return BARS.with_columns(milliseconds, pl.col("symbol").str.replace("-", "")).drop(
        "venue", "open_time_us", "complete"
    )


@pytest.mark.parametrize(
    "table",
    [
        BARS,
        klines(),
        klines().with_columns(exchange=pl.lit("binance_spot")),
        klines().with_columns(pl.from_epoch("open_time", time_unit="ms").dt.replace_time_zone("UTC")),
        klines().with_columns(pl.col("open_time") * 1000),
        klines().with_columns(symbol=pl.col("symbol").replace({"BTCUSDT": "BTC-USDT", "ETHUSDT": "ETH/USDT"})),
    ],
    ids=["ours", "milliseconds", "exchange", "datetime", "microseconds", "spelt"],
)
def test_every_form_gives_the_same_bars(table: pl.DataFrame, tmp_path: Path) -> None:
    """Ours, native symbols, milliseconds, datetimes: one frame, all complete."""
    table.write_parquet(tmp_path / "bars.parquet")
    assert_frame_equal(read_bars(tmp_path / "bars.parquet"), BARS)


def test_absent_or_null_values_are_null(tmp_path: Path) -> None:
    """An absent column is unknown, never 0; a row without a price is not complete."""
    unpriced = pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("close")).alias("close")
    klines().drop("trades").with_columns(unpriced).write_parquet(tmp_path / "bars.parquet")
    bars = read_bars(tmp_path / "bars.parquet")
    assert bars["trades"].null_count() == len(bars)
    assert bars["complete"].to_list() == [row != 3 for row in range(len(bars))]


def test_symbols_are_chosen_in_either_spelling(tmp_path: Path) -> None:
    """One file of a folder each, and one symbol of them."""
    for name in ("BTCUSDT", "ETHUSDT"):
        klines().filter(symbol=name).write_parquet(tmp_path / f"{name}.parquet")
    assert len(read_bars(tmp_path)) == len(BARS)
    for spelling in ("ETHUSDT", "ETH-USDT"):
        assert_frame_equal(read_bars(tmp_path, symbols=[spelling]), BARS.filter(symbol="ETH-USDT"))


def test_the_shipped_sample_is_read() -> None:
    """The simulator's decimals become bars of three symbols."""
    bars = read_bars(SAMPLE)
    assert bars.schema == BARS_SCHEMA
    assert bars["symbol"].unique().sort().to_list() == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    assert bars["venue"].unique().to_list() == ["binance"]
    assert bars["complete"].all()


@pytest.mark.skipif(not HOURLY.exists(), reason=f"the hourly bars are not at {HOURLY}")
def test_collected_klines_are_read() -> None:
    """A folder with a file per symbol, an exchange column and unknown figures is read as it is."""
    bars = read_bars(HOURLY, symbols=["ADA-USDT", "BTCUSDT"])
    assert bars["symbol"].unique().sort().to_list() == ["ADA-USDT", "BTC-USDT"]
    assert bars.filter(symbol="ADA-USDT")["trades"].null_count() > 0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (klines().drop("close"), "lacks the columns close"),
        (klines()[:0], "holds no bars"),
        (pl.concat([klines(), klines()[:1]]), "two bars of one symbol and time"),
        (klines().with_columns(symbol=pl.lit("NOSUCHPAIR")), "'NOSUCHPAIR' cannot be split"),
        (klines().with_columns(open_time=pl.lit("2024-01-01")), "open_time is String"),
        (klines().with_columns(close=pl.lit("dear")), "cannot be read as numbers"),
    ],
)
def test_unusable_files_are_an_error_of_one_line(table: pl.DataFrame, says: str, tmp_path: Path) -> None:
    """The message names the file and the fault."""
    table.write_parquet(tmp_path / "bars.parquet")
    with pytest.raises(BarsRefused, match=says) as refused:
        read_bars(tmp_path / "bars.parquet")
    assert str(refused.value).startswith(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_missing_paths_and_symbols_are_named(tmp_path: Path) -> None:
    """A missing file, an empty folder, a text file, an unknown symbol."""
    (tmp_path / "words.parquet").write_text("no bars")
    (tmp_path / "empty").mkdir()
    for path, says in (("nowhere", "no such file"), ("empty", r"no \.parquet"), ("words.parquet", "as Parquet")):
        with pytest.raises(BarsRefused, match=says):
            read_bars(tmp_path / path)
    with pytest.raises(BarsRefused, match="holds no DOGEUSDT; the symbols in it: BTC-USDT"):
        read_bars(SAMPLE, symbols=["DOGE-USDT"])
