"""Replay: a recording through the live pipeline gives the bars that a group-by gives, verdicts included."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import jsonschema
import polars as pl
import pytest

from daemon.cli.commands.replay import bars_table, run_replay
from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.publishing.schemas import schema
from daemon.recordings import RecordingRefused, read
from daemon.recordings.replay import Replay
from features.market import Completeness, Instrument
from tests.daemon.recordings.replaying import HOUR_US, replay, trades_table
from tests.paths import SHARED


def by_group(table: pl.DataFrame) -> pl.DataFrame:
    bought = pl.col("side") == "buy"
    value = pl.col("price") * pl.col("size")
    return (
        table.group_by(open_time=pl.col("ts").dt.truncate("1h"))
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=pl.col("size").sum(),
            quote_volume=value.sum(),
            trades=pl.len().cast(pl.Int64),
            taker_buy_volume=pl.col("size").filter(bought).sum(),
            taker_buy_quote_volume=value.filter(bought).sum(),
        )
        .sort("open_time")
    )


def assert_bars_equal(bars: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert bars["open_time"].to_list() == expected["open_time"].to_list()
    for name in ("open", "high", "low", "close", "trades"):
        assert bars[name].to_list() == expected[name].to_list(), name
    for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):
        assert bars[name].to_list() == pytest.approx(expected[name].to_list(), rel=1e-12), name


def test_bars_equal_a_group_by(tmp_path: Path) -> None:
    """Every bar equals the group-by of its trades; the first and the last are there, unproven."""
    table = trades_table()
    table.write_parquet(tmp_path / "trades.parquet")
    bars = bars_table(replay(tmp_path / "trades.parquet"))
    assert_bars_equal(bars, by_group(table))
    verdicts = bars["completeness"].to_list()
    assert verdicts == ["unproven", *["proven"] * (len(verdicts) - 2), "unproven"]


def test_csv_and_parquet_agree(tmp_path: Path) -> None:
    """The same trades as CSV give the same bars."""
    table = trades_table()
    table.write_parquet(tmp_path / "trades.parquet")
    table.write_csv(tmp_path / "trades.csv")
    assert bars_table(replay(tmp_path / "trades.parquet")).equals(bars_table(replay(tmp_path / "trades.csv")))


def test_a_lost_row_is_a_gap_and_a_doubled_one_is_nothing(tmp_path: Path) -> None:
    """A missing id makes its bar a gap of one trade; a repeated row changes nothing."""
    table = trades_table()
    table.filter(pl.col("trade_id") != 300).write_parquet(tmp_path / "lost.parquet")
    pl.concat([table[:250], table[240:]]).write_parquet(tmp_path / "doubled.parquet")
    gaps = [b for b in replay(tmp_path / "lost.parquet").bars.values() if b.completeness is Completeness.GAP]
    assert [bar.missing_trades for bar in gaps] == [1]
    doubled = replay(tmp_path / "doubled.parquet")
    assert doubled.duplicates == 10
    assert_bars_equal(bars_table(doubled), by_group(table))


def test_hours_without_trades_are_empty_bars(tmp_path: Path) -> None:
    """Three hours without trades and with contiguous ids are three empty bars."""
    table = trades_table(120).with_columns(
        ts=pl.when(pl.col("trade_id") >= 160).then(pl.col("ts") + timedelta(hours=4)).otherwise(pl.col("ts"))
    )
    table.write_parquet(tmp_path / "quiet.parquet")
    verdicts = bars_table(replay(tmp_path / "quiet.parquet"))["completeness"].to_list()
    assert verdicts.count("empty") == 3


def test_a_long_replay_keeps_no_trades(tmp_path: Path) -> None:
    """The replay keeps the trades of the open bar only, because it has no store."""
    file = tmp_path / "trades.parquet"
    trades_table(3_000).write_parquet(file)
    recording = read(file, venue_name="binance", symbol=None)
    instruments = [Instrument("binance", name) for name in recording.symbols]
    run = Replay(instruments, interval_us=HOUR_US, traits={"binance": traits(venue("binance", None))})
    assert run.run(recording, "binance").trades == 3_000
    assert sum(len(trades) for _, trades, _ in run._pipeline.unsaved_trades()) <= 60


def test_two_symbols_share_one_run(tmp_path: Path) -> None:
    """Each symbol's bars are its own."""
    tables = [trades_table(symbol="BTCUSDT"), trades_table(symbol="ETHUSDT").with_columns(price=pl.col("price") * 2)]
    pl.concat(tables).write_parquet(tmp_path / "two.parquet")
    bars = bars_table(replay(tmp_path / "two.parquet"))
    for name, table in zip(("BTC-USDT", "ETH-USDT"), tables, strict=True):
        assert_bars_equal(bars.filter(pl.col("symbol") == name), by_group(table))


def test_forecasts_are_the_published_payloads(tmp_path: Path) -> None:
    """With enough bars the replay writes forecasts that are valid by the schema of the MQTT message."""
    table = trades_table(60 * 60).with_columns(price=pl.Series([100 + (i * 7919 % 101) / 50 for i in range(3600)]))
    table.write_parquet(tmp_path / "long.parquet")
    forecasts = replay(tmp_path / "long.parquet").forecasts
    assert forecasts
    contract = schema("forecastd.forecast.v1")
    validator = jsonschema.validators.validator_for(contract)(contract)
    for payload in forecasts:
        validator.validate(json.loads(payload))


