"""Coinbase: the maker's side, newest first, several products a frame, and one book with two names."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest

from daemon.errors import ConfigError, DataFault
from daemon.exchanges.base import Acknowledged, Heartbeat, Refused, TradesBatch, TradesMessage, TradesPage, TradesWanted
from daemon.exchanges.coinbase import Coinbase
from features.market import Trade
from tests.paths import RECORDINGS

FRAMES = RECORDINGS / "coinbase"
needs_recordings = pytest.mark.skipif(not FRAMES.exists(), reason=f"no recordings at {FRAMES}")

HOUR_US = 3_600_000_000
BOUNDLESS = 4_000_000_000_000_000
TWO_TRADES = (
    b'{"channel":"market_trades","client_id":"","timestamp":"2025-12-31T06:00:13.715382929Z","sequence_num":1854,'
    b'"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"929248663","price":"88355.58",'
    b'"size":"0.00003338","time":"2025-12-31T06:00:13.654578Z","side":"BUY"},{"product_id":"BTC-USD","trade_id":'
    b'"929248662","price":"88355.59","size":"0.00099993","time":"2025-12-31T06:00:13.613311Z","side":"SELL"}]}]}'
)


def frame(*trades: tuple[str, int], kind: str = "update") -> bytes:
    """A frame with trades of these products and ids, in this order."""
    records = [
        {
            "product_id": product,
            "trade_id": str(trade_id),
            "price": "10",
            "size": "1",
            "time": "2025-12-31T06:00:13Z",
            "side": "SELL",
        }
        for product, trade_id in trades
    ]
    return json.dumps({"channel": "market_trades", "events": [{"type": kind, "trades": records}]}).encode()


def ids(message: object) -> dict[str, list[int]]:
    """Symbols and the ids of their trades, in the message's order."""
    parts = message.messages if isinstance(message, TradesBatch) else [message]
    trades = {part.symbol: part.trades for part in parts if isinstance(part, TradesMessage)}
    assert len(trades) == len(parts)
    return {symbol: [trade.trade_id for trade in each] for symbol, each in trades.items()}


def captured_frames() -> list[bytes]:
    lines = map(json.loads, (FRAMES / "exchange_2021-04-17_matches.jsonl").read_text().splitlines())
    return [line["data"].encode() for line in lines if line["dir"] == "recv"]


# The stream


def test_newest_first_and_the_makers_side() -> None:
    """Trades come out oldest first; where the maker bought, the taker sold."""
    sold = Trade(929_248_662, 1_767_160_813_613_311, 88_355.59, 0.00099993, taker_buys=True)
    bought = Trade(929_248_663, 1_767_160_813_654_578, 88_355.58, 0.00003338, taker_buys=False)
    assert Coinbase(["BTC-USD"]).decode(TWO_TRADES) == TradesMessage("BTC-USD", [sold, bought])


def test_several_products_in_one_message() -> None:
    """Each product gets its own trades, from any event of the message."""
    message = Coinbase(["BTC-USD", "ETH-USD"]).decode(frame(("BTC-USD", 3), ("ETH-USD", 8), ("BTC-USD", 2)))
    assert isinstance(message, TradesBatch)
    assert ids(message) == {"BTC-USD": [2, 3], "ETH-USD": [8]}
    events = [json.loads(frame(("BTC-USD", number)))["events"][0] for number in (5, 4)]
    together = msgspec.json.encode({"channel": "market_trades", "events": events})
    assert ids(Coinbase(["BTC-USD"]).decode(together)) == {"BTC-USD": [4, 5]}


def test_snapshot_is_read_like_an_update() -> None:
    """The hundred trades after a subscription are trades; their ids show which were counted already."""
    newest_first = [("BTC-USD", number) for number in range(100, 0, -1)]
    message = Coinbase(["BTC-USD"]).decode(frame(*newest_first, kind="snapshot"))
    assert ids(message) == {"BTC-USD": list(range(1, 101))}


