"""Real captures: every frame is explained, and bars made from them equal the venues' own candles."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise

import msgspec
import pytest
from structlog.testing import capture_logs

from daemon.exchanges import venue
from daemon.exchanges.base import TradesWanted, traits
from daemon.exchanges.binance import BinanceRawTrades
from daemon.exchanges.kraken import Kraken
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import SequenceStart
from daemon.pipeline.events import BarClosed, BarRevised
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.reconciliation import differences
from daemon.pipeline.timeouts import Timeouts
from daemon.recordings import RecordedTrades, Recording, read
from daemon.recordings.capture_lines import read_lines
from daemon.recordings.replay import Replay, ReplayResult
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade, interval_start
from models.specification import DEFAULT_LEVELS
from tests.paths import SHARED

RECORDINGS = SHARED / "recordings"
TRADES = SHARED / "data" / "trades"
pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS}")

SECOND_US, MINUTE_US = 1_000_000, 60_000_000
SPOT = RECORDINGS / "binance/spot_2021-04-04_BTC-ETH-DOT_aggTrade_kline.jsonl"
RAW = RECORDINGS / "binance/stream_2024-08-08"

# Capture: symbols, trades of them that come.
CAPTURES = {
    "binance/spot_2021-04-04_BTC-ETH-DOT_aggTrade_kline.jsonl": (3, 1910),
    "binance/usdm_futures_2021-07-22_aggTrade.jsonl": (4, 91),
    "binance/stream_2024-08-08/binance_spot_btcusdt_20240808.gz": (1, 9757),
    "binance/stream_2024-08-08/binance_spot_ethusdt_20240808.gz": (1, 6106),
    "bitstamp/v2_2021-04-05_live_trades.jsonl": (6, 32),
    "bitstamp/v2_2021-04-17_live_trades.jsonl": (3, 16),
    "coinbase/exchange_2021-04-17_matches.jsonl": (10, 107),
    "okx/v5_2021-07-22_trades_manyinst.jsonl": (9, 36),
}


def replay(recording: Recording, venue_name: str, interval_us: int) -> ReplayResult:
    instruments = [Instrument(venue_name, symbol) for symbol in recording.symbols]
    known = {venue_name: traits(venue(venue_name, None))}
    return Replay(instruments, interval_us=interval_us, traits=known).run(recording, venue_name)


def recorded(name: str) -> Recording:
    return read(RECORDINGS / name, venue_name=name.partition("/")[0], symbol=None)


def test_every_capture_is_known_here() -> None:
    """A capture that is added to the recordings is added to these tests."""
    files = [*RECORDINGS.glob("*/*.jsonl"), *RECORDINGS.glob("*/*/*.gz")]
    assert {str(file.relative_to(RECORDINGS)) for file in files if file.name != "doc_examples.jsonl"} == set(CAPTURES)


@pytest.mark.long
@pytest.mark.parametrize("name", CAPTURES)
def test_no_frame_is_unexplained(name: str) -> None:
    """Every frame of every capture decodes: no DataFault."""
    frames = sum(line.frame is not None for line in read_lines(RECORDINGS / name))
    with capture_logs() as logs:
        recording = recorded(name)
        trades = [trade for each in recording if isinstance(each, RecordedTrades) for trade in each.trades]
    assert logs == []
    assert frames >= len(trades)
    assert (len(recording.symbols), len(trades)) == CAPTURES[name]


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CAPTURES if name.partition("/")[0] != "bitstamp"])
def test_ids_have_no_holes(name: str) -> None:
    """Each symbol's ids are contiguous, so that all bars but the first and the last are proven."""
    last_ids: dict[str, int] = {}
    for each in recorded(name):
        assert isinstance(each, RecordedTrades)
        for trade in each.trades:
            assert trade.trade_id - trade.span == last_ids.get(each.symbol, trade.trade_id - trade.span)
            last_ids[each.symbol] = trade.trade_id
    verdicts: dict[str, list[Completeness]] = defaultdict(list)
    for bar in replay(recorded(name), name.partition("/")[0], MINUTE_US).bars.values():
        verdicts[bar.symbol].append(bar.completeness)
    for of_symbol in verdicts.values():
        assert of_symbol[0] is of_symbol[-1] is Completeness.UNPROVEN
        assert set(of_symbol[1:-1]) <= {Completeness.PROVEN, Completeness.EMPTY}


