"""Kraken: several symbols a frame, one answer a symbol, XBT for BTC, and a cursor of nanoseconds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import pytest

from daemon.errors import DataFault
from daemon.exchanges.base import Acknowledged, Heartbeat, Refused, TradesBatch, TradesMessage, TradesPage, TradesWanted
from daemon.exchanges.kraken import Kraken
from daemon.exchanges.kraken_wire import TradeRow
from features.market import Trade
from tests.paths import RECORDINGS

FRAMES = RECORDINGS / "kraken"
needs_recordings = pytest.mark.skipif(not FRAMES.exists(), reason=f"no recordings at {FRAMES}")

MINUTE_US = 60_000_000
BOUNDLESS = 4_000_000_000_000_000
NEW_YEAR_S = 1_609_459_200  # 2021-01-01
TWO_SYMBOLS = (
    b'{"channel":"trade","type":"snapshot","data":[{"symbol":"ETH/USD","side":"sell","price":2284.15,"qty":0.001,'
    b'"ord_type":"market","trade_id":62886870,"timestamp":"2026-05-14T15:03:41.748964Z"},{"symbol":"BTC/USD","side":'
    b'"buy","price":81011.5,"qty":0.00123440,"ord_type":"limit","trade_id":100320028,'
    b'"timestamp":"2026-05-14T15:06:09.020392Z"}]}'
)


# The stream


def test_two_symbols_in_one_frame() -> None:
    """Every record of ``data`` is read, with the taker's side unchanged."""
    ether = Trade(62_886_870, 1_778_771_021_748_964, 2284.15, 0.001, taker_buys=False)
    bitcoin = Trade(100_320_028, 1_778_771_169_020_392, 81_011.5, 0.0012344, taker_buys=True)
    assert Kraken(["BTC-USD", "ETH-USD"]).decode(TWO_SYMBOLS) == TradesBatch(
        [TradesMessage("ETH-USD", [ether]), TradesMessage("BTC-USD", [bitcoin])]
    )


def test_several_trades_of_one_symbol() -> None:
    """Trades come out by ascending id."""
    record = json.loads(TWO_SYMBOLS)["data"][1]
    data = [{**record, "trade_id": trade_id} for trade_id in (7, 5, 6)]
    message = Kraken(["BTC-USD"]).decode(msgspec.json.encode({"channel": "trade", "type": "update", "data": data}))
    assert isinstance(message, TradesMessage)
    assert [trade.trade_id for trade in message.trades] == [5, 6, 7]


def test_numbers_are_numbers() -> None:
    """A frame whose prices are texts is not Kraken's and is refused."""
    for token in (b"81011.5", b"0.00123440", b"100320028"):
        with pytest.raises(DataFault):
            Kraken(["BTC-USD", "ETH-USD"]).decode(TWO_SYMBOLS.replace(token, b'"' + token + b'"'))


def test_subscribing() -> None:
    """One request, and an answer for each symbol that carries the request's number."""
    kraken = Kraken(["BTC-USD", "DOGE-EUR"])
    assert json.loads(kraken.subscribe(["BTC-USD", "DOGE-EUR"], 4)) == {
        "method": "subscribe",
        "params": {"channel": "trade", "symbol": ["BTC/USD", "DOGE/EUR"], "snapshot": True},
        "req_id": 4,
    }
    accepted = b'{"method":"subscribe","result":{"channel":"trade","symbol":"DOGE/EUR"},"success":true,"req_id":4}'
    assert kraken.decode(accepted) == Acknowledged(4, ("DOGE-EUR",))
    assert kraken.decode(accepted.replace(b"DOGE", b"SHIB")) == Heartbeat()
    refused = b'{"error":"Currency pair not supported","method":"subscribe","req_id":4,"success":false,"symbol":"%s"}'
    for spelling in (b"BTC/USD", b"XBT/USD"):
        message = Kraken(None).decode(refused % spelling)
        assert message == Refused(4, "Currency pair not supported", ("BTC-USD",))
    assert kraken.decode(b'{"method":"subscribe","success":false,"req_id":5}') == Refused(5, "no reason given")


