"""Bitstamp: exact numbers in texts, one sequence of ids for all pairs, windows of whole seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

import msgspec
import pytest

from daemon.errors import DataFault
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Ids,
    Refused,
    TradesMessage,
    TradesPage,
    TradesWanted,
    Venue,
)
from daemon.exchanges.bitstamp import Bitstamp
from features.market import Trade
from tests.paths import RECORDINGS

FRAMES = RECORDINGS / "bitstamp"
needs_recordings = pytest.mark.skipif(not FRAMES.exists(), reason=f"no recordings at {FRAMES}")

SECOND_US, MINUTE_US, HOUR_US, DAY_US = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
NOW_US = 1_641_343_800_000_000


@pytest.fixture
def bitstamp() -> Venue:
    return Bitstamp(["BTC-USD", "ETH-USD"])


def frame(
    changes: Mapping[str, object] = MappingProxyType({}), *, channel: str = "live_trades_btcusd", event: str = "trade"
) -> bytes:
    data = {
        "id": 216000477,
        "timestamp": "1641343699",
        "amount": 0.0792,
        "amount_str": "0.07920000",
        "price": 3805.44,
        "price_str": "3805.44",
        "type": 0,
        "microtimestamp": "1641343699596000",
        "buy_order_id": 2,
        "sell_order_id": 1,
    }
    return msgspec.json.encode({"data": {**data, **changes}, "channel": channel, "event": event})


# The stream


def test_exact_numbers_are_read(bitstamp: Venue) -> None:
    """Price, amount and time come twice in each frame; the rounded ones are ignored."""
    message = bitstamp.decode(frame({"amount": 0.08, "price": 3805.0, "timestamp": "1641343700", "type": 1}))
    trade = Trade(216_000_477, 1_641_343_699_596_000, 3805.44, 0.0792, taker_buys=False)
    assert message == TradesMessage("BTC-USD", [trade])


@pytest.mark.parametrize("changes", [{"type": 2}, {"type": -1}, {"type": None}, {"microtimestamp": "1641343699596"}])
def test_refused_trades(bitstamp: Venue, changes: dict[str, object]) -> None:
    """An unknown side and a time in milliseconds are DataFaults."""
    with pytest.raises(DataFault):
        bitstamp.decode(frame(changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (frame(channel="private-my_trades_btcusd-1"), Heartbeat()),
        (frame(event="order_created", channel="live_orders_btcusd"), Heartbeat()),
        (b'{"event":"data","channel":"diff_order_book_btcusd","data":{"bids":[]}}', Heartbeat()),
        (b'{"event":"bts:subscription_succeeded","channel":"live_trades_xrpusd","data":{}}', Heartbeat()),
        (b'{"event":"bts:unsubscription_succeeded","channel":"live_trades_btcusd","data":{}}', Heartbeat()),
        (
            b'{"event":"bts:error","channel":"","message":"Bad subscription string."}',
            Refused(None, "Bad subscription string."),
        ),
        (b'{"event":"bts:error","channel":"","data":"Bad"}', Refused(None, "Bad")),
        (b'{"event":"bts:error"}', Refused(None, "bts:error without a text")),
        (
            b'{"event":"bts:error","channel":"live_trades_btcusd","data":{}}',
            Refused(None, "bts:error without a text", ("BTC-USD",)),
        ),
    ],
)
def test_other_frames(bitstamp: Venue, text: bytes, message: object) -> None:
    """Other channels, acknowledgements of foreign channels, and errors at any place of the frame."""
    assert bitstamp.decode(text) == message


@pytest.mark.parametrize(
    "text", [b'{"event":"trade"}', b'{"channel":"live_trades_btcusd"}', b'{"event":"data","channel":""}']
)
def test_frames_that_are_none(bitstamp: Venue, text: bytes) -> None:
    """Frames that resemble Bitstamp's are DataFaults."""
    with pytest.raises(DataFault):
        bitstamp.decode(text)


def test_subscription(bitstamp: Venue) -> None:
    """One channel a frame, in fewer than 512 bytes."""
    text = bitstamp.subscribe(["BTC-USD"], 12)
    assert json.loads(text) == {"event": "bts:subscribe", "data": {"channel": "live_trades_btcusd"}}
    assert bitstamp.limits.symbols_per_request == 1
    assert bitstamp.list_subscriptions(1) is None
    assert bitstamp.keep_alive is not None
    assert len(bitstamp.keep_alive.text) < 512
    assert bitstamp.decode('{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}') == Heartbeat()


