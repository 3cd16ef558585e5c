"""Tables of trades: any unit of time in any row, any order, every spelling of symbols, faults in one line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cli.commands.replay import bars_table
from daemon.recordings import RecordedTrades, RecordingRefused, read
from tests.daemon.recordings.captures import binance, capture, connected, received
from tests.daemon.recordings.replaying import replay, trades_table
from tests.properties import examples

UNITS: dict[str, Callable[[datetime], str]] = {
    "s": lambda at: f"{at.timestamp():.6f}",
    "ms": lambda at: str(round(at.timestamp() * 1_000)),
    "us": lambda at: str(round(at.timestamp() * 1_000_000)),
    "ns": lambda at: str(round(at.timestamp() * 1_000_000) * 1_000),
    "iso": lambda at: at.isoformat(),
    "naive": lambda at: at.replace(tzinfo=None).isoformat(sep=" "),
    "zulu": lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "east": lambda at: (at + timedelta(hours=9)).strftime("%Y-%m-%d %H:%M:%S+09:00"),
}
VENUES = ("binance", "bybit", "bybit_linear", "bitstamp", "okx")


def summary(
    file: Path, venue_name: str = "binance", symbol: str | None = None
) -> tuple[int, int, list[tuple[object, ...]]]:
    """Trades, duplicates and the bars of a replay."""
    result = replay(file, venue_name=venue_name, symbol=symbol)
    return result.trades, result.duplicates, bars_table(result).rows()


@examples(20)
@given(st.data())
def test_any_mix_of_units_and_any_order_give_the_same_bars(data: st.DataObject) -> None:
    """Rows that change their unit, shuffled, newest first or in order, as CSV or texts in Parquet, gzipped or not."""
    table = trades_table(150)
    venue_name = data.draw(st.sampled_from(VENUES))
    units = data.draw(st.lists(st.sampled_from(sorted(UNITS)), min_size=len(table), max_size=len(table)))
    times = [UNITS[unit](at) for unit, at in zip(units, table["ts"], strict=True)]
    texts = table.with_columns(ts=pl.Series(times))
    order = data.draw(st.permutations(range(len(table))) | st.just([*range(len(table))][::-1]))
    with TemporaryDirectory() as name:
        folder = Path(name)
        table.write_parquet(folder / "expected.parquet")
        texts[list(order)].write_csv(folder / "trades.csv")
        texts[list(order)].write_parquet(folder / "trades.parquet")
        (folder / "trades.csv.gz").write_bytes(gzip.compress((folder / "trades.csv").read_bytes()))
        expected = summary(folder / "expected.parquet", venue_name)
        assert expected[:2] == (150, 0)
        for written in ("trades.csv", "trades.parquet", "trades.csv.gz"):
            assert summary(folder / written, venue_name) == expected


def test_newest_first_with_equal_times_keeps_their_order(tmp_path: Path) -> None:
    """The last row of a time is the close, also where ids do not order trades."""
    table = trades_table(4).with_columns(ts=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)))
    later = trades_table(1).with_columns(trade_id=pl.lit(900, pl.Int64))
    table = pl.concat([table, later.select(table.columns)])
    for venue_name in VENUES:
        table.write_parquet(tmp_path / "trades.parquet")
        expected = summary(tmp_path / "trades.parquet", venue_name)
        table.reverse().write_parquet(tmp_path / "trades.parquet")
        assert summary(tmp_path / "trades.parquet", venue_name) == expected


def test_two_trades_of_one_id_are_refused(tmp_path: Path) -> None:
    """They would be counted as one; a repeated row is a duplicate, also with its time in another precision."""
    table = trades_table(10)
    coarse = table[3:4].with_columns(ts=pl.col("ts") + timedelta(milliseconds=1))
    pl.concat([table, coarse]).write_parquet(tmp_path / "twice.parquet")
    assert replay(tmp_path / "twice.parquet").duplicates == 1
    pl.concat([table, coarse.with_columns(price=pl.lit(7.0))]).write_csv(tmp_path / "other.csv")
    with pytest.raises(RecordingRefused, match=r"row 11 \(line 12\): has the trade_id of row 4 \(line 5\), 103"):
        read(tmp_path / "other.csv", venue_name="binance", symbol=None)


@pytest.mark.parametrize(("symbol", "trades"), [("BTC-AEUR", 5), ("BTCA-EUR", 5), ("ETH-USDT", 3), (None, 8)])
def test_an_explicit_symbol_wins(tmp_path: Path, symbol: str | None, trades: int) -> None:
    """The letters of --symbol select the rows, and its spelling is the bars'."""
    tables = [trades_table(5, symbol="BTCAEUR"), trades_table(3, symbol="ETHUSDT")]
    pl.concat(tables).write_csv(tmp_path / "trades.csv")
    result = replay(tmp_path / "trades.csv", symbol=symbol)
    assert result.trades == trades
    names = {instrument.symbol for instrument, _ in result.bars}
    assert names == ({symbol} if symbol else {"BTC-AEUR", "ETH-USDT"})