def test_no_forecasts_have_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """24 bars are one too few for the simplest baseline, and the summary says so; 25 are enough."""

    def summary(bars: int) -> str:
        trades_table(60 * bars)[:-10].write_parquet(tmp_path / "trades.parquet")
        options = {"bars_file": None, "forecasts_file": None, "symbol": None, "json": False}
        run_replay(tmp_path / "trades.parquet", venue_name="binance", interval="1h", **options)  # type: ignore[arg-type]
        return capsys.readouterr().out

    assert "a baseline needs 25 traded bars of a symbol, here are 24 at most" in summary(24)
    assert "no forecasts" not in summary(25)


@pytest.mark.parametrize("symbol", ["BTC-USDT", "ETH-USDT"])
def test_a_symbol_must_agree_with_the_file(symbol: str, tmp_path: Path) -> None:
    """A file that names its symbol is not relabelled; the same symbol is no contradiction."""
    trades_table().write_parquet(tmp_path / "trades.parquet")
    if symbol == "BTC-USDT":
        assert replay(tmp_path / "trades.parquet", symbol=symbol).trades == 600
    else:
        with pytest.raises(RecordingRefused, match="holds no ETH-USDT; the symbols in it: BTCUSDT"):
            replay(tmp_path / "trades.parquet", symbol=symbol)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    """A text under a Parquet name, and bytes that are no capture, are refused in one line."""
    for name, reason in (
        ("words.parquet", "cannot be read as"),
        ("words.jsonl", "is no text in UTF-8"),
        ("words.gz", "is no text in UTF-8"),
    ):
        (tmp_path / name).write_bytes(b"\xff\xfe no trades")
        with pytest.raises(RecordingRefused, match=f"{name}: {reason}"):
            replay(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop("side"), "lacks the columns side"),
        (lambda t: t.with_columns(trade_id=pl.lit(None, pl.Int64)), "row 1, column trade_id: is missing"),
        (lambda t: t.with_columns(price=pl.lit(-1.0)), "row 1, column price: was -1.0; write a number above 0"),
        (lambda t: t.with_columns(price=pl.lit(float("nan"))), "row 1, column price: was nan; write a number above 0"),
        (lambda t: t.with_columns(size=pl.lit("many")), "row 1, column size: was 'many'; write a number above 0"),
        (lambda t: t.with_columns(size=pl.lit(1e200)), "row 1, column size: was 1e.200; write a number above 0"),
        (lambda t: t.with_columns(side=pl.lit("BUY")), "row 1, column side: was 'BUY'; write buy or sell"),
        (lambda t: t.with_columns(side=pl.lit(True)), "row 1, column side: was True; write buy or sell"),
        (lambda t: t.with_columns(symbol=pl.lit("NOSUCHPAIR")), "'NOSUCHPAIR' does not end in a known quote currency"),
        (
            lambda t: t.with_columns(symbol=pl.lit("FOOBUSD")),
            "'FOOBUSD' may be FOO-BUSD or FOOB-USD; name it with --sy",
        ),
        (lambda t: t.with_columns(ts=pl.lit(17)), "row 1, column ts: was 17, which is no time; write ISO 8601"),
        (lambda t: t.with_columns(ts=pl.lit("soon")), "row 1, column ts: was 'soon', which is no time"),
        (lambda t: t.with_columns(ts=pl.lit(1.5, pl.Float32)), "column ts: is Float32; write ISO 8601"),
        (lambda t: t.with_columns(trade_id=pl.lit(-5)), "row 1, column trade_id: was -5; the venue's ids are integers"),
        (lambda t: t.with_columns(trade_id=pl.lit(5)), "row 2: has the trade_id of row 1, 5, and is another trade"),
        (lambda t: t.with_columns(trade_id=-pl.col("trade_id") + 9999), "ids of this venue rise with time"),
        (lambda t: t.with_columns(first_id=pl.lit(7), last_id=pl.lit(6)), "row 1, column last_id: was 6; write"),
        (lambda t: t[:0], "holds no rows"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, change: object, says: str) -> None:
    """The error names file, row or column, and what is wrong."""
    change(trades_table()).write_parquet(tmp_path / "wrong.parquet")  # type: ignore[operator]
    with pytest.raises(RecordingRefused, match=says) as refused:
        replay(tmp_path / "wrong.parquet")
    assert "wrong.parquet" in str(refused.value)
    assert "\n" not in str(refused.value)


XRP = SHARED / "data/trades/binance_spot_XRPETH_aggtrades_20191011-20191013.parquet"


@pytest.mark.long
@pytest.mark.skipif(not XRP.exists(), reason=f"needs the recorded trades at {XRP}")
def test_a_real_run_of_59_hours_is_exact() -> None:
    """Real trades, 59 hours: every bar equals the group-by, first and last hour included."""
    bars = bars_table(replay(XRP))
    assert_bars_equal(bars, by_group(pl.read_parquet(XRP)))
    assert set(bars["completeness"][1:-1]) == {"proven"}