@pytest.mark.parametrize("address", ["wss://ws.kraken.com", "wss://ws.kraken.com/", "wss://ws.kraken.com/v2"])
def test_address(address: str) -> None:
    """The daemon uses the second version of the interface: trades of the first have no ids."""
    assert Kraken(None).stream_url(address) == "wss://ws.kraken.com/v2"


def test_unknown_frames() -> None:
    """A channel or answer that Kraken does not document is a DataFault."""
    for unknown in (b'{"channel":"weather"}', b'{"method":"subscribe","success":true}', b'{"method":"add_order"}'):
        with pytest.raises(DataFault):
            Kraken(["BTC-USD"]).decode(unknown)


@pytest.mark.parametrize(
    ("symbol", "native"),
    [("BTC-USD", "XBTUSD"), ("ETH-BTC", "ETHXBT"), ("DOGE-EUR", "XDGEUR"), ("BTC-USDT", "XBTUSDT"), ("WBTC-EUR", None)],
)
def test_rest_names(symbol: str, native: str | None) -> None:
    """REST has its own spelling of bitcoin and dogecoin only."""
    assert Kraken([symbol]).native(symbol) == (native or symbol.replace("-", ""))


# Trades by REST


def wanted(from_id: int | None, until_id: int | None, from_time_us: int = NEW_YEAR_S * 1_000_000) -> TradesWanted:
    return TradesWanted(
        symbol="BTC-USD", from_id=from_id, from_time_us=from_time_us, until_id=until_id, asked_at_us=BOUNDLESS
    )


def answer(trade_ids: Sequence[int], last_ns: int | str = NEW_YEAR_S * 10**9 + 7) -> bytes:
    rows = [["10.0", "1.0", NEW_YEAR_S + trade_id / 4096, "b", "m", "", trade_id] for trade_id in trade_ids]
    return json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": str(last_ns)}}).encode()


def decode(trade_ids: Sequence[int], asked: TradesWanted, last_ns: int | str = NEW_YEAR_S * 10**9 + 7) -> TradesPage:
    kraken = Kraken(["BTC-USD"])
    return kraken.decode_trades(answer(trade_ids, last_ns), asked, kraken.trades(asked))


def test_trades_request() -> None:
    """By time in nanoseconds, a little early; trades and candles of a pair share a budget."""
    kraken = Kraken(["BTC-USD"])
    request = kraken.trades(wanted(5, None, 1_762_795_433_971_744))
    assert request.path == "/0/public/Trades"
    assert request.query == {"pair": "XBTUSD", "since": 1_762_795_433_970_744_000, "count": 1000}
    assert kraken.latest_trade("BTC-USD").query == {"pair": "XBTUSD"}
    candles = kraken.candles("BTC-USD", MINUTE_US, 1_762_777_140_000_000, 1_762_777_260_000_000)
    assert candles.query == {"pair": "XBTUSD", "interval": 1, "since": 1_762_777_080}
    assert request.pace == candles.pace == "XBTUSD"
    assert kraken.server_time().pace == kraken.instruments().pace == ""


def test_walk() -> None:
    """A full page is followed from its own cursor, with an overlap; one that is not full is the newest."""
    page = decode(range(1, 1001), wanted(1, None))
    assert all(trade.taker_buys for trade in page.trades)
    assert page.next is not None
    assert page.next.query["since"] == NEW_YEAR_S * 10**9 + 6
    assert decode(range(1, 1000), wanted(1, None)).next is None
    assert decode(range(1, 1001), wanted(1, 1000)).next is None
    assert decode([], wanted(1, None)) == TradesPage([])


def test_cursor_that_stands_still() -> None:
    """A walk that cannot pass a thousand trades of one nanosecond ends with an error."""
    kraken, asked = Kraken(["BTC-USD"]), wanted(1, None)
    body = answer(range(1, 1001))
    page = kraken.decode_trades(body, asked, kraken.trades(asked))
    assert page.next is not None
    with pytest.raises(DataFault, match="do not advance"):
        kraken.decode_trades(body, asked, page.next)