@pytest.mark.parametrize(
    ("fraction", "microseconds"),
    [("", 0), (".1", 100_000), (".6135", 613_500), (".61331", 613_310), (".613311", 613_311), (".613311499", 613_311)],
)
def test_variable_fraction_digits(fraction: str, microseconds: int) -> None:
    """Coinbase drops zeros at the end of a time."""
    message = Coinbase(["BTC-USD"]).decode(TWO_TRADES.replace(b".613311Z", f"{fraction}Z".encode()))
    assert isinstance(message, TradesMessage)
    assert message.trades[0].time_us == 1_767_160_813_000_000 + microseconds


def test_unknown_frames() -> None:
    """A channel or kind that Coinbase does not document is a DataFault, and so is a broken list."""
    for unknown in (
        b'{"channel":"weather","events":[]}',
        b'{"type":"weather"}',
        b'{"channel":"subscriptions","events":[{"subscriptions":["market_trades"]}]}',
        b'{"type":"subscriptions","channels":"matches"}',
        b'{"type":"match","trade_id":1}',
    ):
        with pytest.raises(DataFault):
            Coinbase(["BTC-USD"]).decode(unknown)


# One book, two names


def test_usdc_alone_gets_the_usd_trades() -> None:
    """Frames name the USD book; the configured USDC symbol gets its trades, by REST too."""
    coinbase = Coinbase(["BTC-USDC"])
    assert ids(coinbase.decode(frame(("BTC-USD", 3), ("BTC-USD", 2)))) == {"BTC-USDC": [2, 3]}
    assert json.loads(coinbase.subscribe(["BTC-USDC"], 1))["product_ids"] == ["BTC-USD"]
    assert coinbase.latest_trade("BTC-USDC").path == "/products/BTC-USD/trades"
    assert coinbase.candles("BTC-USDC", HOUR_US, 0, HOUR_US).path == "/products/BTC-USD/candles"


def test_both_names_of_one_book() -> None:
    """Both names get the trades of the book, and both are acknowledged."""
    coinbase = Coinbase(["BTC-USDC", "BTC-USD"])
    message = coinbase.decode(frame(("BTC-USD", 3)))
    assert ids(message) == {"BTC-USDC": [3], "BTC-USD": [3]}
    assert isinstance(message, TradesBatch)
    assert message.messages[0].trades is not message.messages[1].trades
    assert json.loads(coinbase.subscribe(["BTC-USDC", "BTC-USD"], 1))["product_ids"] == ["BTC-USD"]
    listed = b'{"channel":"subscriptions","events":[{"subscriptions":{"market_trades":["BTC-USD"]}}]}'
    assert coinbase.decode(listed) == Acknowledged(None, ("BTC-USDC", "BTC-USD"))


def test_usdc_books_of_their_own() -> None:
    """USDT-USDC is a book of its own, not another name of USDT-USD."""
    coinbase = Coinbase(["USDT-USDC", "USDT-USD"])
    message = coinbase.decode(frame(("USDT-USDC", 1), ("USDT-USD", 7)))
    assert ids(message) == {"USDT-USDC": [1], "USDT-USD": [7]}
    assert coinbase.native("USDT-USDC") == "USDT-USDC"


def test_instruments_in_usdc() -> None:
    """A USDC name has the state of its book; a book of its own has the state that the Exchange gives."""
    names = {"BTC-USD": "online", "BTC-USDC": "delisted", "ETH-USD": "online", "USDT-USD": "online"}
    products: list[dict[str, object]] = [
        {"base_currency": base, "quote_currency": quote, "status": status}
        for name, status in names.items()
        for base, quote in [name.split("-")]
    ]
    products.append({"base_currency": "SOL", "quote_currency": "EUR", "status": "online", "trading_disabled": True})
    assert Coinbase(None).decode_instruments(msgspec.json.encode(products)) == {
        "BTC-USD": "TRADING",
        "BTC-USDC": "TRADING",
        "ETH-USD": "TRADING",
        "ETH-USDC": "TRADING",
        "USDT-USD": "TRADING",
        "SOL-EUR": "trading_disabled",
    }


def test_symbols_that_cannot_be_spelled() -> None:
    """A symbol that Coinbase cannot spell is refused in the constructor."""
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        Coinbase(["BTC-USD", "btc-usdc"])


# Subscribing


