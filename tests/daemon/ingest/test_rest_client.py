"""Trades, symbols and time from a real HTTP server on loopback, as Binance pages them: upwards by id."""

from __future__ import annotations

import msgspec
import pytest

from daemon.errors import ConfigError, DataFault
from daemon.ingest.rest_transport import RestSettings
from daemon.market_time.venue_clock import TimeSample
from daemon.pipeline.answers import SequenceStart
from tests.daemon.ingest.fake_binance_rest import BTC, T0_MS, T0_US, Connect, FakeRest, SleepingClock


async def test_trades_are_paged_to_the_head(rest: FakeRest, connect: Connect, clock: SleepingClock) -> None:
    """Pages follow one another by id; a short page ends with the newest trade."""
    answer = await connect().trades(BTC, from_id=3, until_id=None, after_us=0)
    assert [trade.trade_id for trade in answer.trades] == list(range(3, 96))
    assert answer.head_reached
    assert answer.complete
    assert answer.asked_at_us == clock.market_us()
    assert [query["fromId"] for _, query in rest.queries] == [str(first) for first in range(3, 94, 10)]


async def test_trades_stop_at_the_last_id_that_is_wanted(rest: FakeRest, connect: Connect) -> None:
    """``until_id`` is the last id of the answer, and no page beyond it is requested."""
    answer = await connect().trades(BTC, from_id=3, until_id=15, after_us=0)
    assert [trade.trade_id for trade in answer.trades] == list(range(3, 16))
    assert not answer.head_reached
    assert answer.complete
    assert len(rest.queries) == 2


async def test_pages_per_call_are_bounded(rest: FakeRest, connect: Connect) -> None:
    """A long walk takes several calls."""
    client = connect(settings=RestSettings(pages_per_call=2))
    answer = await client.trades(BTC, from_id=1, until_id=None, after_us=0)
    assert [trade.trade_id for trade in answer.trades] == list(range(1, 21))
    assert not answer.head_reached
    assert not answer.complete
    assert len(rest.queries) == 2


async def test_head_of_an_exact_page(rest: FakeRest, connect: Connect) -> None:
    """A full page does not prove the newest trade; the empty page after it does."""
    answer = await connect().trades(BTC, from_id=86, until_id=None, after_us=0)
    assert [trade.trade_id for trade in answer.trades] == list(range(86, 96))
    assert answer.head_reached
    assert len(rest.queries) == 2


async def test_asked_at_is_before_the_last_request(rest: FakeRest, clock: SleepingClock, connect: Connect) -> None:
    """The newest trade is proven up to the time before the last request, retries included."""
    rest.misfortunes.append((503, {}, b""))
    answer = await connect().trades(BTC, from_id=90, until_id=None, after_us=0)
    assert answer.head_reached
    assert answer.asked_at_us == T0_US < clock.market_us()


async def test_invalidated_records_account_for_their_ids(rest: FakeRest, connect: Connect) -> None:
    """A record that the venue invalidated is there by id and trades nothing."""
    rest.invalidated = {91}
    answer = await connect().trades(BTC, from_id=90, until_id=92, after_us=0)
    assert [(trade.trade_id, trade.count, trade.size) for trade in answer.trades] == [
        (90, 1, 2),
        (91, 0, 0),
        (92, 1, 2),
    ]


async def test_page_from_before_the_id_that_was_asked_for(rest: FakeRest, connect: Connect) -> None:
    """An answer to another request is refused: paging on it would not end."""
    record = {"a": 1, "p": "1", "q": "1", "f": 1, "l": 1, "T": T0_MS, "m": True}
    rest.misfortunes.append((200, {}, msgspec.json.encode([record])))
    with pytest.raises(DataFault, match="from 3, not 1"):
        await connect().trades(BTC, from_id=3, until_id=None, after_us=0)


async def test_where_a_sequence_starts(rest: FakeRest, connect: Connect) -> None:
    """The first page from a time on, else the newest trade, else nothing."""
    client = connect()
    start = await client.sequence_start(BTC, T0_US + 50_000)
    assert [trade.trade_id for trade in start.trades] == list(range(50, 60))
    assert start.latest is None
    start = await client.sequence_start(BTC, T0_US + 96_000)
    assert start.trades == []
    assert start.latest is not None
    assert start.latest.trade_id == 95
    rest.newest_id = 0
    assert await client.sequence_start(BTC, T0_US) == SequenceStart([], None)


async def test_unknown_symbols(connect: Connect) -> None:
    """Each symbol that the venue lacks is one line, with what it may have meant."""
    with pytest.raises(ConfigError) as caught:
        await connect().check_symbols([BTC, "BTC-USTD", "QQQQQ-ZZ"])
    assert caught.value.problems == [
        "binance has no symbol 'BTC-USTD'; did you mean BTC-USDT?",
        "binance has no symbol 'QQQQQ-ZZ'; it has no similar symbol",
    ]


async def test_symbols_that_do_not_trade_now(connect: Connect) -> None:
    """A halted symbol is not a configuration error: it is reported with the venue's state."""
    assert await connect().check_symbols([BTC, "LUNA-USDT"]) == {"LUNA-USDT": "BREAK"}


async def test_a_sample_of_the_venues_time(rest: FakeRest, connect: Connect) -> None:
    """The offset of the venue's clock, exact to a millisecond."""
    rest.server_time_ms = T0_MS + 120
    assert await connect().time_sample() == TimeSample(120_000, 500)
