"""Tests of klines from files: each accepted form, each fault named by file, row and column, and real files."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from daemon.errors import EXIT_USAGE
from daemon.store.bars import CANDLE_SCHEMA
from daemon.store.history import ImportRefused, import_file
from daemon.store.ledger import Ledger
from features.market import HOUR_US, Completeness, Instrument
from tests.paths import HOURLY

START_MS = 1_735_689_600_000
NOW_US = (START_MS + 365 * 24 * 3_600_000) * 1_000

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def line(hour: int, *, unit: int = 1, **changes: str) -> str:
    open_time = (START_MS + hour * 3_600_000) * unit
    fields = {
        "open_time": str(open_time),
        "open": "100.0",
        "high": "110.0",
        "low": "90.0",
        "close": "105.0",
        "volume": "2.5",
        "close_time": str(open_time + 3_599_999 * unit),
        "quote_volume": "250.25",
        "count": "7",
        "taker_buy_volume": "1.5",
        "taker_buy_quote_volume": "150.5",
        "ignore": "0",
    }
    return ",".join({**fields, **changes}.values())


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "klines.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def take(path: Path, symbol: str | None = "BTC-USDT", now_us: int = NOW_US) -> pl.DataFrame:
    return import_file(path, interval_us=HOUR_US, now_us=now_us, symbol=symbol)


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ImportRefused) as refused:
        take(path, **options)  # type: ignore[arg-type]
    assert refused.value.exit_code == EXIT_USAGE
    return str(refused.value)


@pytest.mark.parametrize("header", [[], [HEADER]])
@pytest.mark.parametrize("unit", [1, 1_000])
def test_binance_columns(tmp_path: Path, header: list[str], unit: int) -> None:
    """Binance's twelve columns with and without header, milliseconds and microseconds, give the same candles."""
    frame = take(write(tmp_path, *header, line(0, unit=unit), line(1, unit=unit)))
    assert frame.schema == CANDLE_SCHEMA
    assert frame["open_time_us"].to_list() == [START_MS * 1_000, START_MS * 1_000 + HOUR_US]
    assert frame.row(0)[4:] == (100.0, 110.0, 90.0, 105.0, 2.5, 250.25, 7, 1.5, 150.5)
    assert frame.row(0)[:3] == ("binance", "BTC-USDT", HOUR_US)


def test_units_may_change_within_a_file(tmp_path: Path) -> None:
    """Binance went from milliseconds to microseconds in 2025: joined files are read row by row."""
    frame = take(write(tmp_path, line(0), line(1, unit=1_000)))
    assert frame["open_time_us"].diff().to_list() == [None, HOUR_US]


def test_null_stays_null(tmp_path: Path) -> None:
    """An empty field is null and a zero is zero; a column that is not there is null throughout."""
    frame = take(write(tmp_path, line(0, count="", quote_volume="0"), line(1)))
    assert frame["trades"].to_list() == [None, 7]
    assert frame["quote_volume"].to_list() == [0.0, 250.25]
    path = write(tmp_path, "open_time,open,high,low,close,volume", ",".join(line(0).split(",")[:6]))
    assert take(path)["trades"].to_list() == [None]


