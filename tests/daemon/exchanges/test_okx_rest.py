"""OKX by REST: walks from the newest trade down, budgets of its endpoints, candles."""

from __future__ import annotations

import msgspec
import pytest

from daemon.errors import DataFault
from daemon.exchanges.base import (
    Ids,
    RestRequest,
    TradesPage,
    TradesWanted,
)
from daemon.exchanges.okx import Okx

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
NOW_US = 1_747_087_200_000_000


@pytest.fixture
def okx() -> Okx:
    return Okx(["BTC-USDT", "ETH-USDT"])


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
    """A large page of the newest trades, then pages of older ones, down to the first wanted id without a gap."""
    ids, requests, page = walk(okx, Tape(1, 2000), wanted(from_id=1350))
    assert ids == list(range(1301, 2001))
    assert [request.path.rpartition("/")[2] for request in requests] == ["trades", "history-trades", "history-trades"]
    assert [request.query.get("after") for request in requests] == [None, 1501, 1401]
    assert page.complete


def test_walk_up_to_an_id(okx: Okx) -> None:
    """A gap is requested from its last id down: the id after it is exclusive."""
    ids, requests, page = walk(okx, Tape(1, 2000), wanted(from_id=1000, until_id=1150))
    assert requests[0].query["after"] == 1151
    assert (ids[0], ids[-1], len(requests), page.complete) == (951, 1150, 2, True)


def test_walk_by_time(okx: Okx) -> None:
    """Without an id the walk ends at the first trade before the time; one at that very time is wanted."""
    tape = Tape(1, 2000)
    ids, _, page = walk(okx, tape, wanted(from_time_us=tape.time_us(1501)))
    assert ids[0] <= 1500
    ids, _, page = walk(okx, tape, wanted(from_time_us=tape.time_us(1502)))
    assert (ids[0], page.complete) == (1501, True)


def test_nothing_new(okx: Okx) -> None:
    """The newest page shows the known trade, and the walk ends."""
    ids, requests, page = walk(okx, Tape(1, 2000), wanted(from_id=2001))
    assert (ids[-1], len(requests), page.complete) == (2000, 1, True)


def test_newest_from_behind_what_is_known(okx: Okx) -> None:
    """An answer that is older than the stream's newest trade does not prove that no trade followed."""
    asked = wanted(from_id=2002)
    with pytest.raises(DataFault, match="2001 is known"):
        walk(okx, Tape(1, 2000), asked)


def test_ids_that_are_served_no_more(okx: Okx) -> None:
    """OKX serves three months: a walk that ends above the first wanted id is incomplete."""
    ids, _, page = walk(okx, Tape(300, 2000), wanted(from_id=100))
    assert (ids[0], page.trades, page.complete) == (300, [], False)


def test_walk_by_time_beyond_the_first_trade(okx: Okx) -> None:
    """Within the served span the walk ends at the first trade of the market; further back it may end anywhere."""
    assert walk(okx, Tape(1, 50), wanted())[2].complete
    assert not walk(okx, Tape(1, 50), wanted(from_time_us=NOW_US - 100 * DAY_US))[2].complete


@pytest.mark.parametrize(("from_id", "whole"), [(None, True), (7, False)])
def test_market_without_trades(okx: Okx, from_id: int | None, whole: bool) -> None:
    """An answer without trades is complete by time; where ids are known it contradicts them."""
    _, requests, page = walk(okx, Tape(1, 0), wanted(from_id=from_id))
    assert (len(requests), page.trades, page.complete) == (1, [], whole)


def test_answers_to_another_request_are_refused(okx: Okx) -> None:
    """Trades at or above ``after`` would make the walk endless, and those of another instrument would be counted."""
    asked = wanted(from_id=100, until_id=150)
    request = okx.trades(asked)
    with pytest.raises(DataFault, match="before 151"):
        okx.decode_trades(answer((151, NOW_US)), asked, request)
    with pytest.raises(DataFault, match="another instrument"):
        okx.decode_trades(answer((150, NOW_US), instrument="ETH-USDT"), asked, request)


def test_last_trade_before(okx: Okx) -> None:
    """The cursor is exclusive and in milliseconds: a trade at that very time is not before it."""
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
    """OKX limits each endpoint by itself; the time endpoint allows half as many requests as the others."""
    requests = [okx.latest_trade("BTC-USDT"), okx.instruments(), okx.server_time()]
    assert len({request.pace for request in requests}) == 3
    assert okx.server_time().weight == 2
    assert okx.limits.rest_burst + 2 * okx.limits.rest_per_s <= 20
    assert okx.ids is Ids.CONTIGUOUS


# Candles


def test_candle_requests(okx: Okx) -> None:
    """Both cursors are exclusive; a single candle, as for a reconciliation, comes from the recent ones."""
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
    """Right after the close the venue may return the row of an ended interval before it is final."""
    body = candles_body(row(NOW_US + MINUTE_US, confirm="0"), row(NOW_US))
    (bar,) = okx.decode_candles(body, symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=NOW_US + HOUR_US)
    assert (bar.open_time_us, bar.quote_volume, bar.taker_buy_volume, bar.trades) == (NOW_US, 22.0, None, None)


def test_candles_off_the_grid_are_left_out(okx: Okx) -> None:
    """A candle that does not begin at the requested time is not the requested bar."""
    body = candles_body(row(NOW_US), row(NOW_US - NOW_US % DAY_US + 16 * HOUR_US - DAY_US))
    assert okx.decode_candles(body, symbol="BTC-USDT", interval_us=DAY_US, known_at_us=NOW_US + 2 * DAY_US) == []


@pytest.mark.parametrize(("low", "match"), [("11.5", "outside"), ("0", "no price")])
def test_candles_that_make_no_sense(okx: Okx, low: str, match: str) -> None:
    """Prices that contradict one another, and a candle with trades and no price, are refused."""
    with pytest.raises(DataFault, match=match):
        okx.decode_candles(
            candles_body(row(NOW_US, low=low)), symbol="BTC-USDT", interval_us=MINUTE_US, known_at_us=NOW_US + HOUR_US
        )
