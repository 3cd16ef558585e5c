"""Binance's wire: what is read, what is refused, and that nothing but DataFault comes out."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import ConfigError, DataFault
from daemon.exchanges.base import Acknowledged, ClosingSoon, Heartbeat, Listed, Refused, TradesMessage
from daemon.exchanges.binance import Binance
from features.market import Completeness, Trade

RECORDINGS = Path(__file__).parents[4] / "shared" / "recordings" / "binance"
needs_recordings = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"no recordings at {RECORDINGS}")

SYMBOLS = ("BTC-USDT", "ETH-USDT", "DOT-USDT")
FRAME = (
    b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1617566591315,"s":"BTCUSDT","a":665076760,'
    b'"p":"58001.03000000","q":"0.08620500","f":745522877,"l":745522879,"T":1617566591314,"m":true,"M":true}}'
)
RAW = FRAME[FRAME.index(b'"data":') + 7 : -1]
TRADE = Trade(665076760, 1617566591314_000, 58001.03, 0.086205, taker_buys=False, count=3)
HOUR_US = 3_600_000_000
BOUNDLESS = 4_000_000_000_000_000


@pytest.fixture
def binance() -> Binance:
    return Binance(SYMBOLS)


def captured_frames(name: str) -> list[bytes]:
    lines = (json.loads(line) for line in (RECORDINGS / name).read_text().splitlines())
    return [line["data"].encode() for line in lines if line["dir"] == "recv"]


@pytest.mark.parametrize("frame", [FRAME, RAW, FRAME.decode()], ids=["combined", "raw", "text"])
def test_aggregate_trade(binance: Binance, frame: bytes | str) -> None:
    """A frame becomes one trade: taker side from the maker flag, count from the raw ids, microseconds."""
    assert binance.decode(frame) == TradesMessage("BTC-USDT", [TRADE])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b'{"result":null,"id":1}', Acknowledged(1)),
        (b'{"result":["ethusdt@aggTrade","btcusdt@aggTrade"],"id":3}', Listed(3, ("ETH-USDT", "BTC-USDT"))),
        (b'{"result":[],"id":4}', Listed(4, ())),
        (b'{"result":["xrpusdt@aggTrade","btcusdt@trade"],"id":5}', Listed(5, ())),
        (b'{"code":2,"msg":"Invalid request"}', Refused(None, "Invalid request (code 2)")),
        (b'{"code":2,"msg":"Invalid request","id":7}', Refused(7, "Invalid request (code 2)")),
        (b'{"error":{"code":3,"msg":"no"},"id":7}', Refused(7, "no (code 3)")),
        (b'{"e":"serverShutdown","E":1770123456789}', ClosingSoon("serverShutdown")),
        (
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
            ClosingSoon("serverShutdown"),
        ),
        (b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{}}}', Heartbeat()),
        (b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}', Heartbeat()),
        (b'{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345}', Heartbeat()),
    ],
)
def test_other_frames(binance: Binance, frame: bytes, message: object) -> None:
    """Answers, errors, announcements and other streams are told apart."""
    assert binance.decode(frame) == message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"58001.03000000"', b'"NaN"'),
        (b'"58001.03000000"', b'"inf"'),
        (b'"58001.03000000"', b'"-1"'),
        (b'"58001.03000000"', b'"0.00000000"'),
        (b'"58001.03000000"', b'"1e15"'),
        (b'"58001.03000000"', b'"1e999"'),
        (b'"58001.03000000"', b'"abc"'),
        (b'"58001.03000000"', b"null"),
        (b'"0.08620500"', b'"0"'),
        (b'"0.08620500"', b"[]"),
        (b'"a":665076760', b'"a":-1'),
        (b'"a":665076760', b'"a":99999999999999999999'),
        (b'"a":665076760,', b""),
        (b'"l":745522879', b'"l":745522876'),
        (b'"l":745522879', b'"l":9999999999999'),
        (b'"f":745522877', b'"f":-1'),
        (b'"T":1617566591314', b'"T":1617566591'),
        (b'"T":1617566591314', b'"T":1617566591314000'),
        (b'"m":true', b'"m":"perhaps"'),
        (b'"s":"BTCUSDT"', b'"s":"XRPUSDT"'),
        (b'"s":"BTCUSDT"', b'"s":7'),
    ],
)
def test_refused_trades(binance: Binance, old: bytes, new: bytes) -> None:
    """A trade whose values are out of bounds, missing or contradictory is a DataFault in both shapes."""
    for frame in (FRAME, RAW):
        assert old in frame
        with pytest.raises(DataFault):
            binance.decode(frame.replace(old, new))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b"[]",
        b"7",
        b'"text"',
        b"null",
        b'{"id":1}',
        b'{"result":null}',
        b'{"result":7,"id":1}',
        b"[" * 100_000,
        b'{"stream":' * 50_000,
        b'{"data":' * 50_000,
        b'{"stream":"x","data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":"' + b"x" * 1_000_000,
        b"\xff\xfe{}",
        b'{"stream":"\xff"}',
        "\ud800",
    ],
    ids=lambda frame: repr(frame[:20]),
)
def test_malformed_frames(binance: Binance, frame: bytes | str) -> None:
    """Empty, deep, huge, truncated and undecodable frames are DataFaults."""
    with pytest.raises(DataFault):
        binance.decode(frame)


def test_every_truncation_is_a_data_fault(binance: Binance) -> None:
    """No prefix of a frame passes for a whole one."""
    for length in range(len(FRAME)):
        with pytest.raises(DataFault):
            binance.decode(FRAME[:length])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
known_keys = st.sampled_from(
    ["stream", "data", "e", "result", "id", "code", "msg", "error", "s", "a", "p", "q", "f", "l", "T", "m"]
)
near_frames = st.dictionaries(
    known_keys, json_values | st.dictionaries(known_keys, json_values) | st.sampled_from(["aggTrade", "x@aggTrade"])
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), near_frames.map(lambda value: json.dumps(value).encode())))
def test_decode_raises_nothing_but_data_faults(frame: bytes) -> None:
    """Whatever arrives, decode returns a message or raises DataFault."""
    binance = Binance(SYMBOLS)
    with contextlib.suppress(DataFault):
        binance.decode(frame)
    for decode in (binance.decode_trades, binance.decode_instruments, binance.decode_server_time):
        with contextlib.suppress(DataFault):
            decode(frame)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(FRAME) - 1), st.binary(min_size=0, max_size=3))
def test_damaged_frames(position: int, damage: bytes) -> None:
    """A trade frame with damaged bytes is refused or still holds a trade within bounds."""
    try:
        message = Binance(SYMBOLS).decode(FRAME[:position] + damage + FRAME[position + 1 :])
    except DataFault:
        return
    if isinstance(message, TradesMessage):
        (trade,) = message.trades
        assert 0 < trade.price < 1e15
        assert 0 < trade.size < 1e15
        assert trade.count >= 1


@needs_recordings
def test_recorded_frames_are_all_explained(binance: Binance) -> None:
    """Every recorded spot frame is a trade or a heartbeat, and the aggregate ids have no hole."""
    last_ids: dict[str, int] = {}
    trades = 0
    for frame in captured_frames("spot_2021-04-04_BTC-ETH-DOT_aggTrade_kline.jsonl"):
        message = binance.decode(frame)
        if isinstance(message, Heartbeat):
            assert b"@kline" in frame
            continue
        assert isinstance(message, TradesMessage)
        for trade in message.trades:
            assert trade.trade_id == last_ids.get(message.symbol, trade.trade_id - 1) + 1
            last_ids[message.symbol] = trade.trade_id
            trades += 1
    assert trades == 1910


@needs_recordings
def test_klines_agree_with_trades(binance: Binance) -> None:
    """Where a recorded kline's raw ids are whole, its volume, count and taker volume are those of the trades."""
    frames = captured_frames("spot_2021-04-04_BTC-ETH-DOT_aggTrade_kline.jsonl")
    records: dict[str, list[tuple[int, int, Trade]]] = defaultdict(list)
    for frame in frames:
        message = binance.decode(frame)
        if isinstance(message, TradesMessage):
            data = json.loads(frame)["data"]
            records[data["s"]].append((data["f"], data["l"], message.trades[0]))
    compared = 0
    for kline in (json.loads(frame)["data"]["k"] for frame in frames if b"@kline" in frame):
        inside = [record for record in records[kline["s"]] if record[0] >= kline["f"] and record[1] <= kline["L"]]
        if not inside or (inside[0][0], inside[-1][1]) != (kline["f"], kline["L"]):
            continue  # it began before the recording, or stops inside an aggregate trade
        trades = [trade for _, _, trade in inside]
        assert sum(trade.count for trade in trades) == kline["n"]
        assert sum(trade.size for trade in trades) == pytest.approx(float(kline["v"]), rel=1e-9)
        bought = sum(trade.size for trade in trades if trade.taker_buys)
        assert bought == pytest.approx(float(kline["V"]), rel=1e-9, abs=1e-12)
        assert max(trade.price for trade in trades) == float(kline["h"])
        assert min(trade.price for trade in trades) == float(kline["l"])
        compared += 1
    assert compared >= 40