@pytest.mark.parametrize("cursor", ["", "None", "-1", "1.5", "9" * 20, "9" * 5000, "١٢"])
def test_cursors_that_are_no_time(cursor: str) -> None:
    """A bad cursor is an error only where more pages are to be read."""
    with pytest.raises(DataFault):
        decode(range(1, 1001), wanted(1, None), cursor)
    assert decode(range(1, 11), wanted(1, None), cursor).next is None


def test_answers_from_behind() -> None:
    """An answer whose newest trade is older than a known one does not prove that no trade followed."""
    assert decode([99, 100], wanted(101, None)).next is None
    with pytest.raises(DataFault, match="newest"):
        decode([98, 99], wanted(101, None))


@pytest.mark.parametrize("trade_ids", [[5, 4], [5, 5]])
def test_trades_out_of_order(trade_ids: list[int]) -> None:
    """A page whose ids do not ascend is refused."""
    with pytest.raises(DataFault, match="order"):
        decode(trade_ids, wanted(1, None))


@pytest.mark.parametrize("result", [{}, {"last": "1"}, {"XXBTZUSD": [], "XETHZUSD": []}])
def test_answers_of_another_number_of_pairs(result: dict[str, object]) -> None:
    """An answer holds exactly one pair, because its name there is Kraken's own."""
    kraken, asked = Kraken(["BTC-USD"]), wanted(1, None)
    body = msgspec.json.encode({"error": [], "result": result})
    with pytest.raises(DataFault, match="one pair"):
        kraken.decode_trades(body, asked, kraken.trades(asked))
    with pytest.raises(DataFault, match="one pair"):
        kraken.decode_candles(body, symbol="BTC-USD", interval_us=MINUTE_US, known_at_us=BOUNDLESS)


@pytest.mark.parametrize(
    ("seconds", "time_us"),
    [("1762795433.9717445", 1_762_795_433_971_744), ("1762795483.306824", 1_762_795_483_306_824), ("1762795483", None)],
)
def test_times_to_the_microsecond(seconds: str, time_us: int | None) -> None:
    """Seconds with a fraction that no float holds exactly still give the exact microsecond."""
    body = answer([1]).replace(f"{NEW_YEAR_S + 1 / 4096}".encode(), seconds.encode())
    kraken, asked = Kraken(["BTC-USD"]), wanted(1, None)
    (trade,) = kraken.decode_trades(body, asked, kraken.trades(asked)).trades
    assert trade.time_us == (time_us or int(seconds) * 1_000_000)


def test_warnings_are_no_complaints() -> None:
    """An error text that begins with W is a warning; the answer is read."""
    Kraken(None).check_answer(b'{"error":["WGeneral:Deprecated"],"result":{}}')


# Recordings


