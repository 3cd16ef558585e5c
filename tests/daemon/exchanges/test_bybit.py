"""Bybit: ids that prove nothing, acknowledgements without symbols, one page of the newest trades."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest

from daemon.errors import DataFault
from daemon.exchanges.base import (
    Acknowledged,
    Heartbeat,
    Ids,
    RestRequest,
    TradesMessage,
    TradesPage,
    TradesWanted,
    Venue,
)
from daemon.exchanges.bybit import Bybit, BybitLinear
from features.market import Bar, Trade
from tests.paths import RECORDINGS

FRAMES = RECORDINGS / "bybit"
needs_recordings = pytest.mark.skipif(not FRAMES.exists(), reason=f"no recordings at {FRAMES}")

SYMBOLS = ("BTC-USDT", "ETH-USDT")
MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000
NOW_US = 1_786_310_820_000_000


@pytest.fixture
def spot() -> Venue:
    return Bybit(SYMBOLS)


@pytest.fixture
def linear() -> Venue:
    return BybitLinear(SYMBOLS)


def push(*records: dict[str, object], topic: str = "publicTrade.BTCUSDT") -> bytes:
    base = {"T": NOW_US // 1000, "s": "BTCUSDT", "S": "Buy", "v": "0.1", "p": "65114.20", "i": "1", "BT": False}
    data = [base | record for record in records]
    return msgspec.json.encode({"topic": topic, "type": "snapshot", "ts": NOW_US // 1000, "data": data})


def trades_of(venue: Venue, frame: bytes | str) -> Sequence[Trade]:
    message = venue.decode(frame)
    assert isinstance(message, TradesMessage)
    return message.trades


# The stream


def test_two_venues_of_one_wire(spot: Venue, linear: Venue) -> None:
    """Both venues name symbols alike; the category in address, requests and id rules distinguishes them."""
    assert (spot.ids, linear.ids) == (Ids.ORDERED, Ids.IDENTITY)
    assert spot.stream_url("wss://stream.bybit.com/") == "wss://stream.bybit.com/v5/public/spot"
    assert linear.stream_url("wss://stream.bybit.com/v5/public/linear") == "wss://stream.bybit.com/v5/public/linear"
    for venue, category in ((spot, "spot"), (linear, "linear")):
        requests = (
            venue.latest_trade("BTC-USDT"),
            venue.candles("BTC-USDT", HOUR_US, 0, HOUR_US),
            venue.instruments(),
        )
        assert {request.query["category"] for request in requests} == {category}


def test_ids_of_linear_are_identities(linear: Venue) -> None:
    """A UUID becomes a number of 63 bits, equal for equal UUIDs and different for different ones."""
    uuids = ("a9188a0a-82bc-50de-be60-03eedbe3cdd7", "20f43950-d8dd-5b31-9112-a178eb6023af", "f" * 32)
    texts = (*uuids, "no UUID, but of the length of one...", "no UUID, but of the length of one!!!", "é" * 36, "-" * 36)
    ids = [trades_of(linear, push({"i": text}))[0].trade_id for text in texts]
    assert ids == [trades_of(linear, push({"i": text}))[0].trade_id for text in texts]
    assert ids[:3] == [UUID(each).int >> 65 for each in uuids]
    assert len(set(ids)) == len(texts)
    assert all(0 <= each < 2**63 for each in ids)


def test_ids_of_the_other_category(spot: Venue, linear: Venue) -> None:
    """A frame of the other category is refused."""
    with pytest.raises(DataFault):
        spot.decode(push({"i": "a9188a0a-82bc-50de-be60-03eedbe3cdd7"}))
    with pytest.raises(DataFault):
        linear.decode(push({"i": "2280000001739247417"}))


def test_all_of_data_in_order(spot: Venue) -> None:
    """The fills of one push come out oldest first; those of one instant keep their order."""
    later = NOW_US // 1000 + 1
    frame = push({"i": "3", "T": later}, {"i": "1", "S": "Sell"}, {"i": "2"})
    assert [(trade.trade_id, trade.taker_buys) for trade in trades_of(spot, frame)] == [
        (1, False),
        (2, True),
        (3, True),
    ]


def test_block_trades_are_counted(spot: Venue) -> None:
    """Block trades are trades, although the candles may leave them out."""
    assert len(trades_of(spot, push({"BT": True}, {"i": "2", "RPI": True}))) == 2


def test_frames_that_contradict_themselves(spot: Venue) -> None:
    """A trade of another symbol than the topic's, and a push without trades, are DataFaults."""
    for frame in (push({"s": "ETHUSDT"}), push()):
        with pytest.raises(DataFault):
            spot.decode(frame)


def test_other_topics_with_the_shape_of_trades(spot: Venue) -> None:
    """A topic that is not subscribed to is not counted, even if its records look like trades."""
    assert spot.decode(push({}, topic="allTrades.BTCUSDT")) == Heartbeat()


@pytest.mark.parametrize("frame", [b'{"op":"subscribe"}', b'{"success":true}', b'{"topic":7}', b"pong"])
def test_frames_that_are_none(spot: Venue, frame: bytes) -> None:
    """Frames that resemble Bybit's, the daemon's own request among them, are DataFaults."""
    with pytest.raises(DataFault):
        spot.decode(frame)


