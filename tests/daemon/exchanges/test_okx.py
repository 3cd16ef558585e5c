"""OKX's stream: merged trades, frames that are refused, subscriptions, and recorded frames and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest

from daemon.errors import DataFault
from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Refused,
    TradesMessage,
    TradesWanted,
)
from daemon.exchanges.okx import Okx
from features.market import Trade
from tests.paths import RECORDINGS

FRAMES = RECORDINGS / "okx"
needs_recordings = pytest.mark.skipif(not FRAMES.exists(), reason=f"no recordings at {FRAMES}")

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
NOW_US = 1_747_087_200_000_000


@pytest.fixture
def okx() -> Okx:
    return Okx(["BTC-USDT", "ETH-USDT"])


def push(*records: dict[str, object], channel: str = "trades") -> bytes:
    base = {"instId": "BTC-USDT", "px": "42219.9", "sz": "0.1", "side": "buy", "ts": "1630048897897"}
    data = [base | record for record in records]
    return msgspec.json.encode({"arg": {"channel": channel, "instId": "BTC-USDT"}, "data": data})


def trades_of(okx: Okx, frame: bytes) -> Sequence[Trade]:
    message = okx.decode(frame)
    assert isinstance(message, TradesMessage)
    return message.trades


# The stream


def test_merged_trades_cover_their_ids(okx: Okx) -> None:
    """A record is the last of ``count`` ids: the record before it ends where these begin."""
    first, merged, last = trades_of(
        okx, push({"tradeId": "10", "count": "1"}, {"tradeId": "13", "count": "3"}, {"tradeId": "14", "count": "1"})
    )
    assert [each.trade_id - each.span for each in (merged, last)] == [first.trade_id, merged.trade_id]
    assert (merged.count, merged.span) == (3, 3)


def test_records_without_count_are_one_trade(okx: Okx) -> None:
    """Frames of 2021 and of ``trades-all`` have no count."""
    for frame in (push({"tradeId": "10"}), push({"tradeId": "10"}, channel="trades-all")):
        (trade,) = trades_of(okx, frame)
        assert (trade.count, trade.span) == (1, 1)


@pytest.mark.parametrize("count", ["0", "-1", "12", "1.5", "100000000", None])
def test_impossible_counts(okx: Okx, count: str | None) -> None:
    """A count is at least one and at most the number of ids so far; the first id may be 0."""
    with pytest.raises(DataFault):
        okx.decode(push({"tradeId": "10", "count": count}))
    assert trades_of(okx, push({"tradeId": "10", "count": "11"}))[0].span == 11


def test_all_of_data_in_order(okx: Okx) -> None:
    """Every record of a frame is read, by ascending id."""
    frame = push({"tradeId": "12"}, {"tradeId": "10", "side": "sell"}, {"tradeId": "11"})
    assert [trade.trade_id for trade in trades_of(okx, frame)] == [10, 11, 12]
    assert [trade.taker_buys for trade in trades_of(okx, frame)] == [False, True, True]


def test_frames_that_contradict_themselves(okx: Okx) -> None:
    """A trade of another instrument than the frame's, and a push without trades, are DataFaults."""
    for frame in (push({"tradeId": "10", "instId": "ETH-USDT"}), push()):
        with pytest.raises(DataFault):
            okx.decode(frame)


def test_other_products_in_recordings(okx: Okx) -> None:
    """Swaps and options keep OKX's name in a recording; the daemon refuses them."""
    frame = push({"tradeId": "7849"}).replace(b"BTC-USDT", b"BTC-USD-220527")
    message = Okx(None).decode(frame)
    assert isinstance(message, TradesMessage)
    assert message.symbol == "BTC-USD-220527"
    assert Okx(None).native("BTC-USD-220527") == "BTC-USD-220527"
    with pytest.raises(DataFault, match="is not subscribed"):
        okx.decode(frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"pong", Heartbeat()),
        ("pong", Heartbeat()),
        (b'{"event":"subscribe","arg":{"channel":"trades","instId":"XRP-USDT"}}', Heartbeat()),
        (
            b'{"id":"x1","event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}',
            Acknowledged(None, ("BTC-USDT",)),
        ),
        (b'{"id":"' + b"9" * 32 + b'","event":"error","code":"1","msg":"no"}', Refused(None, "no (code 1)")),
        (b'{"event":"notice","code":"64001","msg":"other"}', Heartbeat()),
        (b'{"event":"login","code":"0","msg":""}', Heartbeat()),
    ],
)
def test_other_frames(okx: Okx, frame: bytes | str, message: object) -> None:
    """Unknown request ids, acknowledgements of foreign instruments and other notices."""
    assert okx.decode(frame) == message


