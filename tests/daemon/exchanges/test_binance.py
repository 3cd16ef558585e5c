"""Binance's particular rules; the contract suite covers what all venues share."""

from __future__ import annotations

import json
from collections import defaultdict

import msgspec
import pytest

from daemon.errors import ConfigError, DataFault
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Refused,
    TradesMessage,
    TradesPage,
    TradesWanted,
    Venue,
)
from daemon.exchanges.binance import Binance
from features.market import Completeness, Trade
from tests.daemon.exchanges.samples.binance import SAMPLE
from tests.paths import RECORDINGS

FRAMES = RECORDINGS / "binance"
needs_recordings = pytest.mark.skipif(not FRAMES.exists(), reason=f"no recordings at {FRAMES}")

SYMBOLS = ("BTC-USDT", "ETH-USDT", "DOT-USDT")
FRAME = SAMPLE.trade_frame
RAW = FRAME[FRAME.index(b'"data":') + 7 : -1]
(TRADE,) = SAMPLE.trades
HOUR_US = 3_600_000_000
BOUNDLESS = 4_000_000_000_000_000
WANTED = TradesWanted(
    symbol="BTC-USDT", from_id=None, from_time_us=1_000_001, until_id=None, asked_at_us=1_634_950_000_000_000
)


@pytest.fixture
def binance() -> Binance:
    return Binance(SYMBOLS)


def page(binance: Binance, body: bytes, wanted: TradesWanted = WANTED) -> TradesPage:
    return binance.decode_trades(body, wanted, binance.trades(wanted))


def captured_frames(name: str) -> list[bytes]:
    lines = (json.loads(line) for line in (FRAMES / name).read_text().splitlines())
    return [line["data"].encode() for line in lines if line["dir"] == "recv"]


@pytest.mark.parametrize("frame", [RAW, RAW.decode()], ids=["bytes", "text"])
def test_aggregate_trade_of_a_raw_stream(binance: Binance, frame: bytes | str) -> None:
    """The payload without its envelope is the same trade."""
    assert binance.decode(frame) == TradesMessage("BTC-USDT", [TRADE])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"a":665076760,', b""),
        (b'"l":745522879', b'"l":745522876'),
        (b'"l":745522879', b'"l":9999999999999'),
        (b'"f":745522877', b'"f":-1'),
        (b'"m":true', b'"m":"perhaps"'),
        (b'"s":"BTCUSDT"', b'"s":"XRPUSDT"'),
        (b'"p":"58001.03000000"', b'"p":"NaN"'),
        (b'"T":1617566591314', b'"T":1617566591314000'),
    ],
)
def test_refused_trades(binance: Binance, old: bytes, new: bytes) -> None:
    """A trade whose values are out of bounds, missing or contradictory is a DataFault in both shapes."""
    for frame in (FRAME, RAW):
        assert old in frame
        with pytest.raises(DataFault):
            binance.decode(frame.replace(old, new))


@pytest.mark.parametrize("frame", [b'{"id":1}', b'{"result":null}', b'{"result":7,"id":1}'])
def test_answers_that_are_none(binance: Binance, frame: bytes) -> None:
    """An answer without an id, or with a result of another kind, is a DataFault."""
    with pytest.raises(DataFault):
        binance.decode(frame)


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
    """Where a recorded kline's raw ids are complete, its volume, count and taker volume equal those of the trades."""
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
    """The frames in Binance's documentation are read as the documentation describes them."""
    lines = (FRAMES / "doc_examples.jsonl").read_text().splitlines()
    examples = {example["kind"]: example["data"] for example in map(json.loads, lines)}
    assert isinstance(binance.decode(examples["ack"]), Acknowledged)
    assert isinstance(binance.decode(examples["error"]), Refused)
    assert isinstance(binance.decode(examples["serverShutdown_raw"]), ClosingSoon)
    assert isinstance(binance.decode(examples["serverShutdown_combined"]), ClosingSoon)
    assert isinstance(binance.decode(examples["blockTrade_NOT_in_trade_stream"]), Heartbeat)
    assert isinstance(Binance(["BNB-BTC"]).decode(examples["aggTrade"]), TradesMessage)
    (trade,) = page(binance, examples["rest_aggTrade_invalidated_duplicate"].encode()).trades
    assert trade == Trade(26129, 1498793709153_000, 0.0, 0.0, taker_buys=False, count=0)


@needs_recordings
def test_recorded_rest_answers(binance: Binance) -> None:
    """Recorded aggTrades and klines are read completely; the klines carry taker volume."""
    trades = page(binance, (FRAMES / "rest_aggTrades_2021.json").read_bytes()).trades
    assert [trade.trade_id for trade in trades] == list(range(966492862, 966492872))
    body = (FRAMES / "rest_klines_2021.json").read_bytes()
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


