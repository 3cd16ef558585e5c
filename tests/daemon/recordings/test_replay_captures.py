"""Replay of captured frames: what subscriptions repeat, lost connections, snapshots, gaps in the written bars."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from daemon.cli.commands.replay import run_replay
from daemon.errors import EXIT_USAGE, Fatal
from features.market import Completeness
from tests.daemon.recordings import captures
from tests.daemon.recordings.captures import START_S, capture, connected, received
from tests.daemon.recordings.replaying import replay

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
    """Trades from before the interval in which they arrive only show where the next trade joins."""
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
    """All trades of a snapshot count; bars that it covers completely are proven, its first bar is not."""
    snapshot = snapshots(*((number, START_S - 140 + number * 20) for number in range(1, 10)))[venue_name]
    frame = {"coinbase": captures.coinbase, "kraken": lambda number, at_s: captures.kraken(("BTC/USD", number, at_s))}
    live = lines(frame[venue_name], (10, 65), (11, 125))
    file = capture(tmp_path, connected(START_S + 44), received(START_S + 45, snapshot), *live)
    expected = [(-2, "unproven", 3), (-1, "proven", 3), (0, "proven", 3), (1, "proven", 1), (2, "unproven", 1)]
    assert bars_of(file, venue_name) == expected


@pytest.mark.parametrize("venue_name", ["coinbase", "kraken"])
def test_a_snapshot_counts_from_where_its_ids_join(venue_name: str, tmp_path: Path) -> None:
    """Trades before a gap in the snapshot's ids open no bar, nor does a trade of years ago."""
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
    """The pipeline closes the older bars of the snapshot and continues its rounds of forecasts."""
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
    """A trade that happened while the recorder was connected counts, however late it arrived."""
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
    """Without receipt times a repeated trade looks new: every trade of a snapshot counts."""
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
    """The minutes between the last line and the next trade may lack any number of trades; the others lack none."""
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
    """Contiguous ids alone show which trades were lost."""
    before, after = lines(captures.okx, (5, 10), (6, 70)), lines(captures.okx, (6, 70), (7, 190), delay_s=115)
    file = capture(tmp_path, connected(START_S + 5), *before, connected(START_S + 180), *after)
    assert [verdict for _, verdict, _ in bars_of(file, "okx")] == ["unproven", "proven", "empty", "unproven"]


def test_two_connections_feed_one_sequence(tmp_path: Path) -> None:
    """One connection delivers what the other misses; a trade that both deliver counts once."""
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
def test_wrong_arguments_are_refused(arguments: dict[str, object], says: str, tmp_path: Path) -> None:
    """Each wrong argument is refused in one line, before the replay begins."""
    options = {"venue_name": "okx", "interval": "1m", "bars_file": None, "forecasts_file": None, "symbol": None}
    with pytest.raises(Fatal, match=says) as refused:
        run_replay(capture(tmp_path, captures.okx(1, START_S)), json=False, **{**options, **arguments})  # type: ignore[arg-type]
    assert refused.value.exit_code == EXIT_USAGE
    assert "\n" not in str(refused.value)