def test_subscribing() -> None:
    """Heartbeats are requested first, one channel a message; only the answer's trade channel is an acknowledgement."""
    coinbase = Coinbase(["BTC-USD", "ETH-USD"])
    assert [json.loads(text) for text in coinbase.opening()] == [{"type": "subscribe", "channel": "heartbeats"}]
    assert json.loads(coinbase.subscribe(["BTC-USD", "ETH-USD"], 4)) == {
        "type": "subscribe",
        "product_ids": ["BTC-USD", "ETH-USD"],
        "channel": "market_trades",
    }
    listed = b'{"channel":"subscriptions","events":[{"subscriptions":{"market_trades":["ETH-USD","XRP-USD"]}}]}'
    assert coinbase.decode(listed) == Acknowledged(None, ("ETH-USD",))
    assert coinbase.decode(listed.replace(b"market_trades", b"ticker")) == Heartbeat()
    assert coinbase.decode(listed.replace(b"ETH-USD", b"SOL-USD")) == Heartbeat()
    assert coinbase.stream_url("ws://127.0.0.1:1/") == "ws://127.0.0.1:1"


# Trades by REST


def wanted(from_id: int | None, until_id: int | None, from_time_us: int = 0) -> TradesWanted:
    return TradesWanted(
        symbol="BTC-USD", from_id=from_id, from_time_us=from_time_us, until_id=until_id, asked_at_us=BOUNDLESS
    )


def answer(trade_ids: Sequence[int]) -> bytes:
    """A page of trades a second apart; trade 0 was made at 2021-01-01."""
    rows = [
        {
            "time": f"2021-01-01T00:{trade_id // 60:02d}:{trade_id % 60:02d}Z",
            "trade_id": trade_id,
            "price": "10.00000000",
            "size": "0.01000000",
            "side": "buy",
        }
        for trade_id in trade_ids
    ]
    return json.dumps(rows).encode()


NEW_YEAR_US = 1_609_459_200_000_000


def decode(trade_ids: Sequence[int], asked: TradesWanted, after: int | None = None) -> TradesPage:
    coinbase = Coinbase(["BTC-USD"])
    request = coinbase.trades(asked if after is None else msgspec.structs.replace(asked, until_id=after - 1))
    return coinbase.decode_trades(answer(trade_ids), asked, request)


def test_walk_back_by_id() -> None:
    """``after`` is exclusive: the walk begins at the last wanted id and ends at the first."""
    coinbase, asked = Coinbase(["BTC-USD"]), wanted(95, 104)
    request = coinbase.trades(asked)
    assert (request.path, request.query) == ("/products/BTC-USD/trades", {"limit": 1000, "after": 105})
    page = decode(range(104, 98, -1), asked)
    assert [trade.trade_id for trade in page.trades] == list(range(99, 105))
    assert not any(trade.taker_buys for trade in page.trades)
    assert page.next is not None
    assert page.next.query == {"limit": 1000, "after": 99}
    for oldest in (95, 93):
        last = decode(range(98, oldest - 1, -1), asked, after=99)
        assert last.next is None
        assert last.complete
    assert decode(range(98, 95, -1), asked, after=99).next is not None


def test_walk_from_the_newest() -> None:
    """Without a last wanted id the newest page comes first; the known trade on it proves that none is missing."""
    coinbase, asked = Coinbase(["BTC-USD"]), wanted(101, None)
    assert coinbase.trades(asked).query == {"limit": 1000}
    assert decode(range(100, 90, -1), asked).next is None
    with pytest.raises(DataFault, match="newest"):
        decode(range(99, 90, -1), asked)
    with pytest.raises(DataFault, match="newest"):
        decode([], asked)


def test_walk_back_by_time() -> None:
    """The walk ends at a trade older than the requested time, not at one of that very time."""
    asked = wanted(None, None, NEW_YEAR_US + 93_000_000)
    page = decode(range(100, 92, -1), asked)
    assert page.next is not None
    assert page.next.query["after"] == 93
    assert decode([92, 91], asked, after=93).next is None
    assert decode([], asked, after=93) == TradesPage([])


def test_trades_that_are_not_given() -> None:
    """A page without trades ends the walk; trades wanted by id exist but are no longer served."""
    assert decode([], wanted(95, 104)) == TradesPage([], complete=False)


