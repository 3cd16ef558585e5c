"""OKX's wire: merged trades, the replay after a subscription, walks from the newest down, candles' traps."""

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
    Ids,
    Refused,
    RestRequest,
    TradesMessage,
    TradesPage,
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
    """No trade is merged of none, nor of more than there were; id 0 may be the first."""
    with pytest.raises(DataFault):
        okx.decode(push({"tradeId": "10", "count": count}))
    assert trades_of(okx, push({"tradeId": "10", "count": "11"}))[0].span == 11


def test_all_of_data_in_order(okx: Okx) -> None:
    """Every record of a frame counts, by ascending id whatever order they came in."""
    frame = push({"tradeId": "12"}, {"tradeId": "10", "side": "sell"}, {"tradeId": "11"})
    assert [trade.trade_id for trade in trades_of(okx, frame)] == [10, 11, 12]
    assert [trade.taker_buys for trade in trades_of(okx, frame)] == [False, True, True]


def test_frames_that_contradict_themselves(okx: Okx) -> None:
    """A trade of another instrument than the frame's, and a push without any trade."""
    for frame in (push({"tradeId": "10", "instId": "ETH-USDT"}), push()):
        with pytest.raises(DataFault):
            okx.decode(frame)


def test_other_products_in_recordings(okx: Okx) -> None:
    """Swaps and options keep OKX's name in a recording, and are strangers to a daemon."""
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
    """Request ids that are none of ours, strangers' acknowledgements and other notices."""
    assert okx.decode(frame) == message


@pytest.mark.parametrize(
    "frame", [b"ping", b"pong ", b'{"event":"subscribe"}', b'{"arg":{"channel":"trades"}}', b'{"id":"1"}']
)
def test_frames_that_are_none(okx: Okx, frame: bytes) -> None:
    """What looks like OKX's but is not."""
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


# Trades by REST


