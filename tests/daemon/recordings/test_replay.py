"""Replay: a recording through the live pipeline gives the bars that a group-by gives, verdicts included."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import polars as pl
import pytest

from daemon.cli.commands.replay import bars_table, run_replay
from daemon.errors import EXIT_USAGE, Fatal
from daemon.exchanges import venue
from daemon.exchanges.base import traits
from daemon.publishing.schemas import schema
from daemon.recordings import RecordingRefused, read
from daemon.recordings.replay import Replay, ReplayResult
from features.market import Completeness, Instrument
from tests.daemon.recordings import captures
from tests.daemon.recordings.captures import START_S, capture, connected, received
from tests.paths import SHARED

HOUR_US = 3_600_000_000
START = datetime(2024, 1, 1, 0, 10, tzinfo=UTC)


def replay(
    file: Path, *, venue_name: str = "binance", symbol: str | None = None, interval_us: int = HOUR_US
) -> ReplayResult:
    recording = read(file, venue_name=venue_name, symbol=symbol)
    instruments = [Instrument(venue_name, name) for name in recording.symbols]
    known = {venue_name: traits(venue(venue_name, None))}
    return Replay(instruments, interval_us=interval_us, traits=known).run(recording, venue_name)


def trades_table(count: int = 600, *, symbol: str = "BTCUSDT") -> pl.DataFrame:
    """Ten hours of a trade a minute, with the price going up and down."""
    return pl.DataFrame(
        {
            "symbol": [symbol] * count,
            "trade_id": range(100, 100 + count),
            "ts": [START + timedelta(minutes=i) for i in range(count)],
            "price": [100.0 + i % 17 / 10 for i in range(count)],
            "size": [0.1 + i % 5 / 100 for i in range(count)],
            "side": ["buy" if i % 3 else "sell" for i in range(count)],
        }
    )


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
    """A silence of three hours, with the ids unbroken, is three empty bars."""
    table = trades_table(120).with_columns(
        ts=pl.when(pl.col("trade_id") >= 160).then(pl.col("ts") + timedelta(hours=4)).otherwise(pl.col("ts"))
    )
    table.write_parquet(tmp_path / "quiet.parquet")
    verdicts = bars_table(replay(tmp_path / "quiet.parquet"))["completeness"].to_list()
    assert verdicts.count("empty") == 3


def test_a_long_replay_keeps_no_trades(tmp_path: Path) -> None:
    """Trades are kept for the open bar only, since a replay has no store that takes them."""
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
    """With enough bars forecasts come out, valid by the schema of the MQTT message."""
    table = trades_table(60 * 60).with_columns(price=pl.Series([100 + (i * 7919 % 101) / 50 for i in range(3600)]))
    table.write_parquet(tmp_path / "long.parquet")
    forecasts = replay(tmp_path / "long.parquet").forecasts
    assert forecasts
    for payload in forecasts:
        jsonschema.validate(json.loads(payload), schema("forecastd.forecast.v1"))


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
    for name in ("words.parquet", "words.jsonl", "words.gz"):
        (tmp_path / name).write_bytes(b"\xff\xfe no trades")
        with pytest.raises(RecordingRefused, match=f"{name}: cannot be read as"):
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


# Captures


MINUTE_US = 60_000_000
START_US = START_S * 1_000_000


def bars_of(file: Path, venue_name: str, *, interval_us: int = MINUTE_US) -> list[tuple[int, str, int | None]]:
    """Minutes since the start, verdict and trades of each bar of the one symbol in a capture."""
    bars = replay(file, venue_name=venue_name, interval_us=interval_us).bars
    return [
        ((open_us - START_US) // interval_us, bar.completeness.value, bar.trades)
        for (_, open_us), bar in sorted(bars.items())
    ]


def lines(frame: Callable[[int, float], str], *trades: tuple[int, float], delay_s: float = 0.1) -> list[str]:
    """Capture lines of trades (id, second), each received a moment later."""
    return [received(START_S + at_s + delay_s, frame(number, START_S + at_s)) for number, at_s in trades]


@pytest.mark.parametrize(
    ("venue_name", "old"),
    [
        ("okx", captures.okx(10, START_S - 72_000)),
        ("coinbase", captures.coinbase(10, START_S - 72_000, kind="last_match")),
        ("coinbase", captures.coinbase_snapshot((7, START_S - 300), (8, START_S - 300), (10, START_S - 200))),
        ("kraken", captures.kraken(("BTC/USD", 10, START_S - 490))),
    ],
)
def test_what_a_subscription_repeats_opens_no_old_bar(venue_name: str, old: str, tmp_path: Path) -> None:
    """Trades from before the interval in which they came only say where the next one joins."""
    frame = {"okx": captures.okx, "coinbase": captures.coinbase}.get(
        venue_name, lambda number, at_s: captures.kraken(("BTC/USD", number, at_s))
    )
    live = lines(frame, (11, 70), (12, 130), (13, 190))
    file = capture(tmp_path, connected(START_S + 5), received(START_S + 6, old), *live)
    assert bars_of(file, venue_name) == [(0, "unproven", 0), (1, "proven", 1), (2, "proven", 1), (3, "unproven", 1)]
    lost = capture(tmp_path, connected(START_S + 5), received(START_S + 6, old), *live[1:])
    assert bars_of(lost, venue_name)[:3] == [(0, "gap", 0), (1, "gap", 0), (2, "gap", 1)]


def snapshots(*trades: tuple[int, float]) -> dict[str, str]:
    return {
        "coinbase": captures.coinbase_snapshot(*trades),
        "kraken": captures.kraken(*(("BTC/USD", number, at_s) for number, at_s in trades)),
    }


@pytest.mark.parametrize("venue_name", ["coinbase", "kraken"])
def test_a_snapshot_makes_bars_where_its_ids_join(venue_name: str, tmp_path: Path) -> None:
    """All its trades count; the bars that it covers whole are proven, the one of its beginning is not."""
    snapshot = snapshots(*((number, START_S - 140 + number * 20) for number in range(1, 10)))[venue_name]
    frame = {"coinbase": captures.coinbase, "kraken": lambda number, at_s: captures.kraken(("BTC/USD", number, at_s))}
    live = lines(frame[venue_name], (10, 65), (11, 125))
    file = capture(tmp_path, connected(START_S + 44), received(START_S + 45, snapshot), *live)
    expected = [(-2, "unproven", 3), (-1, "proven", 3), (0, "proven", 3), (1, "proven", 1), (2, "unproven", 1)]
    assert bars_of(file, venue_name) == expected


@pytest.mark.parametrize("venue_name", ["coinbase", "kraken"])
def test_a_snapshot_counts_from_where_its_ids_join(venue_name: str, tmp_path: Path) -> None:
    """What lies before a hole in its ids opens no bar, and neither does a trade of years ago."""
    ids = (1, 2, 4, 5, 6, 7)
    snapshot = snapshots(*((number, START_S - 140 + number * 20) for number in ids))[venue_name]
    frame = {"coinbase": captures.coinbase, "kraken": lambda number, at_s: captures.kraken(("BTC/USD", number, at_s))}
    live = lines(frame[venue_name], (8, 65), (9, 125))
    file = capture(tmp_path, connected(START_S + 4), received(START_S + 5, snapshot), *live)
    expected = [(-1, "unproven", 3), (0, "proven", 1), (1, "proven", 1), (2, "unproven", 1)]
    assert bars_of(file, venue_name) == expected
    old = snapshots((5, START_S - 86_400 * 900), (6, START_S - 20), (7, START_S + 1))[venue_name]
    file = capture(tmp_path, connected(START_S + 4), received(START_S + 5, old), *live)
    assert [minute for minute, _, _ in bars_of(file, venue_name)] == [-1, 0, 1, 2]


def test_a_snapshot_that_comes_after_other_symbols_have_closed_bars(tmp_path: Path) -> None:
    """Its older bars are made, and the rounds of forecasts go on."""
    snapshot = captures.kraken(*(("ETH/USD", number, START_S + number * 30) for number in range(1, 40)))
    busy = lines(
        lambda number, at_s: captures.kraken(("BTC/USD", number, at_s)), *((n, n * 10.0) for n in range(1, 200))
    )
    late = lines(
        lambda number, at_s: captures.kraken(("ETH/USD", number, at_s)), *((n, n * 30.0) for n in range(40, 65))
    )
    merged = sorted([*busy[119:], *late], key=lambda line: json.loads(line)["ts"])
    file = capture(
        tmp_path,
        connected(START_S),
        *busy[:119],
        connected(START_S + 1190, conn="b"),
        received(START_S + 1191, snapshot),
        *merged,
    )
    result = replay(file, venue_name="kraken", interval_us=MINUTE_US)
    of_late = [bar for (each, _), bar in sorted(result.bars.items()) if each.symbol == "ETH-USD"]
    assert of_late[0].open_time_us == START_US
    assert [bar.completeness.value for bar in of_late[1:31]] == ["proven"] * 30
    assert sum(bar.trades or 0 for bar in of_late) == 64
    assert result.forecasts


def test_a_trade_that_came_late_is_no_repetition(tmp_path: Path) -> None:
    """What happened while the recorder listened counts, however late it came."""
    live = lines(captures.binance, (1, 1.5), (2, 1.6), (3, 4.2), (4, 5.2), delay_s=2.0)
    file = capture(tmp_path, connected(START_S + 1), *live)
    verdicts = bars_of(file, "binance", interval_us=1_000_000)
    assert verdicts == [
        (1, "unproven", 4),
        (2, "empty", 0),
        (3, "empty", 0),
        (4, "proven", 2),
        (5, "unproven", 2),
    ]


def test_without_receipt_times_every_trade_counts(tmp_path: Path) -> None:
    """Nothing tells a repetition from news there: all of a snapshot makes bars."""
    frames = [captures.coinbase_snapshot((1, START_S), (2, START_S + 61)), captures.coinbase(3, START_S + 122)]
    assert bars_of(capture(tmp_path, *frames), "coinbase") == [(0, "unproven", 1), (1, "proven", 1), (2, "unproven", 1)]


TIMED = {"bybit": captures.bybit, "bybit_linear": captures.bybit_linear, "bitstamp": captures.bitstamp}


@pytest.mark.parametrize("venue_name", TIMED)
def test_a_capture_without_provable_ids_is_one_subscription(venue_name: str, tmp_path: Path) -> None:
    """Nothing is proven and nothing is a gap, a quiet minute included; a trade delivered twice counts once."""
    live = lines(TIMED[venue_name], (5, 10), (9, 70), (9, 70), (12, 190))
    expected = [(0, "unproven", 1), (1, "unproven", 1), (2, "unproven", 0), (3, "unproven", 1)]
    assert bars_of(capture(tmp_path, connected(START_S + 5), *live), venue_name) == expected


@pytest.mark.parametrize("venue_name", TIMED)
def test_a_lost_connection_is_a_gap_where_ids_prove_nothing(venue_name: str, tmp_path: Path) -> None:
    """The minutes between the last line and the next trade may lack any number of trades; those around do not."""
    before = lines(TIMED[venue_name], (5, 10), (9, 70))
    after = lines(TIMED[venue_name], (12, 190), (13, 250))
    file = capture(tmp_path, connected(START_S + 5), *before, connected(START_S + 185), *after)
    result = replay(file, venue_name=venue_name, interval_us=MINUTE_US)
    assert bars_of(file, venue_name) == [
        (0, "unproven", 1),
        *[(minute, "gap", trades) for minute, trades in ((1, 1), (2, 0), (3, 1))],
        (4, "unproven", 1),
    ]
    assert {bar.missing_trades for bar in result.bars.values() if bar.completeness is Completeness.GAP} == {None}


def test_a_lost_connection_costs_nothing_where_ids_join(tmp_path: Path) -> None:
    """Ids tell by themselves what was lost."""
    before, after = lines(captures.okx, (5, 10), (6, 70)), lines(captures.okx, (6, 70), (7, 190), delay_s=115)
    file = capture(tmp_path, connected(START_S + 5), *before, connected(START_S + 180), *after)
    assert [verdict for _, verdict, _ in bars_of(file, "okx")] == ["unproven", "proven", "empty", "unproven"]


def test_two_connections_feed_one_sequence(tmp_path: Path) -> None:
    """What one connection misses the other brings; what both bring counts once."""
    first = lines(captures.binance, (1, 10), (2, 70), (4, 130))
    second = lines(captures.binance, (1, 10), (3, 80), (4, 130), delay_s=0.2)
    named = [
        line.replace('"dir"', f'"conn": "{name}", "dir"')
        for name, each in (("a", first), ("b", second))
        for line in each
    ]
    named.sort(key=lambda line: json.loads(line)["ts"])
    opened = [connected(START_S + 5, conn=name) for name in "ab"]
    file = capture(tmp_path, *opened, *named)
    assert bars_of(file, "binance") == [(0, "unproven", 2), (1, "proven", 4), (2, "unproven", 2)]
    assert replay(file, interval_us=MINUTE_US).duplicates == 2


def test_a_quiet_symbol_among_busy_ones(tmp_path: Path) -> None:
    """A symbol with a single trade gets its bars to the end of the capture, at any interval."""
    busy = lines(captures.binance, *((number, number * 0.3) for number in range(200)))
    quiet = received(START_S + 1, captures.binance(7, START_S + 0.9, symbol="ETHUSDT"))
    file = capture(tmp_path, *busy[:5], quiet, *busy[5:])
    result = replay(file, interval_us=1_000_000)
    of_quiet = [bar for bar in result.bars.values() if bar.symbol == "ETH-USDT"]
    assert [bar.trades for bar in of_quiet] == [2] + [0] * 59
    assert {bar.completeness for bar in of_quiet} == {Completeness.UNPROVEN}


def test_the_last_interval_closes_though_the_one_before_waits(tmp_path: Path) -> None:
    """A capture that ends a moment after a boundary gives both bars."""
    live = lines(captures.binance, (1, 10), (2, 20), (3, 61))
    assert bars_of(capture(tmp_path, *live), "binance") == [(0, "unproven", 4), (1, "unproven", 2)]


def test_bars_with_gaps_are_written(tmp_path: Path) -> None:
    """The bars file holds the missing ranges, with times, and reads back."""
    live = lines(captures.okx, (1, 10), (2, 70), (5, 130), (6, 190))
    (tmp_path / "whole").mkdir()
    options = {"forecasts_file": None, "symbol": None, "json": True}
    for folder, trades in ((tmp_path, live), (tmp_path / "whole", live[:2])):
        run_replay(capture(folder, *trades), venue_name="okx", interval="1m", bars_file=folder / "b.parquet", **options)  # type: ignore[arg-type]
    table, whole = pl.read_parquet(tmp_path / "b.parquet"), pl.read_parquet(tmp_path / "whole" / "b.parquet")
    assert table.schema == whole.schema
    (lost,) = table["missing_ranges"][1]
    assert (lost["first_id"], lost["last_id"]) == (3, 4)
    assert lost["after"] == datetime.fromtimestamp(START_S + 70, tz=UTC)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"venue_name": "ftx"}, "--venue was 'ftx'; known venues: binance, coinbase"),
        ({"symbol": "btcusdt"}, "--symbol was 'btcusdt'; write BTC-USDT"),
        ({"symbol": "BTC-USD-SWAP"}, "holds no BTC-USD-SWAP; the symbols in it: BTC-USDT"),
        ({"interval": "7s"}, "--interval"),
        ({"bars_file": Path("/nowhere/bars.parquet")}, "there is no folder /nowhere"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, object], says: str, tmp_path: Path) -> None:
    """Each is refused before the work begins, in one line."""
    options = {"venue_name": "okx", "interval": "1m", "bars_file": None, "forecasts_file": None, "symbol": None}
    with pytest.raises(Fatal, match=says) as refused:
        run_replay(capture(tmp_path, captures.okx(1, START_S)), json=False, **{**options, **arguments})  # type: ignore[arg-type]
    assert refused.value.exit_code == EXIT_USAGE
    assert "\n" not in str(refused.value)


XRP = SHARED / "data/trades/binance_spot_XRPETH_aggtrades_20191011-20191013.parquet"


@pytest.mark.long
@pytest.mark.skipif(not XRP.exists(), reason=f"needs the recorded trades at {XRP}")
def test_a_real_run_of_59_hours_is_exact() -> None:
    """Real trades, 59 hours: every bar equals the group-by, first and last hour included."""
    bars = bars_table(replay(XRP))
    assert_bars_equal(bars, by_group(pl.read_parquet(XRP)))
    assert set(bars["completeness"][1:-1]) == {"proven"}