@pytest.mark.parametrize("name", [name for name in CAPTURES if name.startswith("bitstamp")])
@pytest.mark.parametrize("interval_us", [5 * SECOND_US, MINUTE_US])
def test_without_provable_ids_nothing_is_proven_nor_a_gap(name: str, interval_us: int) -> None:
    """A capture of one connection is one subscription."""
    bars = replay(recorded(name), "bitstamp", interval_us).bars.values()
    assert {bar.completeness for bar in bars} == {Completeness.UNPROVEN}
    assert sum(bar.trades or 0 for bar in bars) == CAPTURES[name][1]


def test_repeated_trades_open_no_old_bars() -> None:
    """OKX begins with a trade of 20 hours ago, Coinbase with one of an earlier minute: neither opens a bar."""
    for name in ("okx/v5_2021-07-22_trades_manyinst.jsonl", "coinbase/exchange_2021-04-17_matches.jsonl"):
        bars = replay(recorded(name), name.partition("/")[0], MINUTE_US).bars
        instruments = Counter(instrument for instrument, _ in bars)
        assert set(instruments.values()) == {2}, "the captures have a minute's end in them, and begin in that minute"
        assert len({open_us for _, open_us in bars}) == 2
        assert sum(bar.trades or 0 for bar in bars.values()) == CAPTURES[name][1] - 1


def klines() -> dict[tuple[str, int], list[dict[str, object]]]:
    """The successive kline frames of each symbol's minutes."""
    found: dict[tuple[str, int], list[dict[str, object]]] = defaultdict(list)
    for line in read_lines(SPOT):
        if line.frame is not None and "@kline" in line.frame:
            kline = json.loads(line.frame)["data"]["k"]
            found[kline["s"], kline["t"]].append(kline)
    return found


def aggregates() -> dict[str, list[tuple[int, int, Trade]]]:
    """Each symbol's trades with the raw ids in them."""
    wire = venue("binance", None)
    found: dict[str, list[tuple[int, int, Trade]]] = defaultdict(list)
    for line in read_lines(SPOT):
        if line.frame is not None and "@aggTrade" in line.frame:
            data = json.loads(line.frame)["data"]
            (trade,) = wire.decode(line.frame).trades  # type: ignore[union-attr]
            found[data["s"]].append((data["f"], data["l"], trade))
    return found


def bar_between(records: list[tuple[int, int, Trade]], first: int, last: int, open_us: int) -> Bar | None:
    """The daemon's bar of the raw trades ``first`` to ``last``; None where the capture does not hold exactly these."""
    inside = [record for record in records if record[0] >= first and record[1] <= last]
    if not inside or (inside[0][0], inside[-1][1]) != (first, last):
        return None  # it began before the capture, or stops inside an aggregate trade
    bar = OpenBar(Instrument("binance", "X"), open_time_us=open_us, interval_us=MINUTE_US)
    bar.extend([trade for _, _, trade in inside])
    return bar.bar(completeness=Completeness.PROVEN, known_at_us=0, missing_trades=0, revision=0, decimals=8)


def test_binance_bars_equal_what_klines_gain() -> None:
    """The growth of a kline between two frames equals the daemon's bar of the same trades."""
    records, compared = aggregates(), 0
    for (symbol, open_ms), frames in klines().items():
        start = {"L": frames[0]["f"] - 1, "n": 0, "v": "0", "q": "0", "V": "0", "Q": "0"}  # type: ignore[operator]
        for before, after in pairwise([start, *frames]):
            bar = bar_between(records[symbol], before["L"] + 1, after["L"], open_ms * 1000)  # type: ignore[operator, arg-type]
            if bar is None:
                continue
            gained = [float(after[name]) - float(before[name]) for name in "nvqVQ"]  # type: ignore[arg-type]
            ours = [bar.trades, bar.volume, bar.quote_volume, bar.taker_buy_volume, bar.taker_buy_quote_volume]
            assert ours == pytest.approx(gained, rel=1e-9, abs=1e-6)
            assert bar.close == float(after["c"])  # type: ignore[arg-type]
            compared += 1
    assert compared >= 95


def test_binance_bars_equal_whole_klines() -> None:
    """A complete kline equals the daemon's bar, prices included, at each moment at which it was sent."""
    records, compared = aggregates(), 0
    for (symbol, open_ms), frames in klines().items():
        for kline in frames:
            bar = bar_between(records[symbol], kline["f"], kline["L"], open_ms * 1000)  # type: ignore[arg-type]
            if bar is None:
                continue
            theirs = [float(kline[name]) for name in "ohlcvqVQ"]  # type: ignore[arg-type]
            ours = [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume]
            assert [*ours, bar.taker_buy_volume, bar.taker_buy_quote_volume] == theirs
            assert bar.trades == kline["n"]
            compared += 1
    assert compared >= 40