def test_subscription(spot: Venue) -> None:
    """At most ten topics a request on spot; pings are texts of JSON."""
    assert json.loads(spot.subscribe(SYMBOLS, 12)) == {
        "req_id": "12",
        "op": "subscribe",
        "args": ["publicTrade.BTCUSDT", "publicTrade.ETHUSDT"],
    }
    assert spot.limits.symbols_per_request == 10
    assert spot.keep_alive is not None
    assert json.loads(spot.keep_alive.text) == {"op": "ping"}
    assert spot.list_subscriptions(1) is None


# Trades by REST


def wanted(from_time_us: int, *, until_id: int | None = None) -> TradesWanted:
    return TradesWanted(
        symbol="BTC-USDT", from_id=None, from_time_us=from_time_us, until_id=until_id, asked_at_us=NOW_US
    )


def page_of(
    venue: Venue, records: list[dict[str, object]], asked: TradesWanted, limit: int | None = None
) -> TradesPage:
    base = {"symbol": "BTCUSDT", "price": "1", "size": "1", "side": "Buy", "isBlockTrade": False}
    body = {"retCode": 0, "retMsg": "OK", "result": {"list": [base | record for record in records]}}
    request = venue.trades(asked)
    if limit is not None:
        request = RestRequest(request.path, {**request.query, "limit": limit})
    return venue.decode_trades(msgspec.json.encode(body), asked, request)