@needs_recordings
def test_documented_examples(binance: Binance) -> None:
    """The documentation's own frames are read as what they are called."""
    lines = (RECORDINGS / "doc_examples.jsonl").read_text().splitlines()
    examples = {example["kind"]: example["data"] for example in map(json.loads, lines)}
    assert isinstance(binance.decode(examples["ack"]), Acknowledged)
    assert isinstance(binance.decode(examples["error"]), Refused)
    assert isinstance(binance.decode(examples["serverShutdown_raw"]), ClosingSoon)
    assert isinstance(binance.decode(examples["serverShutdown_combined"]), ClosingSoon)
    assert isinstance(binance.decode(examples["blockTrade_NOT_in_trade_stream"]), Heartbeat)
    assert isinstance(Binance(["BNB-BTC"]).decode(examples["aggTrade"]), TradesMessage)
    (trade,) = binance.decode_trades(examples["rest_aggTrade_invalidated_duplicate"].encode())
    assert trade == Trade(26129, 1498793709153_000, 0.0, 0.0, taker_buys=False, count=0)


@needs_recordings
def test_recorded_rest_answers(binance: Binance) -> None:
    """Recorded aggTrades and klines are read whole; the klines carry taker volume."""
    trades = binance.decode_trades((RECORDINGS / "rest_aggTrades_2021.json").read_bytes())
    assert [trade.trade_id for trade in trades] == list(range(966492862, 966492872))
    body = (RECORDINGS / "rest_klines_2021.json").read_bytes()
    bars = binance.decode_candles(body, symbol="BTC-USDT", interval_us=60_000_000, known_at_us=BOUNDLESS)
    first = bars[0]
    assert (first.open_time_us, first.close, first.trades) == (1634943780000_000, 60719.27, 617)
    assert (first.taker_buy_volume, first.taker_buy_quote_volume) == (12.28492, 745719.4102284)
    assert first.completeness is Completeness.VENUE_CANDLE