# Trades by REST


def wanted(from_time_us: int) -> TradesWanted:
    return TradesWanted(symbol="BTC-USD", from_id=None, from_time_us=from_time_us, until_id=None, asked_at_us=NOW_US)


def page_of(bitstamp: Venue, asked: TradesWanted, *trades: tuple[int, int]) -> TradesPage:
    """The answer with ``trades`` as ids and times in us, newest first as Bitstamp sends them."""
    body = [
        {"date": str(time_us // SECOND_US), "tid": str(number), "amount": "1", "type": "1", "price": "2"}
        for number, time_us in sorted(trades, reverse=True)
    ]
    return bitstamp.decode_trades(msgspec.json.encode(body), asked, bitstamp.trades(asked))


@pytest.mark.parametrize(
    ("age_us", "window", "whole"),
    [
        (0, "minute", True),
        (50 * SECOND_US, "minute", True),
        (51 * SECOND_US, "hour", True),
        (HOUR_US - 10 * SECOND_US, "hour", True),
        (HOUR_US, "day", True),
        (DAY_US - 10 * SECOND_US, "day", True),
        (DAY_US - 9 * SECOND_US, "day", False),
        (30 * DAY_US, "day", False),
    ],
)
def test_windows(bitstamp: Venue, age_us: int, window: str, whole: bool) -> None:
    """The shortest window that surely reaches back, with a margin for latency and clocks; none is longer than a day."""
    asked = wanted(NOW_US - age_us)
    request = bitstamp.trades(asked)
    assert (request.path, request.query) == ("/api/v2/transactions/btcusd/", {"time": window})
    page = page_of(bitstamp, asked)
    assert (page.trades, page.next, page.complete) == ([], None, whole)


def test_an_older_trade_proves_the_window(bitstamp: Venue) -> None:
    """An answer that holds a trade older than the request lacks none at its beginning."""
    from_us = NOW_US - DAY_US + 5 * SECOND_US
    assert page_of(bitstamp, wanted(from_us), (1, from_us - SECOND_US), (2, NOW_US)).complete
    assert not page_of(bitstamp, wanted(from_us), (1, from_us), (2, NOW_US)).complete


def test_oldest_first(bitstamp: Venue) -> None:
    """Sorted by second and id."""
    page = page_of(bitstamp, wanted(NOW_US - HOUR_US), (7, NOW_US), (5, NOW_US), (4, NOW_US - SECOND_US))
    assert [trade.trade_id for trade in page.trades] == [4, 5, 7]
    assert not page.trades[0].taker_buys


def test_whole_seconds(bitstamp: Venue) -> None:
    """A trade is placed at the start of its second, but not before a beginning that lies within it.

    Else a trade at .9 would seem older than what is wanted from .5 on, and be left out.
    """
    asked = wanted(NOW_US + SECOND_US // 2)
    page = page_of(bitstamp, asked, (1, NOW_US - 1), (2, NOW_US + 900_000), (3, NOW_US + SECOND_US))
    assert [trade.time_us for trade in page.trades] == [NOW_US - SECOND_US, asked.from_time_us, NOW_US + SECOND_US]
    exact = page_of(bitstamp, wanted(NOW_US), (2, NOW_US + 900_000))
    assert [trade.time_us for trade in exact.trades] == [NOW_US]


def test_single_questions(bitstamp: Venue) -> None:
    """The newest trade is requested from the last hour; the last trade before a time cannot be requested."""
    assert bitstamp.latest_trade("ETH-USD").path == "/api/v2/transactions/ethusd/"
    assert bitstamp.last_trade_before("ETH-USD", NOW_US) is None
    assert bitstamp.ids is Ids.ORDERED


# Candles, instruments and time


@pytest.mark.parametrize("bars", [1, 2, 1000])
def test_candle_requests(bitstamp: Venue, bars: int) -> None:
    """The limit gives the same candles whether Bitstamp obeys start or end."""
    query = bitstamp.candles("BTC-USD", HOUR_US, NOW_US, NOW_US + bars * HOUR_US).query
    start, end, step, limit = (int(query[name]) for name in ("start", "end", "step", "limit"))
    from_start = [start + step * index for index in range(limit)]
    up_to_end = [end - step * index for index in reversed(range(limit))]
    assert from_start == up_to_end == [(NOW_US + HOUR_US * index) // SECOND_US for index in range(bars)]
    assert query["exclude_current_candle"] == "true"


def test_pages_of_candles_join(bitstamp: Venue) -> None:
    """The pages of a range cover it once, both ends included."""
    cuts = [NOW_US, NOW_US + 1000 * MINUTE_US, NOW_US + 1500 * MINUTE_US]
    queries = [bitstamp.candles("BTC-USD", MINUTE_US, start, end).query for start, end in pairwise(cuts)]
    assert int(queries[0]["end"]) + 60 == queries[1]["start"]
    assert sum(int(query["limit"]) for query in queries) == 1500


def test_instruments(bitstamp: Venue) -> None:
    """Only pairs whose address is their name are BASE-QUOTE; perpetuals are left out."""
    pair = {"name": "BTC/USD", "url_symbol": "btcusd", "trading": "Enabled"}
    perpetual = {"name": "BTC/USD-PERP", "url_symbol": "btcusd-perp", "trading": "Enabled"}
    renamed = {"name": "ETH/USD", "url_symbol": "ethusdperp", "trading": "Enabled"}
    body = msgspec.json.encode([pair, perpetual, renamed])
    assert bitstamp.decode_instruments(body) == {"BTC-USD": "TRADING"}


def test_time_from_the_header(bitstamp: Venue) -> None:
    """The server time is the middle of the second in the header; the body is ignored."""
    assert bitstamp.decode_server_time(b"", "Wed, 05 Jan 2022 00:50:00 GMT") == NOW_US + SECOND_US // 2


# Recordings


def captured(name: str) -> list[bytes]:
    lines = (json.loads(line) for line in (FRAMES / name).read_text().splitlines())
    return [line["data"].encode() for line in lines if line["dir"] == "recv"]


@needs_recordings
@pytest.mark.parametrize(
    ("name", "expected"),
    [("v2_2021-04-05_live_trades.jsonl", (32, 10, 10)), ("v2_2021-04-17_live_trades.jsonl", (16, 10, 10))],
)
def test_recorded_frames_are_all_explained(name: str, expected: tuple[int, int, int]) -> None:
    """Ids ascend over all pairs, so those of one pair have gaps; the taker's order is the later one."""
    bitstamp, ids, by_symbol = Bitstamp(None), list[int](), dict[str, list[int]]()
    acknowledged = heartbeats = 0
    for text in captured(name):
        message = bitstamp.decode(text)
        if isinstance(message, TradesMessage):
            (trade,) = message.trades
            data = json.loads(text)["data"]
            assert trade.taker_buys == (data["buy_order_id"] > data["sell_order_id"])
            assert (trade.price, trade.size) == (data["price"], data["amount"])
            assert trade.time_us // SECOND_US == int(data["timestamp"])
            ids.append(trade.trade_id)
            by_symbol.setdefault(message.symbol, []).append(trade.trade_id)
        elif isinstance(message, Acknowledged):
            assert len(message.symbols) == 1
            acknowledged += 1
        else:
            assert message == Heartbeat()
            heartbeats += 1
    assert (len(ids), acknowledged, heartbeats) == expected
    assert all(left < right for left, right in pairwise(ids))
    assert any(right - left > 1 for each in by_symbol.values() for left, right in pairwise(each))


@needs_recordings
def test_documented_examples(bitstamp: Venue) -> None:
    """The frames in the documentation are read as the documentation describes them."""
    lines = (FRAMES / "doc_examples.jsonl").read_text().splitlines()
    examples = {each["kind"]: each["data"] for each in map(json.loads, lines)}
    assert bitstamp.decode(examples["ack"]) == Acknowledged(None, ("BTC-USD",))
    assert bitstamp.decode(examples["error"]) == Refused(None, "Invalid channel provided.")
    assert bitstamp.decode(examples["heartbeat_reply"]) == Heartbeat()
    assert isinstance(bitstamp.decode(examples["request_reconnect"]), ClosingSoon)
    assert json.loads(examples["subscribe"]) == json.loads(bitstamp.subscribe(["BTC-USD"], 1))