def seconds_ago(*ages: int) -> list[dict[str, object]]:
    return [{"execId": str(10_000 - age), "time": str(NOW_US // 1000 - age * 1000)} for age in ages]


def test_pages_are_small_and_alone(spot: Venue, linear: Venue) -> None:
    """The answer is one page of the newest trades, 60 on spot and 1,000 on linear; a longer page is refused."""
    asked = wanted(NOW_US - HOUR_US, until_id=5)
    assert spot.trades(asked).query == {"category": "spot", "symbol": "BTCUSDT", "limit": 60}
    assert linear.trades(asked).query["limit"] == 1000
    assert spot.latest_trade("BTC-USDT").query["limit"] == 1
    assert spot.last_trade_before("BTC-USDT", NOW_US) is None


@pytest.mark.parametrize(("oldest_wanted_s", "whole"), [(58, True), (59, False), (60, False)])
def test_a_full_page_must_reach_back(spot: Venue, oldest_wanted_s: int, whole: bool) -> None:
    """The oldest of 60 trades must be older than the request: one at that very time may not be the first."""
    page = page_of(spot, seconds_ago(*range(60)), wanted(NOW_US - oldest_wanted_s * 1_000_000))
    assert (len(page.trades), page.next, page.complete) == (60, None, whole)


@pytest.mark.parametrize("number", [0, 1, 59])
def test_a_short_page_is_all_there_is(spot: Venue, number: int) -> None:
    """A page with fewer trades than requested holds every trade of the market."""
    assert page_of(spot, seconds_ago(*range(number)), wanted(NOW_US - HOUR_US)).complete


def test_a_page_of_one_trade_is_no_proof(spot: Venue) -> None:
    """The page of the newest trade is full with one trade and proves nothing."""
    assert not page_of(spot, seconds_ago(0), wanted(NOW_US - HOUR_US), limit=1).complete


def test_pages_in_either_order(spot: Venue, linear: Venue) -> None:
    """Bybit does not document the order of a page: trades come out oldest first, ties of one instant included."""
    now_ms = NOW_US // 1000
    newest_first: list[dict[str, object]] = [
        {"execId": "13", "time": now_ms},
        {"execId": "12", "time": now_ms - 1},
        {"execId": "11", "time": now_ms - 1},
        {"execId": "10", "time": now_ms - 2},
    ]
    for records in (newest_first, newest_first[::-1]):
        assert [each.trade_id for each in page_of(spot, records, wanted(NOW_US)).trades] == [10, 11, 12, 13]
    one_instant: list[dict[str, object]] = [{"execId": f"{age << 65:032x}", "time": now_ms} for age in (4, 3)]
    assert [each.trade_id for each in page_of(linear, one_instant, wanted(NOW_US)).trades] == [3, 4]


def test_sequence_settles_one_instant(linear: Venue) -> None:
    """Where the answer carries the match's sequence, it decides within a millisecond."""
    now_ms = NOW_US // 1000
    records: list[dict[str, object]] = [
        {"execId": f"{1 << 65:032x}", "time": now_ms, "seq": 7},
        {"execId": f"{2 << 65:032x}", "time": now_ms, "seq": 8},
    ]
    for each in (records, records[::-1]):
        assert [trade.trade_id for trade in page_of(linear, each, wanted(NOW_US)).trades] == [1, 2]


def test_answers_of_another_symbol(spot: Venue) -> None:
    """An answer of another symbol is refused."""
    with pytest.raises(DataFault, match="another symbol"):
        page_of(spot, [{"execId": "1", "time": NOW_US // 1000, "symbol": "ETHUSDT"}], wanted(NOW_US))


# Candles and instruments


def test_candle_requests(spot: Venue) -> None:
    """Both ends are inclusive start times, in milliseconds."""
    query = spot.candles("BTC-USDT", HOUR_US, 2 * HOUR_US, 5 * HOUR_US).query
    assert (query["start"], query["end"], query["interval"], query["limit"]) == (7_200_000, 17_999_999, "60", 1000)
    assert spot.candles("BTC-USDT", 24 * HOUR_US, 0, 24 * HOUR_US).query["interval"] == "D"
    assert spot.candle_interval(45 * MINUTE_US) == 15 * MINUTE_US
    assert spot.candle_interval(1_000_000) is None


def candles_body(*rows: list[str]) -> bytes:
    return msgspec.json.encode({"retCode": 0, "retMsg": "OK", "result": {"list": rows}})


def row(open_us: int, *, low: str = "9", volume: str = "2") -> list[str]:
    return [str(open_us // 1000), "10", "12", low, "11", volume, "22"]


def test_running_candle_is_left_out(spot: Venue) -> None:
    """The running candle comes first in every answer, without a mark, and is left out."""
    body = candles_body(row(NOW_US + MINUTE_US), row(NOW_US))
    for known_at_us, opens in ((NOW_US + MINUTE_US, [NOW_US]), (NOW_US + MINUTE_US - 1, [])):
        bars = spot.decode_candles(body, symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=known_at_us)
        assert [bar.open_time_us for bar in bars] == opens


def test_candles_open_at_the_previous_close(spot: Venue) -> None:
    """The first price of a candle is the previous close, and its low and high include that price."""
    assert spot.opens_at_previous_close
    (bar,) = spot.decode_candles(
        candles_body(["1786310820000", "1922.48", "1924", "1922.48", "1923", "5", "9615"]),
        symbol="ETH-USDT",
        interval_us=MINUTE_US,
        known_at_us=NOW_US + MINUTE_US,
    )
    assert (bar.open, bar.low, bar.quote_volume, bar.taker_buy_volume, bar.trades) == (
        1922.48,
        1922.48,
        9615,
        None,
        None,
    )


def test_candle_without_volume_has_no_prices(spot: Venue) -> None:
    """A candle without volume repeats the previous close; a candle with trades must have prices."""

    def bars(one: list[str]) -> list[Bar]:
        body, known_at_us = candles_body(one), NOW_US + MINUTE_US
        return spot.decode_candles(body, symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=known_at_us)

    (bar,) = bars(row(NOW_US, volume="0"))
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (None, None, None, None, 0.0)
    for low in ("0", "11.5"):
        with pytest.raises(DataFault):
            bars(row(NOW_US, low=low))


def test_dated_contracts_do_not_shadow_the_perpetual(linear: Venue) -> None:
    """Of the contracts with one base and quote, only the one named BASEQUOTE is BASE-QUOTE."""
    instrument = {"baseCoin": "BTC", "quoteCoin": "USDT", "symbol": "BTCUSDT", "status": "Trading"}
    dated = instrument | {"symbol": "BTCUSDT-25DEC26", "status": "Settling"}
    for instruments in ([instrument, dated], [dated, instrument]):
        body = msgspec.json.encode({"retCode": 0, "result": {"list": instruments}})
        assert linear.decode_instruments(body) == {"BTC-USDT": "TRADING"}


# Recordings


@needs_recordings
def test_documented_examples(spot: Venue, linear: Venue) -> None:
    """The frames in the documentation are read as it describes them, by either venue unless they are trades."""
    lines = (FRAMES / "doc_examples.jsonl").read_text().splitlines()
    examples = {each["kind"]: each["data"] for each in map(json.loads, lines)}
    for venue in (spot, linear):
        assert venue.decode(examples["ack_spot"]) == Acknowledged(10001)
        assert venue.decode(examples["ack_linear"]) == Acknowledged(None)
        assert venue.decode(examples["pong_spot"]) == Heartbeat()
        assert venue.decode(examples["pong_linear"]) == Heartbeat()
        assert venue.decode((FRAMES / "ws_subscription_ack.json").read_bytes()) == Acknowledged(None)
    (trade,) = trades_of(linear, examples["trade"])
    assert (trade.time_us, trade.price, trade.taker_buys) == (1672304486865_000, 16578.5, True)


@needs_recordings
def test_recorded_answers(linear: Venue) -> None:
    """A short page is complete; the recorded candle starts off the grid and is left out."""
    asked = wanted(1_709_891_600_000_000)
    page = linear.decode_trades((FRAMES / "rest_recent_trade.json").read_bytes(), asked, linear.trades(asked))
    assert ([trade.price for trade in page.trades], page.complete) == ([27450.5], True)
    body = (FRAMES / "rest_kline.json").read_bytes()
    linear.check_answer(body)
    assert linear.decode_candles(body, symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=NOW_US) == []
    (bar,) = linear.decode_candles(body, symbol="BTC-USDT", interval_us=1_000_000, known_at_us=NOW_US)
    assert (bar.volume, bar.quote_volume) == (123.45, 3_390_000)