def test_subscribe_and_list(binance: Binance) -> None:
    """Requests use the venue's lower-case stream names."""
    assert json.loads(binance.subscribe(["BTC-USDT", "ETH-USDT"], 4)) == {
        "method": "SUBSCRIBE",
        "params": ["btcusdt@aggTrade", "ethusdt@aggTrade"],
        "id": 4,
    }
    assert json.loads(binance.list_subscriptions(5)) == {"method": "LIST_SUBSCRIPTIONS", "id": 5}
    assert binance.stream_url("ws://127.0.0.1:1/") == "ws://127.0.0.1:1/stream"


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc-usdt", "BTC-", "-USDT", "BTC-USDT-X", "BTC/USDT", "B&C-USDT", ""])
def test_symbols_that_cannot_be_spelled(symbol: str) -> None:
    """Anything but BASE-QUOTE in capitals is a configuration error."""
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        Binance([symbol])


def test_symbols_that_are_spelled_alike() -> None:
    """Two symbols with one native name are refused: their trades could not be told apart."""
    with pytest.raises(ConfigError, match="alike"):
        Binance(["AB-CUSDT", "ABC-USDT"])


def test_rest_requests(binance: Binance) -> None:
    """Requests carry the documented parameters and weights; times round up to milliseconds, both ends inclusive."""
    by_id = binance.trades_from_id("BTC-USDT", 7)
    assert (by_id.path, by_id.weight) == ("/api/v3/aggTrades", 4)
    assert by_id.query == {"symbol": "BTCUSDT", "fromId": 7, "limit": 1000}
    assert binance.trades_from_time("BTC-USDT", 1_000_001).query["startTime"] == 1001
    candles = binance.candles("BTC-USDT", HOUR_US, 2 * HOUR_US, 5 * HOUR_US)
    assert (candles.path, candles.weight) == ("/api/v3/klines", 2)
    assert (candles.query["startTime"], candles.query["endTime"]) == (7_200_000, 17_999_999)
    assert candles.query["interval"] == "1h"


@pytest.mark.parametrize(
    ("seconds", "candle_seconds"),
    [(1, 1), (5, 1), (60, 60), (120, 60), (600, 300), (2700, 900), (3600, 3600), (10800, 3600), (86400, 86400)],
)
def test_candle_interval(binance: Binance, seconds: int, candle_seconds: int) -> None:
    """The largest published candle that divides the interval is chosen."""
    assert binance.candle_interval(seconds * 1_000_000) == candle_seconds * 1_000_000