def test_symbols_of_a_capture(tmp_path: Path) -> None:
    """An ambiguous one is refused with its readings, unless it is chosen."""
    lines = [received(1_704_067_200 + at_s, binance(at_s, 1_704_067_200 + at_s, symbol="FOOBUSD")) for at_s in (1, 2)]
    file = capture(tmp_path, connected(1_704_067_200), *lines)
    with pytest.raises(RecordingRefused, match="'FOOBUSD' may be FOO-BUSD or FOOB-USD; name it with --symbol"):
        read(file, venue_name="binance", symbol=None)
    for symbol in ("FOO-BUSD", "FOOB-USD"):
        assert read(file, venue_name="binance", symbol=symbol).symbols == (symbol,)


def test_a_capture_with_a_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark and lines that end in CR LF, as editors on Windows write, are accepted."""
    lines = [received(1_704_067_200, binance(number, 1_704_067_200 + number)) for number in (1, 2)]
    (tmp_path / "capture.jsonl").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    recorded = list(read(tmp_path / "capture.jsonl", venue_name="binance", symbol=None))
    assert sum(len(each.trades) for each in recorded if isinstance(each, RecordedTrades)) == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.csv", b"", "holds no rows"),
        ("blank.csv", b"\n \n", "holds no rows"),
        ("header.csv", b"trade_id,ts,price,size,side\n", "holds no rows"),
        ("words.csv", b"no table\n", "lacks the columns trade_id, ts, price, size, side; it has no table"),
        ("bare.csv", b"1,1735689600,1,1,buy\n", "has 5 columns and no header; write a header"),
        ("ragged.csv", b"trade_id,ts,price,size,side\n1,2,3,4,buy,6\n", "cannot be read as CSV: found more fields"),
        ("short.csv", b"trade_id,ts,price,size,side\n1,1735689600,1\n", "row 1 .line 2., column size: is missing"),
        ("latin.csv", b"trade_id,ts,price,size,side\n\xff,1,1,1,buy\n", "cannot be read as CSV: invalid utf-8"),
        (
            "cut.csv.gz",
            gzip.compress(b"trade_id,ts,price,size,side\n" * 99, mtime=0)[:-9],
            "cannot be read: Compressed file",
        ),
        ("plain.csv.gz", b"trade_id,ts,price,size,side\n", "holds no rows"),
        ("words.parquet", b"PAR1 no table", "cannot be read as Parquet"),
        ("empty.parquet", b"", "cannot be read as Parquet"),
        (
            "decimal.csv",
            b"trade_id;ts;price;size;side\n1;1735689600;1,5;1;buy\n",
            "column price: was '1,5'; write a num",
        ),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """The refusal is one line with the file and the fault."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingRefused, match=says) as refused:
        read(tmp_path / name, venue_name="binance", symbol="BTC-USDT")
    assert str(refused.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(refused.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder is refused with the cure."""
    (tmp_path / "trades.csv").mkdir()
    with pytest.raises(RecordingRefused, match="is a folder; name a file"):
        read(tmp_path / "trades.csv", venue_name="binance", symbol=None)


def test_a_time_that_would_never_end_is_refused(tmp_path: Path) -> None:
    """Two trades with years of one-second bars between them: one of their times is wrong."""
    table = trades_table(2).with_columns(ts=pl.Series(["2009-02-03T00:00:00Z", "2025-01-01T00:00:00Z"]))
    table.write_csv(tmp_path / "trades.csv")
    with pytest.raises(RecordingRefused, match=r"no trades from 2009-02-03.* to 2025-01-01.*correct the times"):
        replay(tmp_path / "trades.csv", interval_us=1_000_000)


@pytest.mark.parametrize("seconds", ["1e308", "-1e300"])
def test_a_receipt_time_without_end_is_none(seconds: str, tmp_path: Path) -> None:
    """An infinite receipt time is ignored."""
    frame = binance(1, 1_704_067_201).replace('"', '\\"')
    (tmp_path / "capture.jsonl").write_text(f'{{"ts": {seconds}, "dir": "recv", "data": "{frame}"}}')
    (only,) = read(tmp_path / "capture.jsonl", venue_name="binance", symbol=None)
    assert isinstance(only, RecordedTrades)
    assert only.received_us is None