@pytest.mark.long
@pytest.mark.skipif(not TRADES.exists(), reason=f"no trades at {TRADES}")
@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_raw_trades_equal_the_table_of_the_same_hour(symbol: str) -> None:
    """Trades and bars of the raw capture equal those of a third party's Parquet file."""
    capture = read(RAW / f"binance_spot_{symbol}_20240808.gz", venue_name="binance", symbol=None)
    table = read(
        TRADES / f"binance_spot_{symbol.upper()}_trades_20240808-09_ws.parquet", venue_name="binance", symbol=None
    )
    ours, theirs = (
        [each.trades[0] for each in recording if isinstance(each, RecordedTrades)] for recording in (capture, table)
    )
    assert ours == theirs[: len(ours)]
    bars, expected = (replay(recording, "binance", MINUTE_US).bars for recording in (capture, table))
    last = max(bars)
    assert len(bars) == 7
    for key in bars.keys() - {last}:
        assert bars[key] == msgspec.structs.replace(expected[key], known_at_us=bars[key].known_at_us)
    assert (bars[last].completeness, expected[last].completeness) == (Completeness.UNPROVEN, Completeness.PROVEN)


def test_aggregate_and_raw_trades_never_mix() -> None:
    """A capture of aggregate trades holds no raw ones for the raw reader, which reads the other capture."""
    reader = BinanceRawTrades(None)
    for file, kind in ((SPOT, "Heartbeat"), (RAW / "binance_spot_ethusdt_20240808.gz", "TradesMessage")):
        kinds = Counter(type(reader.decode(line.frame)).__name__ for line in read_lines(file) if line.frame)
        assert (kinds["TradesMessage"] > 0) is (kind == "TradesMessage")


def pipeline_bars(instrument: Instrument, trades: list[Trade]) -> dict[int, Bar]:
    """The bars that the pipeline closes by the time of the last trade."""
    pipeline = Pipeline(
        [instrument],
        interval_us=MINUTE_US,
        traits={instrument.venue: traits(venue(instrument.venue, None))},
        timeouts=Timeouts(grace_us=2 * SECOND_US, proof_wait_us=6 * SECOND_US),
        scoreboard=Scoreboard(interval_us=MINUTE_US, levels=DEFAULT_LEVELS),
    )
    start_us = interval_start(trades[0].time_us, MINUTE_US)
    start = SequenceStart(trades[:1], None, complete=False)
    pipeline.start_sequence(instrument, start, from_time_us=start_us, now_us=trades[0].time_us, wall_s=0.0)
    for trade in trades[1:]:
        pipeline.trades_received(instrument, [trade], trade.time_us, trade.time_us / 1e6)
        pipeline.time_advanced(trade.time_us, trade.time_us / 1e6)
    closed = [each for each in pipeline.events() if isinstance(each, BarClosed | BarRevised)]
    return {each.bar.open_time_us: each.bar for each in closed}


def test_kraken_bars_equal_its_candles() -> None:
    """A thousand REST trades through the pipeline give Kraken's own minutes, quiet ones included."""
    kraken = Kraken(["BTC-USDT"])
    wanted = TradesWanted(symbol="BTC-USDT", from_id=None, from_time_us=0, until_id=None, asked_at_us=0)
    body = (RECORDINGS / "kraken/rest_Trades_XBTUSDT_2025-11-10.json").read_bytes()
    trades = kraken.decode_trades(body, wanted, kraken.trades(wanted)).trades
    assert len(trades) == 1000
    bars = pipeline_bars(Instrument("kraken", "BTC-USDT"), trades)
    candles = kraken.decode_candles(
        (RECORDINGS / "kraken/rest_OHLC_XBTUSDT_1m_2025-11-10.json").read_bytes(),
        symbol="BTC-USDT",
        interval_us=MINUTE_US,
        known_at_us=4_000_000_000_000_000,
    )
    whole = {
        candle.open_time_us: candle
        for candle in candles
        if bars.get(candle.open_time_us, candle).completeness in (Completeness.PROVEN, Completeness.EMPTY)
    }
    assert len(candles) == 721
    assert len(whole) >= 270
    assert {bars[open_us].completeness for open_us in whole} == {Completeness.PROVEN, Completeness.EMPTY}
    for open_us, candle in whole.items():
        assert differences(bars[open_us], candle) == {}
        assert (bars[open_us].trades, bars[open_us].close) == (candle.trades, candle.close)
