"""Subscribing over a real websocket: acknowledgements, errors and limits."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daemon.simulator.dialects.binance import MAX_STREAMS
from tests.daemon.simulator.bars import HOUR_US
from tests.daemon.simulator.running_exchange import LIVE_US, Venue, ask, receive, receive_all

BTC, ETH = "btcusdt@aggTrade", "ethusdt@aggTrade"


async def test_subscribe_list_unsubscribe(venue: Venue) -> None:
    """Each request is acknowledged with its id, and the list says what is subscribed."""
    async with venue.connect() as connection:
        assert await ask(connection, method="SUBSCRIBE", params=[BTC, ETH], id=1) == {"result": None, "id": 1}
        assert await ask(connection, method="LIST_SUBSCRIPTIONS", id=2) == {"result": [BTC, ETH], "id": 2}
        assert await ask(connection, method="UNSUBSCRIBE", params=[BTC], id="abc") == {"result": None, "id": "abc"}
        assert await ask(connection, method="LIST_SUBSCRIPTIONS", id=4) == {"result": [ETH], "id": 4}


async def test_an_unknown_symbol_is_acknowledged_and_silent(venue: Venue) -> None:
    """As on the real venue: the acknowledgement does not prove that the symbol exists."""
    async with venue.connect() as connection:
        assert await ask(connection, method="SUBSCRIBE", params=["nope@aggTrade"], id=1) == {"result": None, "id": 1}
        venue.clock.set(LIVE_US + HOUR_US)
        assert await receive_all(connection) == []


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [
        ("{nonsense", 3, "Invalid JSON"),
        ("[1,2]", 2, "missing field `method`"),
        ('{"params":["btcusdt@aggTrade"],"id":1}', 2, "missing field `method`"),
        ('{"method":"SUBSCRIBED","id":1}', 2, "unknown variant `SUBSCRIBED`"),
        ('{"method":"SUBSCRIBE","params":"btcusdt@aggTrade","id":1}', 2, "params"),
        ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', 2, "request ID"),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",7],"id":1}', 1, "expected Boolean"),
    ],
)
async def test_error_frames(venue: Venue, frame: str, code: int, message: str) -> None:
    """A bad request is answered with Binance's code, and the connection stays open."""
    async with venue.connect("/ws") as connection:
        await connection.send(frame)
        answer = await receive(connection)
        assert answer["code"] == code
        assert message in answer["msg"]
        assert await ask(connection, method="LIST_SUBSCRIPTIONS", id=9) == {"result": [], "id": 9}


async def test_a_connection_holds_1024_streams(venue: Venue) -> None:
    """A request for more is refused as a whole; earlier subscriptions stay."""
    names = [f"s{number}@aggTrade" for number in range(MAX_STREAMS + 1)]
    async with venue.connect() as connection:
        assert (await ask(connection, method="SUBSCRIBE", params=names, id=1))["code"] == 2
        assert await ask(connection, method="SUBSCRIBE", params=names[:-1], id=2) == {"result": None, "id": 2}
        assert (await ask(connection, method="SUBSCRIBE", params=names[-1:], id=3))["code"] == 2
        assert len((await ask(connection, method="LIST_SUBSCRIPTIONS", id=4))["result"]) == MAX_STREAMS


async def test_six_messages_in_a_second_are_too_many(venue: Venue) -> None:
    """The sixth request within a second closes the connection."""
    async with venue.connect() as connection:
        for number in range(5):
            await ask(connection, method="LIST_SUBSCRIPTIONS", id=number)
        await connection.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 6}))
        with pytest.raises(ConnectionClosed) as closed:
            await receive(connection)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_five_messages_a_second_are_allowed_for_ever(venue: Venue) -> None:
    """The limit looks at the last second only."""
    async with venue.connect() as connection:
        for number in range(7):
            await ask(connection, method="LIST_SUBSCRIPTIONS", id=number)
            await asyncio.sleep(0.21)


async def test_streams_in_the_address(venue: Venue) -> None:
    """/ws/<stream> sends bare events, /stream?streams=<a>/<b> wraps them with the stream's name."""
    first = venue.exchange.tape.bar("BTCUSDT", 3)[0]
    async with venue.connect(f"/ws/{BTC}") as raw, venue.connect(f"/stream?streams={BTC}/{ETH}") as combined:
        venue.clock.set(first.time_ms * 1000)
        bare = await receive(raw)
        wrapped = await receive(combined)
    assert list(bare) == ["e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"]
    assert (bare["e"], bare["s"], bare["a"], bare["T"]) == ("aggTrade", "BTCUSDT", first.id, first.time_ms)
    assert list(wrapped) == ["stream", "data"]
    assert {"stream": BTC, "data": bare} == wrapped


async def test_the_combined_property(venue: Venue) -> None:
    """Wrapping can be read and switched on a connection."""
    async with venue.connect() as connection:
        assert (await ask(connection, method="GET_PROPERTY", params=["combined"], id=1))["result"] is True
        assert (await ask(connection, method="SET_PROPERTY", params=["combined", False], id=2))["result"] is None
        assert (await ask(connection, method="GET_PROPERTY", params=["combined"], id=3))["result"] is False


async def test_unknown_paths_are_not_found(venue: Venue) -> None:
    """Only /ws and /stream lead anywhere."""
    with pytest.raises(InvalidStatus) as refused:
        async with venue.connect("/trades"):
            pass
    assert refused.value.response.status_code == 404
