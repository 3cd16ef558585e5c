"""Bars from files: our own format and published klines give the same frame."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.frames import BAR_KEYS, BARS_SCHEMA
from models.training.bars_file import BarsRefused, read_bars
from tests.models.synthetic import garch_bars
from tests.paths import ROOT
from tests.properties import examples

SAMPLE = ROOT / "daemon" / "simulator" / "sample"
HOURLY = ROOT.parent / "shared" / "data" / "hourly"
BARS = garch_bars(50)


UNITS: dict[str, Callable[[int], str]] = {
    "s": lambda at_us: str(at_us // 1_000_000),
    "ms": lambda at_us: str(at_us // 1_000),
    "us": str,
    "ns": lambda at_us: str(at_us * 1_000),
    "iso": lambda at_us: datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat(),
}


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


@pytest.mark.parametrize("column", ["completeness", "missing_trades"])
def test_a_bar_that_lacks_trades_is_not_complete(column: str, tmp_path: Path) -> None:
    """The bars of ``forecastd replay --bars`` say which of them have gaps."""
    verdicts: dict[str, list[Any]] = {"completeness": ["gap", "proven", "unproven"], "missing_trades": [7, 0, None]}
    klines()[:3].with_columns(pl.Series(column, verdicts[column])).write_parquet(tmp_path / "bars.parquet")
    assert read_bars(tmp_path / "bars.parquet")["complete"].to_list() == [False, True, True]


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


@examples(20)
@given(st.data())
def test_any_mix_of_units_reads_as_the_same_bars(data: st.DataObject) -> None:
    """Seconds, milliseconds, microseconds, nanoseconds and ISO texts from row to row, in any order of rows."""
    units = data.draw(st.lists(st.sampled_from(sorted(UNITS)), min_size=len(BARS), max_size=len(BARS)))
    times = [UNITS[unit](at_us) for unit, at_us in zip(units, BARS["open_time_us"], strict=True)]
    shuffled = klines().with_columns(open_time=pl.Series(times)).sample(fraction=1, shuffle=True)
    with TemporaryDirectory() as folder:
        for name in ("bars.csv", "bars.parquet"):
            write = shuffled.write_csv if name == "bars.csv" else shuffled.write_parquet
            write(Path(folder) / name)
            assert_frame_equal(read_bars(Path(folder) / name).sort(BAR_KEYS), BARS.sort(BAR_KEYS))


def test_a_file_without_symbols_takes_the_wanted_one(tmp_path: Path) -> None:
    """Binance's own files name no symbol."""
    one = klines().filter(symbol="BTCUSDT").drop("symbol")
    one.write_csv(tmp_path / "bars.csv")
    assert_frame_equal(read_bars(tmp_path / "bars.csv", symbols=["BTC-USDT"]), BARS.filter(symbol="BTC-USDT"))
    with pytest.raises(BarsRefused, match="does not say which symbol it is; add --symbols BASE-QUOTE"):
        read_bars(tmp_path / "bars.csv")


def test_the_wanted_spelling_wins(tmp_path: Path) -> None:
    """Where its letters match; a name beside it that cannot be split does no harm."""
    klines().with_columns(
        symbol=pl.col("symbol").replace({"BTCUSDT": "BTCXYZ", "ETHUSDT": "NOSUCHPAIR"})
    ).write_parquet(tmp_path / "bars.parquet")
    assert read_bars(tmp_path / "bars.parquet", symbols=["BTC-XYZ"])["symbol"].unique().to_list() == ["BTC-XYZ"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (klines().drop("close"), "lacks the columns close"),
        (klines()[:0], "holds no rows"),
        (BARS[:0], "holds no bars"),
        (pl.concat([klines(), klines()[:1]]), "two bars of one symbol and time, BTC-USDT at "),
        (
            klines().with_columns(symbol=pl.lit("NOSUCHPAIR")),
            "'NOSUCHPAIR' does not end in a known quote currency; name it with --symbols BASE-QUOTE",
        ),
        (
            klines().with_columns(open_time=pl.lit("New Year")),
            "row 1, column open_time: was 'New Year', which is no time",
        ),
        (klines().with_columns(open_time=pl.lit(17)), "row 1, column open_time: was 17, which is no time"),
        (klines().with_columns(open_time=pl.lit(True)), "column open_time: is Boolean; write"),
        (klines().with_columns(close=-pl.col("close")), "row 1, column close: was -.* not a price above 0"),
        (klines().with_columns(volume=-pl.col("volume")), "row 1, column volume: was -.* negative or not finite"),
        (BARS.with_columns(close=-pl.col("close")), "row 1, column close: was -.* not a price above 0"),
        (
            BARS.with_columns(open_time_us=pl.col("open_time_us") // 1000),
            "row 1, column open_time_us: was .*; write micro",
        ),
        (klines().with_columns(close=pl.lit("dear")), "row 1, column close: was 'dear', which is not a number"),
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
    for path, says in (
        ("nowhere", "no such file"),
        ("empty", r"no \.parquet or \.csv"),
        ("words.parquet", "as Parquet"),
    ):
        with pytest.raises(BarsRefused, match=says):
            read_bars(tmp_path / path)
    with pytest.raises(BarsRefused, match="holds no DOGE-USDT; the symbols in it: BTC-USDT"):
        read_bars(SAMPLE, symbols=["DOGE-USDT"])