def test_several_symbols_in_one_parquet_file(tmp_path: Path) -> None:
    """Named columns with the venue's own spelling; times may be datetimes."""
    pl.DataFrame(
        {
            "symbol": ["BTCUSDT", "BTCUSDT", "ETHBTC"],
            "exchange": ["binance_spot"] * 3,
            "open_time": pl.Series([START_MS, START_MS + 3_600_000, START_MS]).cast(pl.Datetime("ms", "UTC")),
            **{name: [100.0] * 3 for name in ("open", "high", "low", "close", "volume")},
        }
    ).write_parquet(tmp_path / "k.parquet")
    frame = take(tmp_path / "k.parquet", symbol=None)
    assert frame["symbol"].to_list() == ["BTC-USDT", "BTC-USDT", "ETH-BTC"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([line(0), line(1, high="104")], "row 2, column close: was 105.0, which lies outside low and high"),
        (
            [HEADER, line(0), line(1, high="104")],
            "row 2 (line 3), column close: was 105.0, which lies outside low and high",
        ),
        ([line(0), line(1, open="abc")], "row 2, column open: was 'abc', which is not a number"),
        ([line(0), line(1, count="x")], "row 2, column trades: was 'x', which is not a number"),
        ([line(0), line(1, count="1.5")], "row 2, column trades: was '1.5'; write a whole number"),
        ([line(0), line(1, low="")], "row 2, column low: is missing"),
        ([line(0), line(1, low="-1")], "row 2, column low: was -1.0, which is not a price above 0"),
        ([line(0), line(1, high="inf")], "row 2, column high: was inf, which is not a price above 0"),
        ([line(0), line(1, volume="-1")], "row 2, column volume: was -1.0, which is negative or not finite"),
        ([line(0), line(1, volume="nan")], "row 2, column volume: is missing"),
        (
            [line(0), line(1), line(1)],
            "row 3, column open_time: 2025-01-01 01:00:00+00:00 is there twice for this symbol",
        ),
        (
            [line(1), line(0), line(1)],
            "row 3, column open_time: 2025-01-01 01:00:00+00:00 is there twice for this symbol",
        ),
        (
            [line(0), line(1, open_time=str(START_MS + 60_000))],
            "row 2, column open_time: 2025-01-01 00:01:00+00:00 is not on the 1h grid",
        ),
        ([line(0), line(1, open_time="17")], "row 2, column open_time: was '17', which is no time; write ISO 8601"),
        ([line(0), line(1, open_time="")], "row 2, column open_time: is missing"),
        ([line(0), line(4), line(8)], "its rows are 4h apart, not 1h; take a file of 1h klines or set bars.interval"),
        (["1,2,3"], "has 3 columns and no header; write a header or give its 12 columns: open_time, open"),
        (["time,price", "1,2"], "lacks the columns open_time, open, high, low, close, volume; it has time, price"),
        ([HEADER], "holds no rows"),
        ([""], "holds no rows"),
        (
            [f"{HEADER},completeness", f"{line(0)},proven", f"{line(1)},gap"],
            "row 2 (line 3), column completeness: trades are missing from this bar; remove the row",
        ),
        (["open_time,open,open,low,close,volume"], "its header has a column twice or without a name"),
    ],
)
def test_faults_are_named(tmp_path: Path, lines: list[str], fault: str) -> None:
    """The error names the file, row, column and remedy of the first fault."""
    path = write(tmp_path, *lines)
    assert refusal(path).startswith(f"{path}: {fault}")


def test_rows_may_be_in_any_order(tmp_path: Path) -> None:
    """Some sites publish the newest row first."""
    oldest_first = take(write(tmp_path, *(line(hour) for hour in range(5))))
    assert take(write(tmp_path, *(line(hour) for hour in reversed(range(5))))).equals(oldest_first)


def test_a_packed_file_reads_alike(tmp_path: Path) -> None:
    """Gzipped CSV and Parquet, also with a name in capitals; a truncated one is refused."""
    path = write(tmp_path, HEADER, *(line(hour) for hour in range(50)))
    expected = take(path)
    (tmp_path / "K.CSV.GZ").write_bytes(gzip.compress(path.read_bytes()))
    assert take(tmp_path / "K.CSV.GZ").equals(expected)
    pl.read_csv(path).write_parquet(tmp_path / "k.parquet")
    (tmp_path / "k.parquet.gz").write_bytes(gzip.compress((tmp_path / "k.parquet").read_bytes()))
    assert take(tmp_path / "k.parquet.gz").equals(expected)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(path.read_bytes())[:-30])
    assert "cut.csv.gz: cannot be read: " in refusal(tmp_path / "cut.csv.gz")


def test_an_unfinished_last_row_is_refused(tmp_path: Path) -> None:
    """The hour that is not over is refused."""
    path = write(tmp_path, line(0), line(1))
    now_us = START_MS * 1_000 + 2 * HOUR_US
    assert take(path, now_us=now_us).height == 2
    assert "00:00 begins a 1h bar that is not over yet" in refusal(path, now_us=now_us - 1)