@pytest.mark.parametrize(
    "frame", [b"ping", b"pong ", b'{"event":"subscribe"}', b'{"arg":{"channel":"trades"}}', b'{"id":"1"}']
)
def test_frames_that_are_none(okx: Okx, frame: bytes) -> None:
    """Frames that resemble OKX's are DataFaults."""
    with pytest.raises(DataFault):
        okx.decode(frame)


def test_subscription(okx: Okx) -> None:
    """One request names every instrument; the keep-alive is a bare word."""
    assert json.loads(okx.subscribe(["BTC-USDT", "ETH-USDT"], 12)) == {
        "id": "12",
        "op": "subscribe",
        "args": [{"channel": "trades", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "ETH-USDT"}],
    }
    assert okx.keep_alive is not None
    assert okx.keep_alive.text == "ping"
    assert okx.keep_alive.every_s < 30
    assert okx.stream_url("wss://ws.okx.com:8443/") == "wss://ws.okx.com:8443/ws/v5/public"
    assert okx.stream_url("wss://ws.okx.com:8443/ws/v5/public") == "wss://ws.okx.com:8443/ws/v5/public"


# Recordings


def captured(name: str) -> list[tuple[float, bytes]]:
    lines = (json.loads(line) for line in (FRAMES / name).read_text().splitlines())
    return [(line["ts"], line["data"].encode()) for line in lines if line["dir"] == "recv"]


@needs_recordings
def test_recorded_frames_are_all_explained() -> None:
    """The ids of ten instruments have no gap; each first push repeats trades of up to 20 hours ago."""
    okx, last_ids, replayed_s = Okx(None), dict[str, int](), dict[str, float]()
    acknowledged, heartbeats, trades = set[str](), 0, 0
    for received_s, frame in captured("v5_2021-07-22_trades_manyinst.jsonl"):
        message = okx.decode(frame)
        if isinstance(message, Acknowledged):
            acknowledged |= set(message.symbols)
        elif isinstance(message, Heartbeat):
            heartbeats += 1
        else:
            assert isinstance(message, TradesMessage)
            (trade,) = message.trades
            assert trade.trade_id - trade.span == last_ids.get(message.symbol, trade.trade_id - 1)
            last_ids[message.symbol] = trade.trade_id
            replayed_s.setdefault(message.symbol, received_s - trade.time_us / 1e6)
            trades += 1
    assert (trades, heartbeats, len(acknowledged)) == (36, 20, 10)
    assert set(last_ids) <= acknowledged
    assert {"OKT-BTC", "XMR-USDT-SWAP", "BTC-USD-210924-66000-C"} <= set(last_ids)
    assert max(replayed_s.values()) > 3600


@needs_recordings
def test_recorded_answers_and_documented_examples(okx: Okx) -> None:
    """Recorded and documented answers are read as the documentation describes them."""
    examples = {
        each["kind"]: each["data"] for each in map(json.loads, (FRAMES / "doc_examples.jsonl").read_text().splitlines())
    }
    assert okx.decode(examples["ack"]) == Acknowledged(1512, ("BTC-USDT",))
    assert isinstance(okx.decode(examples["error"]), Refused)
    assert isinstance(okx.decode(examples["notice_64008"]), ClosingSoon)
    assert okx.decode(examples["pong_text"]) == Heartbeat()
    assert trades_of(okx, examples["trades_aggregated"])[0].span == 3
    assert trades_of(okx, examples["trades_all"])[0].span == 1
    assert trades_of(Okx(["BSV-USDT"]), examples["trades_all_recorded"])[0].trade_id == 84834539
    assert trades_of(Okx(["BTC-USD"]), (FRAMES / "ws_trades_count3.json").read_bytes())[0].count == 3
    asked = TradesWanted(
        symbol="BTC-USDT", from_id=734864332, from_time_us=NOW_US - HOUR_US, until_id=None, asked_at_us=NOW_US
    )
    page = okx.decode_trades((FRAMES / "rest_trades.json").read_bytes(), asked, okx.trades(asked))
    assert [trade.trade_id for trade in page.trades] == [734864332, 734864333]
    assert page.next is None