class Tape:
    """An OKX with trades of ids ``first`` to ``last``, one a second, that answers as its documentation says."""

    def __init__(self, first: int, last: int) -> None:
        self._ids = range(first, last + 1)

    def time_us(self, trade_id: int) -> int:
        return NOW_US + (trade_id - self._ids[-1]) * 1_000_000 if self._ids else NOW_US

    def answer(self, request: RestRequest) -> bytes:
        query = request.query
        limit, after = int(query["limit"]), int(query.get("after", 2**62))
        if query.get("type") == 2:
            ids = [each for each in self._ids if self.time_us(each) // 1000 < after]
        else:
            ids = [each for each in self._ids if each < after]
        assert limit <= (500 if request.path == "/api/v5/market/trades" else 100)
        return answer(*((each, self.time_us(each)) for each in reversed(ids[-limit:])))


def answer(*trades: tuple[int, int], instrument: str = "BTC-USDT") -> bytes:
    data = [
        {"instId": instrument, "tradeId": str(number), "px": "1", "sz": "1", "side": "buy", "ts": str(time_us // 1000)}
        for number, time_us in trades
    ]
    return msgspec.json.encode({"code": "0", "msg": "", "data": data})


def wanted(
    *, from_id: int | None = None, until_id: int | None = None, from_time_us: int = NOW_US - HOUR_US
) -> TradesWanted:
    return TradesWanted(
        symbol="BTC-USDT", from_id=from_id, from_time_us=from_time_us, until_id=until_id, asked_at_us=NOW_US
    )


def walk(okx: Okx, tape: Tape, asked: TradesWanted) -> tuple[list[int], list[RestRequest], TradesPage]:
    """All ids of a walk, oldest first, its requests, and its last page."""
    request, requests = okx.trades(asked), list[RestRequest]()
    ids: list[int] = []
    while True:
        requests.append(request)
        page = okx.decode_trades(tape.answer(request), asked, request)
        ids = [trade.trade_id for trade in page.trades] + ids
        if page.next is None:
            return ids, requests, page
        request = page.next


def test_walk_from_the_newest(okx: Okx) -> None:
    """A large page of the newest, then pages of older ones, down to the first wanted id and without a hole."""
    ids, requests, page = walk(okx, Tape(1, 2000), wanted(from_id=1350))
    assert ids == list(range(1301, 2001))
    assert [request.path.rpartition("/")[2] for request in requests] == ["trades", "history-trades", "history-trades"]
    assert [request.query.get("after") for request in requests] == [None, 1501, 1401]
    assert page.complete


def test_walk_up_to_an_id(okx: Okx) -> None:
    """A gap is asked for from its last id down: the id after it is exclusive."""
    ids, requests, page = walk(okx, Tape(1, 2000), wanted(from_id=1000, until_id=1150))
    assert requests[0].query["after"] == 1151
    assert (ids[0], ids[-1], len(requests), page.complete) == (951, 1150, 2, True)


def test_walk_by_time(okx: Okx) -> None:
    """Without an id the walk ends at the first trade before the time: one at the very time is wanted."""
    tape = Tape(1, 2000)
    ids, _, page = walk(okx, tape, wanted(from_time_us=tape.time_us(1501)))
    assert ids[0] <= 1500
    ids, _, page = walk(okx, tape, wanted(from_time_us=tape.time_us(1502)))
    assert (ids[0], page.complete) == (1501, True)


def test_nothing_new(okx: Okx) -> None:
    """The known trade is the newest: the page shows it, and the walk is over."""
    ids, requests, page = walk(okx, Tape(1, 2000), wanted(from_id=2001))
    assert (ids[-1], len(requests), page.complete) == (2000, 1, True)


def test_newest_from_behind_what_is_known(okx: Okx) -> None:
    """An answer older than what the stream has brought is no proof that nothing followed."""
    asked = wanted(from_id=2002)
    with pytest.raises(DataFault, match="2001 is known"):
        walk(okx, Tape(1, 2000), asked)


def test_ids_that_are_served_no_more(okx: Okx) -> None:
    """Three months are served: a walk that ends above the first wanted id is not whole."""
    ids, _, page = walk(okx, Tape(300, 2000), wanted(from_id=100))
    assert (ids[0], page.trades, page.complete) == (300, [], False)


def test_walk_by_time_beyond_the_first_trade(okx: Okx) -> None:
    """Within what is surely served, the end of the walk is the beginning of the market; further back, who knows."""
    assert walk(okx, Tape(1, 50), wanted())[2].complete
    assert not walk(okx, Tape(1, 50), wanted(from_time_us=NOW_US - 100 * DAY_US))[2].complete


@pytest.mark.parametrize(("from_id", "whole"), [(None, True), (7, False)])
def test_market_without_trades(okx: Okx, from_id: int | None, whole: bool) -> None:
    """No trade at all is an answer by time; where ids are known it contradicts them."""
    _, requests, page = walk(okx, Tape(1, 0), wanted(from_id=from_id))
    assert (len(requests), page.trades, page.complete) == (1, [], whole)


def test_answers_that_are_not_what_was_asked(okx: Okx) -> None:
    """Trades at or above ``after`` would make the walk go round; another instrument's would be counted."""
    asked = wanted(from_id=100, until_id=150)
    request = okx.trades(asked)
    with pytest.raises(DataFault, match="before 151"):
        okx.decode_trades(answer((151, NOW_US)), asked, request)
    with pytest.raises(DataFault, match="another instrument"):
        okx.decode_trades(answer((150, NOW_US), instrument="ETH-USDT"), asked, request)


def test_last_trade_before(okx: Okx) -> None:
    """The cursor is exclusive and in milliseconds: a trade at the very time is not before it."""
    tape, asked = Tape(1, 2000), wanted(from_id=1, until_id=None)
    for time_us, last in ((tape.time_us(1800), 1799), (tape.time_us(1800) + 1, 1800)):
        request = okx.last_trade_before("BTC-USDT", time_us)
        page = okx.decode_trades(tape.answer(request), asked, request)
        assert ([trade.trade_id for trade in page.trades], page.next) == ([last], None)


def test_latest_trade(okx: Okx) -> None:
    """One trade, the newest."""
    request = okx.latest_trade("BTC-USDT")
    page = okx.decode_trades(Tape(1, 2000).answer(request), wanted(), request)
    assert [trade.trade_id for trade in page.trades] == [2000]


def test_budgets_are_per_endpoint(okx: Okx) -> None:
    """OKX counts each endpoint by itself; the clock allows half of what the others do."""
    requests = [okx.latest_trade("BTC-USDT"), okx.instruments(), okx.server_time()]
    assert len({request.pace for request in requests}) == 3
    assert okx.server_time().weight == 2
    assert okx.limits.rest_burst + 2 * okx.limits.rest_per_s <= 20
    assert okx.ids is Ids.CONTIGUOUS


# Candles


def test_candle_requests(okx: Okx) -> None:
    """Both cursors are exclusive; one candle alone, as an audit asks, comes from the recent ones."""
    many = okx.candles("BTC-USDT", HOUR_US, 2 * HOUR_US, 5 * HOUR_US)
    assert many.path == "/api/v5/market/history-candles"
    assert (many.query["before"], many.query["after"], many.query["bar"]) == (7_199_999, 18_000_000, "1H")
    assert okx.candles("BTC-USDT", HOUR_US, 2 * HOUR_US, 3 * HOUR_US).path == "/api/v5/market/candles"
    assert okx.candles("BTC-USDT", 1_000_000, 5_000_000, 6_000_000).path == "/api/v5/market/history-candles"


@pytest.mark.parametrize(
    ("interval_us", "bar"), [(6 * HOUR_US, "6Hutc"), (12 * HOUR_US, "12Hutc"), (DAY_US, "1Dutc"), (4 * HOUR_US, "4H")]
)
def test_long_candles_begin_by_utc(okx: Okx, interval_us: int, bar: str) -> None:
    """From six hours up, candles without "utc" begin at midnight of Hong Kong."""
    assert okx.candle_interval(interval_us) == interval_us
    assert okx.candles("BTC-USDT", interval_us, 0, DAY_US).query["bar"] == bar


def candles_body(*rows: list[str]) -> bytes:
    return msgspec.json.encode({"code": "0", "msg": "", "data": list(rows)})


def row(open_us: int, *, low: str = "9", volume: str = "2", confirm: str = "1") -> list[str]:
    return [str(open_us // 1000), "10", "12", low, "11", volume, "21", "22", confirm]


def test_unconfirmed_candles_are_left_out(okx: Okx) -> None:
    """Right after the close, the row read may be the one from before it: its interval is over, it is not final."""
    body = candles_body(row(NOW_US + MINUTE_US, confirm="0"), row(NOW_US))
    (bar,) = okx.decode_candles(body, symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=NOW_US + HOUR_US)
    assert (bar.open_time_us, bar.quote_volume, bar.taker_buy_volume, bar.trades) == (NOW_US, 22.0, None, None)


def test_candles_off_the_grid_are_left_out(okx: Okx) -> None:
    """A candle that begins by another clock is not the bar that was asked for."""
    body = candles_body(row(NOW_US), row(NOW_US - NOW_US % DAY_US + 16 * HOUR_US - DAY_US))
    assert okx.decode_candles(body, symbol="BTC-USDT", interval_us=DAY_US, known_at_us=NOW_US + 2 * DAY_US) == []


@pytest.mark.parametrize(("low", "match"), [("11.5", "outside"), ("0", "no price")])
def test_candles_that_make_no_sense(okx: Okx, low: str, match: str) -> None:
    """Prices that contradict one another, and a traded candle without a price."""
    with pytest.raises(DataFault, match=match):
        okx.decode_candles(
            candles_body(row(NOW_US, low=low)), symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=NOW_US + HOUR_US
        )


# Recordings


def captured(name: str) -> list[tuple[float, bytes]]:
    lines = (json.loads(line) for line in (FRAMES / name).read_text().splitlines())
    return [(line["ts"], line["data"].encode()) for line in lines if line["dir"] == "recv"]


@needs_recordings
def test_recorded_frames_are_all_explained() -> None:
    """Ids have no hole over ten instruments; each one's first push is a replay, up to 20 hours old."""
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
    """What they are called is what they are read as."""
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
    asked = wanted(from_id=734864332)
    page = okx.decode_trades((FRAMES / "rest_trades.json").read_bytes(), asked, okx.trades(asked))
    assert [trade.trade_id for trade in page.trades] == [734864332, 734864333]
    assert page.next is None