def test_symbols_must_be_known(tmp_path: Path) -> None:
    """Without a column --symbol is needed; a wrong spelling, a contradiction and an unknown quote are refused."""
    path = write(tmp_path, line(0))
    assert "add --symbol BASE-QUOTE" in refusal(path, symbol=None)
    assert refusal(path, symbol="BTCUSDT") == "--symbol was BTCUSDT; write BTC-USDT"
    named = write(
        tmp_path, "symbol,open_time,open,high,low,close,volume", "ETHUSDT," + ",".join(line(0).split(",")[:6])
    )
    assert "row 1 (line 2), column symbol: was 'ETHUSDT', not BTC-USDT; leave --symbol out" in refusal(named)
    unknown = write(tmp_path, "symbol,open_time,open,high,low,close,volume", "XYZ," + ",".join(line(0).split(",")[:6]))
    says = "column symbol: 'XYZ' does not end in a known quote currency; name it with --symbol BASE-QUOTE"
    assert says in refusal(unknown, symbol=None)


@pytest.mark.parametrize(
    ("native", "symbol", "spelt"),
    [
        ("BTCAEUR", None, "BTC-AEUR"),
        ("BTCAEUR", "BTC-AEUR", "BTC-AEUR"),
        ("BTCAEUR", "BTCA-EUR", "BTCA-EUR"),
        ("btcxyz", "BTC-XYZ", "BTC-XYZ"),
        ("FOOBUSD", "FOOB-USD", "FOOB-USD"),
        ("币安人生USDT", None, "币安人生-USDT"),
        ("币安人生USDT", "币安人生-USDT", "币安人生-USDT"),
    ],
)
def test_an_explicit_symbol_wins(tmp_path: Path, native: str, symbol: str | None, spelt: str) -> None:
    """Where its letters match those of the file, the operator's spelling is used."""
    columns = "symbol,open_time,open,high,low,close,volume"
    path = write(tmp_path, columns, f"{native},{','.join(line(0).split(',')[:6])}")
    assert take(path, symbol=symbol)["symbol"].to_list() == [spelt]


def test_an_ambiguous_symbol_is_refused(tmp_path: Path) -> None:
    """Both readings and the option are named."""
    columns = "symbol,open_time,open,high,low,close,volume"
    path = write(tmp_path, columns, f"FOOBUSD,{','.join(line(0).split(',')[:6])}")
    assert "'FOOBUSD' may be FOO-BUSD or FOOB-USD; name it with --symbol BASE-QUOTE" in refusal(path, symbol=None)


def test_another_venue_s_file_is_refused(tmp_path: Path) -> None:
    """A venue's history is its own: spot of one is not futures or spot of another."""
    named = "exchange,open_time,open,high,low,close,volume"
    path = write(tmp_path, named, "kraken," + ",".join(line(0).split(",")[:6]))
    assert "row 1 (line 2), column exchange: was 'kraken', not binance; name the venue with --venue" in refusal(path)


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that is not there, of another kind, or broken is refused with one line."""
    assert "none.csv: cannot be read: No such file" in refusal(tmp_path / "none.csv")
    (tmp_path / "k.zip").write_bytes(b"PK")
    assert (
        "is neither .parquet nor .csv nor .tsv nor .parquet.gz nor .csv.gz nor .tsv.gz; unpack or convert it first"
        in refusal(tmp_path / "k.zip")
    )
    (tmp_path / "k.parquet").write_bytes(b"PAR1 nothing")
    assert "\n" not in refusal(tmp_path / "k.parquet")


@pytest.mark.long
@pytest.mark.skipif(not HOURLY.is_dir(), reason="needs the real hourly bars in ../shared/data")
def test_real_hours(tmp_path: Path) -> None:
    """Real files import twice to the same bars, nulls stay null, and Binance's 126 outage hours are missing."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        for name in ("BTC", "XRP"):
            frame = take(HOURLY / f"binance_{name}USDT_1h.parquet", symbol=None, now_us=10**16)
            instruments = [Instrument("binance", f"{name}-USDT")]
            for _ in range(2):
                assert ledger.import_bars(frame) == frame.height
                stored = ledger.bars_frame(instruments, HOUR_US, 0, 10**16)
                assert stored.drop("complete").equals(frame.drop("interval_us"))
        spans = {span.symbol: span for span in ledger.spans(HOUR_US)}
        assert (spans["BTC-USDT"].bars, spans["BTC-USDT"].missing) == (73_286, 126)
        last = ledger.last_bar(Instrument("binance", "XRP-USDT"), HOUR_US)
        assert last is not None
        assert last.completeness is Completeness.VENUE_CANDLE
        nulls = ledger.bars_frame([Instrument("binance", "XRP-USDT")], HOUR_US, 0, 10**16).null_count()
        assert nulls["taker_buy_volume"].item() == 57_623