@needs_recordings
def test_recorded_candles_are_the_trades() -> None:
    """Where the recorded trades cover a minute, their bars equal Kraken's candles, to the last digit."""
    kraken = Kraken(["BTC-USDT"])
    body = (FRAMES / "rest_Trades_XBTUSDT_2025-11-10.json").read_bytes()
    asked = msgspec.structs.replace(wanted(10_218_208, 10_219_207), symbol="BTC-USDT")
    page = kraken.decode_trades(body, asked, kraken.trades(asked))
    assert [trade.trade_id for trade in page.trades] == list(range(10_218_208, 10_219_208))
    assert page.next is None
    going_on = msgspec.structs.replace(asked, until_id=None)
    following = kraken.decode_trades(body, going_on, kraken.trades(going_on)).next
    assert following is not None
    assert following.query["since"] == 1_762_820_035_982_277_753
    minutes: dict[int, list[Trade]] = defaultdict(list)
    for trade in page.trades:
        minutes[trade.time_us // MINUTE_US * MINUTE_US].append(trade)

    candles = kraken.decode_candles(
        (FRAMES / "rest_OHLC_XBTUSDT_1m_2025-11-10.json").read_bytes(),
        symbol="BTC-USDT",
        interval_us=MINUTE_US,
        known_at_us=page.trades[-1].time_us,
    )
    covered = [candle for candle in candles if candle.open_time_us > page.trades[0].time_us]
    for candle in covered:
        trades = minutes.pop(candle.open_time_us, [])
        prices = [trade.price for trade in trades]
        expected = (prices[0], max(prices), min(prices), prices[-1]) if prices else (None,) * 4
        assert (candle.open, candle.high, candle.low, candle.close) == expected
        assert candle.trades == len(trades)
        assert candle.volume == pytest.approx(sum(trade.size for trade in trades), rel=1e-9)
    assert len(covered) > 400
    assert sum(candle.trades == 0 for candle in covered) > 100
    assert sorted(minutes) == [each.time_us // MINUTE_US * MINUTE_US for each in (page.trades[0], page.trades[-1])]


@needs_recordings
def test_documented_examples() -> None:
    """The frames in the documentation and in other clients' tests are read as they are described."""
    lines = (FRAMES / "doc_examples.jsonl").read_text().splitlines()
    examples = {example["kind"]: example["data"] for example in map(json.loads, lines)}
    kraken = Kraken(["MATIC-USD", "BTC-USD", "ETH-USD"])
    assert json.loads(kraken.subscribe(["MATIC-USD"], 1)) == json.loads(examples["subscribe"])
    assert kraken.decode(examples["ack"]) == Acknowledged(None, ("MATIC-USD",))
    assert isinstance(kraken.decode(examples["error"]), Refused)
    assert kraken.decode(examples["status"]) == kraken.decode(examples["heartbeat"]) == Heartbeat()
    assert kraken.decode(examples["ping"]) == Heartbeat()
    snapshot, update = kraken.decode(examples["snapshot"]), kraken.decode(examples["update"])
    assert isinstance(snapshot, TradesMessage)
    assert isinstance(update, TradesMessage)
    assert [trade.trade_id for trade in (*snapshot.trades, *update.trades)] == [4665846, 4665847, 4665906]
    assert isinstance(kraken.decode(examples["snapshot_two_symbols_in_one_message"]), TradesBatch)


@needs_recordings
def test_single_frames() -> None:
    """Frames in files of their own."""
    kraken = Kraken(["BTC-USD"])
    assert kraken.decode((FRAMES / "ws_v2_pong.json").read_bytes()) == Heartbeat()
    assert kraken.decode((FRAMES / "ws_v2_subscribe_ack.json").read_bytes()) == Heartbeat()  # of the ticker
    message = kraken.decode((FRAMES / "ws_v2_trade_update.json").read_bytes())
    assert isinstance(message, TradesMessage)
    assert [trade.trade_id for trade in message.trades] == [10_218_208, 10_218_209]


@pytest.mark.parametrize(
    ("seconds", "time_us"),
    [
        ("1688669597.8277369", 1_688_669_597_827_736),
        ("1688669597.9999999", 1_688_669_597_999_999),
        ("1688669597.827736", 1_688_669_597_827_736),
        ("1688669597.99999999999999999999999999999999999999", 1_688_669_597_999_999),
        ("1688669597", 1_688_669_597_000_000),
    ],
)
def test_fractions_of_a_rest_trade_are_cut(seconds: str, time_us: int) -> None:
    """Times are read as decimals: a binary fraction would round, or lose a microsecond when cut."""
    row = msgspec.json.decode(f'["1.5", "2", {seconds}, "b", "m", "", 7]'.encode(), type=TradeRow, strict=False)
    assert row.to_trade().time_us == time_us


@pytest.mark.parametrize("seconds", ["0", "-1", "1e400", "4102444800", "1230767999.9", '"NaN"', '"Infinity"', '"sNaN"'])
def test_an_impossible_time_of_a_rest_trade(seconds: str) -> None:
    """A row without a time from 2009 to 2100 is refused."""
    body = f'{{"error":[],"result":{{"XBTUSDT":[["1.5","2",{seconds},"b","m","",7]],"last":"1"}}}}'.encode()
    wanted = TradesWanted(symbol="BTC-USDT", from_id=None, from_time_us=0, until_id=None, asked_at_us=0)
    kraken = Kraken(["BTC-USDT"])
    with pytest.raises(DataFault):
        kraken.decode_trades(body, wanted, kraken.trades(wanted))