def test_candle_interval_of_fractions(binance: Binance) -> None:
    """Half a second has no candle."""
    assert binance.candle_interval(500_000) is None


def kline(open_ms: int, *, trades: int = 5, close_ms: int | None = None, high: str = "12") -> list[object]:
    close_ms = open_ms + 3_599_999 if close_ms is None else close_ms
    volume = "3.0" if trades else "0.0"
    return [open_ms, "10", high, "9", "11", volume, close_ms, "30.0", trades, "1.0", "10.0", "0"]


def decode_klines(binance: Binance, rows: list[list[object]], known_at_ms: int) -> list[int]:
    body = msgspec.json.encode(rows)
    bars = binance.decode_candles(body, symbol="BTC-USDT", interval_us=HOUR_US, known_at_us=known_at_ms * 1000)
    return [bar.open_time_us // 1000 for bar in bars]


def test_unfinished_candle_is_left_out(binance: Binance) -> None:
    """A candle counts from the instant its interval has ended, not before."""
    start_ms = 1_634_943_600_000
    rows = [kline(start_ms), kline(start_ms + 3_600_000)]
    assert decode_klines(binance, rows, start_ms + 7_199_999) == [start_ms]
    assert decode_klines(binance, rows, start_ms + 7_200_000) == [start_ms, start_ms + 3_600_000]


def test_candles_off_the_grid_are_left_out(binance: Binance) -> None:
    """A candle that starts askew or has another length is not the bar that was asked for."""
    start_ms = 1_634_943_600_000
    askew = kline(start_ms + 28 * 60_000)
    short = kline(start_ms, close_ms=start_ms + 59_999)
    assert decode_klines(binance, [short, askew], 2 * start_ms) == []


def test_candle_without_trades_has_no_prices(binance: Binance) -> None:
    """Binance repeats the last close in an empty candle; the bar says that nobody traded."""
    body = msgspec.json.encode([kline(1_634_943_600_000, trades=0)])
    (bar,) = binance.decode_candles(body, symbol="BTC-USDT", interval_us=HOUR_US, known_at_us=BOUNDLESS)
    assert (bar.open, bar.close, bar.volume, bar.trades) == (None, None, 0.0, 0)


def test_contradictory_candle(binance: Binance) -> None:
    """A close above the high is a DataFault."""
    with pytest.raises(DataFault, match="outside"):
        decode_klines(binance, [kline(1_634_943_600_000, high="10.5")], 2_000_000_000_000)


@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "1e15", "", None])
@pytest.mark.parametrize("column", [1, 5, 7, 9, 10])
def test_candle_values_out_of_bounds(binance: Binance, column: int, value: str | None) -> None:
    """A price or amount that is no finite number from 0 up is a DataFault."""
    row = kline(1_634_943_600_000)
    row[column] = value
    with pytest.raises(DataFault):
        decode_klines(binance, [row], 2_000_000_000_000)


@pytest.mark.parametrize(
    "record",
    [
        {"p": "0", "q": "1", "f": 1, "l": 1},
        {"p": "1", "q": "1", "f": -1, "l": -1},
        {"p": "1", "q": "1", "f": 5, "l": 4},
        {"p": "0", "q": "0", "f": 1, "l": 1},
    ],
)
def test_half_invalidated_records(binance: Binance, record: dict[str, object]) -> None:
    """Only the documented mark of an invalidated record passes without price and size."""
    body = msgspec.json.encode([{"a": 1, "T": 1_634_943_600_000, "m": True, **record}])
    with pytest.raises(DataFault, match="no sense"):
        binance.decode_trades(body)


def test_trades_out_of_order(binance: Binance) -> None:
    """A page whose ids do not ascend is refused."""
    record = {"a": 2, "p": "1", "q": "1", "f": 1, "l": 1, "T": 1_634_943_600_000, "m": True}
    with pytest.raises(DataFault, match="order"):
        binance.decode_trades(msgspec.json.encode([record, record]))


def test_instruments_and_time(binance: Binance) -> None:
    """exchangeInfo is read as BASE-QUOTE and status; the server's time as microseconds."""
    body = b'{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","x":[]}]}'
    assert binance.decode_instruments(body) == {"BTC-USDT": "TRADING"}
    assert binance.decode_server_time(b'{"serverTime":1499827319559}') == 1499827319559_000