@pytest.mark.parametrize("trade_ids", [[103, 104], [104, 104], [105, 104]])
def test_pages_that_lead_nowhere(trade_ids: list[int]) -> None:
    """A page whose ids do not descend, or are not older than requested, is refused: the walk would not end."""
    with pytest.raises(DataFault):
        decode(trade_ids, wanted(95, 104))


# Candles


def test_candle_requests() -> None:
    """The end is inclusive: 300 candles are requested up to the second before it."""
    request = Coinbase(["BTC-USD"]).candles("BTC-USD", HOUR_US, 1_712_188_800_000_000, 1_713_268_800_000_000)
    assert request.query == {"granularity": 3600, "start": "2024-04-04T00:00:00Z", "end": "2024-04-16T11:59:59Z"}


def test_candles() -> None:
    """Newest first, low and high before open and close; the running candle and one off the grid are left out."""
    rows = [
        [1_712_196_000, 1.0, 2.0, 1.0, 2.0, 3.0],
        [1_712_192_400, 9.0, 12.0, 10.0, 11.0, 3.0],
        [1_712_190_000, 9.0, 12.0, 10.0, 11.0, 3.0],
        [1_712_185_200, 9.0, 9.0, 9.0, 9.0, 0.0],
    ]
    known_at_us = 1_712_196_000_000_000
    bars = Coinbase(["BTC-USD"]).decode_candles(
        msgspec.json.encode(rows), symbol="BTC-USD", interval_us=HOUR_US, known_at_us=known_at_us
    )
    assert [bar.open_time_us // 1_000_000 for bar in bars] == [1_712_185_200, 1_712_192_400]
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in bars] == [(None,) * 4, (10.0, 12.0, 9.0, 11.0)]


# Recordings


@needs_recordings
@pytest.mark.parametrize("open_venue", [True, False])
def test_recorded_frames_are_all_explained(open_venue: bool) -> None:
    """Every recorded frame is trades or a list of subscriptions, and no product's ids have a gap."""
    frames = captured_frames()
    records = [json.loads(each) for each in frames]
    products = sorted({record["product_id"] for record in records if "product_id" in record})
    coinbase = Coinbase(None if open_venue else products)
    last_ids: dict[str, int] = {}
    trades, acknowledged = 0, set()
    for each, record in zip(frames, records, strict=True):
        message = coinbase.decode(each)
        if isinstance(message, Acknowledged):
            acknowledged |= set(message.symbols)
        elif isinstance(message, Heartbeat):
            assert record["type"] == "subscriptions"
        else:
            assert isinstance(message, TradesMessage)
            assert message.symbol == record["product_id"]
            (trade,) = message.trades
            assert trade.trade_id == last_ids.get(message.symbol, trade.trade_id - 1) + 1
            assert trade.taker_buys == (record["side"] == "sell")
            last_ids[message.symbol] = trade.trade_id
            trades += 1
    assert set(products) == acknowledged == set(last_ids)
    assert trades == sum(record["type"] in {"match", "last_match"} for record in records) > 100


@needs_recordings
def test_documented_examples() -> None:
    """The frames in the documentation are read as the documentation describes them."""
    lines = (FRAMES / "doc_examples.jsonl").read_text().splitlines()
    examples = {example["kind"]: example["data"] for example in map(json.loads, lines)}
    coinbase = Coinbase(["BTC-USD", "ETH-USD"])
    assert coinbase.decode(examples["advanced_heartbeat"]) == Heartbeat()
    assert coinbase.decode(examples["exchange_heartbeat"]) == Heartbeat()
    assert coinbase.decode(examples["exchange_error"]) == Refused(None, "error message")
    assert ids(coinbase.decode(examples["advanced_multi_trade_newest_first"])) == {"BTC-USD": [929248662, 929248663]}
    assert ids(coinbase.decode(examples["exchange_match"])) == {"BTC-USD": [10]}
    assert json.loads(coinbase.opening()[0]) == json.loads(examples["advanced_heartbeats_subscribe"])
    assert json.loads(coinbase.subscribe(["ETH-USD", "BTC-USD"], 1)) == json.loads(examples["advanced_subscribe"])