def test_symbols_that_are_spelled_alike() -> None:
    """Two symbols with one native name are refused: their trades would be indistinguishable."""
    with pytest.raises(ConfigError, match="alike"):
        Binance(["AB-CUSDT", "ABC-USDT"])


def test_rest_requests(binance: Binance) -> None:
    """Requests carry the documented parameters and weights; times round up to milliseconds, both ends inclusive."""
    by_id = binance.trades(msgspec.structs.replace(WANTED, from_id=7))
    assert (by_id.path, by_id.weight) == ("/api/v3/aggTrades", 4)
    assert by_id.query == {"symbol": "BTCUSDT", "fromId": 7, "limit": 1000}
    assert binance.trades(WANTED).query == {"symbol": "BTCUSDT", "startTime": 1001, "limit": 1000}
    assert binance.latest_trade("BTC-USDT").query == {"symbol": "BTCUSDT", "limit": 1}
    venue: Venue = binance
    assert venue.last_trade_before("BTC-USDT", 1_000_001) is None
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


def kline(open_ms: int, *, trades: int = 5, close_ms: int | None = None, high: str = "12") -> list[object]:
    close_ms = open_ms + 3_599_999 if close_ms is None else close_ms
    volume = "3.0" if trades else "0.0"
    return [open_ms, "10", high, "9", "11", volume, close_ms, "30.0", trades, "1.0", "10.0", "0"]


def decode_klines(binance: Binance, rows: list[list[object]], known_at_ms: int) -> list[int]:
    body = msgspec.json.encode(rows)
    bars = binance.decode_candles(body, symbol="BTC-USDT", interval_us=HOUR_US, known_at_us=known_at_ms * 1000)
    return [bar.open_time_us // 1000 for bar in bars]


def test_candles_off_the_grid_are_left_out(binance: Binance) -> None:
    """A candle off the grid or of another length is not the requested bar."""
    start_ms = 1_634_943_600_000
    askew = kline(start_ms + 28 * 60_000)
    short = kline(start_ms, close_ms=start_ms + 59_999)
    assert decode_klines(binance, [short, askew], 2 * start_ms) == []


def test_candle_without_trades_has_no_prices(binance: Binance) -> None:
    """Binance repeats the last close in an empty candle; the bar has no prices then."""
    body = msgspec.json.encode([kline(1_634_943_600_000, trades=0)])
    (bar,) = binance.decode_candles(body, symbol="BTC-USDT", interval_us=HOUR_US, known_at_us=BOUNDLESS)
    assert (bar.open, bar.close, bar.volume, bar.trades) == (None, None, 0.0, 0)


def test_contradictory_candle(binance: Binance) -> None:
    """A close above the high is a DataFault."""
    with pytest.raises(DataFault, match="outside"):
        decode_klines(binance, [kline(1_634_943_600_000, high="10.5")], 2_000_000_000_000)


def test_candle_without_a_price(binance: Binance) -> None:
    """A price of zero is a DataFault in a candle with trades."""
    rows: list[list[object]] = [kline(1_634_943_600_000)]
    rows[0][3] = "0.0"
    with pytest.raises(DataFault, match="no price"):
        decode_klines(binance, rows, 2_000_000_000_000)


@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "1e24", "", None])
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
    with pytest.raises(DataFault, match="is inconsistent"):
        page(binance, body)


def records(first_id: int, number: int) -> bytes:
    values = {"p": "1", "q": "1", "f": 1, "l": 1, "T": 1_634_943_600_000, "m": True}
    return msgspec.json.encode([{"a": first_id + index, **values} for index in range(number)])


def test_trades_out_of_order(binance: Binance) -> None:
    """A page whose ids do not ascend is refused."""
    one = records(2, 1)
    with pytest.raises(DataFault, match="order"):
        page(binance, one[:-1] + b"," + one[1:])


def test_a_walk_goes_on_by_id(binance: Binance) -> None:
    """After a full page the next begins one id later, until the last wanted one or a page that is not full."""
    first = page(binance, records(500, 1000))
    assert first.next is not None
    assert first.next.query == {"symbol": "BTCUSDT", "fromId": 1500, "limit": 1000}
    assert page(binance, records(500, 999)).next is None
    assert page(binance, b"[]").next is None
    up_to = msgspec.structs.replace(WANTED, from_id=500, until_id=1499)
    assert page(binance, records(500, 1000), up_to).next is None
    assert page(binance, records(500, 1000), msgspec.structs.replace(up_to, until_id=1500)).next == first.next


def test_a_page_before_what_was_asked(binance: Binance) -> None:
    """A page that starts before the requested id is refused anywhere in a walk."""
    wanted = msgspec.structs.replace(WANTED, from_id=500)
    with pytest.raises(DataFault, match="from 500, not 499"):
        page(binance, records(499, 1), wanted)
    second = page(binance, records(500, 1000), wanted).next
    assert second is not None
    with pytest.raises(DataFault, match="from 1500, not 500"):
        binance.decode_trades(records(500, 1000), wanted, second)
