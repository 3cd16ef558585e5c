"""Plans of faults, and what each fault does to the frames and answers of a running exchange."""

from __future__ import annotations

import asyncio
import math
from itertools import islice, pairwise
from pathlib import Path

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from daemon.clock import ManualClock
from daemon.errors import DataFault, RateLimited
from daemon.exchanges import venue as protocol_of
from daemon.exchanges.base import TradesMessage
from daemon.simulator.exchange import SimulatedExchange
from daemon.simulator.faults.malformed import malformed
from daemon.simulator.faults.plan import FORMS, KINDS, Fault, FaultPlan, load_plan
from tests.daemon.simulator.bars import HOUR_US, small_market
from tests.daemon.simulator.running_exchange import LIVE_US, Venue, receive, receive_all
from tests.daemon.simulator.venue_client import VenueClient
from tests.limits import LIMIT_S
from tests.paths import ROOT

BTC = "/ws/btcusdt@aggTrade"
EXAMPLE = ROOT / "examples" / "faults" / "often.toml"


def hour_ids(frames: list[dict[str, int]]) -> list[int]:
    return [frame["a"] for frame in frames]


async def received_ids(venue: Venue, quiet_s: float = 0.4) -> list[int]:
    """The ids of Bitcoin's trades of the first live hour, as Binance sends them."""
    async with venue.connect(BTC) as connection:
        venue.clock.set(LIVE_US + HOUR_US - 1)
        return hour_ids(await receive_all(connection, quiet_s=quiet_s))


async def until_done(exchange: SimulatedExchange, kind: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while kind not in [entry.kind for entry in exchange.log.entries]:
            await asyncio.sleep(0.01)


def test_a_plan_reads_what_is_written(tmp_path: Path) -> None:
    """Set faults and rates from TOML; a wrong name or number is reported with its place."""
    file = tmp_path / "faults.toml"
    file.write_text(
        "seed = 3\nuntil_s = 60.0\n[per_hour]\ndrop = 120\nclose = 60\n"
        '[[fault]]\nkind = "mute"\nsymbol = "ETH-USDT"\nat_s = 12.5\nfor_s = 4.0\n'
    )
    plan = load_plan(file)
    assert (plan.seed, plan.per_hour) == (3, {"drop": 120, "close": 60})
    assert plan.faults == (Fault(kind="mute", symbol="ETH-USDT", at_s=12.5, for_s=4.0),)
    for wrong in ('[[fault]]\nkind = "mute"\nat_s = -1.0\n', '[[fault]]\nkind = "mute"\nwhere = 1\n', "seed = ["):
        file.write_text(wrong)
        with pytest.raises(DataFault, match=r"faults\.toml: "):
            load_plan(file)
    with pytest.raises(DataFault, match="nowhere"):
        load_plan(tmp_path / "nowhere.toml")


def test_the_example_plan_has_every_kind() -> None:
    """It loads, and a copy of it contains every kind."""
    plan = load_plan(EXAMPLE)
    assert set(plan.per_hour) == set(KINDS)
    assert [fault.kind for fault in plan.faults] == ["drop", "rest"]


def test_the_example_of_a_faulty_venue_ends_with_a_delisting() -> None:
    """One fault a minute; the last one does not end."""
    *_, last = faults = load_plan(EXAMPLE.with_name("venue.toml")).faults
    assert [fault.at_s for fault in faults] == [60.0 * at for at in range(len(faults))]
    assert (last.kind, last.for_s) == ("delist", math.inf)


def test_a_schedule_is_in_order_and_goes_by_its_seed() -> None:
    """Random faults come at their rates between fixed ones, equal for equal seeds, and none after the end."""
    plan = FaultPlan(
        seed=1,
        faults=(Fault(kind="stall", at_s=5000.0), Fault(kind="halt", at_s=10.0)),
        per_hour={"drop": 300, "close": 100},
        until_s=3600.0,
    )
    schedule = list(plan.schedule())
    assert schedule == list(plan.schedule())
    assert [fault.at_s for fault in schedule] == sorted(fault.at_s for fault in schedule)
    kinds = [fault.kind for fault in schedule]
    assert (kinds.count("halt"), kinds[-1]) == (1, "stall")
    assert 240 < kinds.count("drop") < 360
    assert 60 < kinds.count("close") < 140
    other = FaultPlan(seed=2, per_hour={"drop": 300}).schedule()
    assert [fault.at_s for fault in islice(other, 9)] != [fault.at_s for fault in schedule[:9]]


def test_every_kind_can_be_drawn() -> None:
    """A plan with all kinds draws all kinds."""
    drawn = islice(FaultPlan(per_hour=dict.fromkeys(KINDS, 60.0)).schedule(), 500)
    assert {fault.kind for fault in drawn} == set(KINDS)


async def test_every_kind_can_be_carried_out() -> None:
    """All of them one after another on one exchange, each in the log with its time."""
    plan = FaultPlan(faults=tuple(Fault(kind=kind, at_s=at / 50, for_s=0.05) for at, kind in enumerate(KINDS)))
    clock = ManualClock(LIVE_US)
    exchange = SimulatedExchange(small_market(bars=6, trades=40), clock=clock, faults=plan)
    logged: list[str] = []
    exchange.log.on_fault = lambda entry: logged.append(entry.kind)
    await exchange.start()
    try:
        await until_done(exchange, KINDS[-1])
        assert set(KINDS) <= set(logged)
        assert [entry.kind for entry in exchange.log.entries] == logged
        times = [entry.wall_s for entry in exchange.log.entries]
        assert times == sorted(times)
        assert {entry.venue for entry in exchange.log.entries} == {"binance"}
    finally:
        await exchange.stop()


async def test_reordered_trades(venue: Venue) -> None:
    """The next five come in another order, then the rest in theirs."""
    venue.exchange.reorder("BTC-USDT", 5, for_s=5.0)
    ids = await received_ids(venue)
    assert sorted(ids[:5]) == list(range(121, 126))
    assert ids[:5] != sorted(ids[:5])
    assert ids[5:] == list(range(126, 161))


async def test_reordered_trades_are_not_kept_for_ever(venue: Venue) -> None:
    """Fewer trades than were to be reordered are sent when the time is over."""
    venue.exchange.reorder("BTC-USDT", 50, for_s=0.3)
    ids = await received_ids(venue)
    assert sorted(ids) == list(range(121, 161))
    assert ids != sorted(ids)


async def test_delayed_trades_are_overtaken_by_later_ones(venue: Venue) -> None:
    """Two are delayed and come last."""
    venue.exchange.delay("BTC-USDT", 2, for_s=0.2)
    assert await received_ids(venue) == [*range(123, 161), 121, 122]


async def test_a_batch_comes_late_and_in_order(venue: Venue) -> None:
    """No trade for the time of the batch, then all of them."""
    venue.exchange.batch(0.5)
    async with venue.connect(BTC) as connection:
        venue.clock.set(LIVE_US + HOUR_US - 1)
        assert await receive_all(connection, quiet_s=0.2) == []
        assert hour_ids([await receive(connection) for _ in range(40)]) == list(range(121, 161))


async def test_a_skewed_clock_moves_everything(venue: Venue) -> None:
    """An exchange whose clock is ahead sends and serves trades that lie in the machine's future, by Date too."""
    first = venue.exchange.tape.bar("BTCUSDT", 3)[0]
    async with venue.connect(BTC) as connection:
        venue.clock.set(first.time_ms * 1000 - 300_000)
        assert await receive_all(connection) == []
        venue.exchange.set_skew(300)
        assert hour_ids(await receive_all(connection)) == [first.id]
    assert (await venue.get("time"))[1] == {"serverTime": first.time_ms}
    assert (await venue.get("aggTrades", symbol="BTCUSDT", limit=1))[1][0]["a"] == first.id
    venue.exchange.set_skew(-5_000)
    assert (await venue.get("aggTrades", symbol="BTCUSDT", limit=1))[1][0]["a"] == first.id


async def test_rest_failures_with_a_time_to_wait(venue: Venue) -> None:
    """418 and Retry-After as asked."""
    venue.exchange.rest_failing(418, retry_after_s=7)
    assert (await venue.get("time"))[0] == 418
    assert (await venue.headers("time"))["Retry-After"] == "7"
    venue.exchange.rest_failing(None)
    assert (await venue.get("time"))[0] == 200


async def test_too_many_requests_in_the_venues_format(feed: VenueClient) -> None:
    """With status 429, or with HTTP 200 and an error that the daemon's code reads as a rate limit."""
    feed.exchange.rest_rate_limited()
    address = feed.venue.addresses.rest_url + feed.protocol.server_time().path
    async with feed.venue._session.get(address) as response:
        body = await response.read()
        if response.status != 429:
            assert response.status == 200
            with pytest.raises(RateLimited):
                feed.protocol.check_answer(body)
    feed.exchange.rest_rate_limited(False)
    await feed.body(feed.protocol.server_time())


async def test_malformed_frames_are_data_faults(feed: VenueClient) -> None:
    """Every form, made of each venue's own frame, raises DataFault in its decoder and no other exception."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
        for form in FORMS[:-1]:
            feed.exchange.send_malformed(form)
            with pytest.raises(DataFault):
                await feed.receive_trades(connection, quiet_s=2.0)


async def test_an_oversized_frame_is_more_than_a_client_takes(feed: VenueClient) -> None:
    """A client with the usual frame limit closes the connection with 1009."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.exchange.send_malformed("oversized")
        with pytest.raises(ConnectionClosed) as closed:
            await feed.receive_trades(connection, quiet_s=2.0)
    assert closed.value.sent is not None
    assert closed.value.sent.code == 1009


def test_a_malformed_frame_before_the_first_frame() -> None:
    """Before any frame was sent, a malformed one is made of a built-in object."""
    for form in FORMS:
        text = malformed(form, "")
        assert text
        if form in {"truncated", "nested"}:
            with pytest.raises((msgspec.DecodeError, RecursionError)):
                msgspec.json.decode(text)


async def test_dropped_and_doubled_trades_on_every_venue(feed: VenueClient) -> None:
    """Three trades are missing on the stream, two come twice, and REST serves all of them."""
    frames: list[int] = []
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        await feed.receive_trades(connection, quiet_s=0.3)
        feed.received["BTC-USDT"].clear()
        feed.exchange.skip("BTC-USDT", 3)
        feed.exchange.duplicate("BTC-USDT", 2)
        feed.clock.set(LIVE_US + HOUR_US - 1)
        while True:
            try:
                async with asyncio.timeout(0.5):
                    message = feed.take(await connection.recv())
            except TimeoutError:
                break
            for each in getattr(message, "messages", [message]):
                if isinstance(each, TradesMessage) and each.symbol == "BTC-USDT":
                    frames += [trade.trade_id for trade in each.trades]
            if feed.name in {"coinbase", "kraken"} and frames:
                break
    assert len(frames) == 39
    assert len(set(frames)) == 37
    truth = feed.exchange.truth("BTC-USDT", LIVE_US, HOUR_US)
    assert truth.first_id is None or min(frames) > truth.first_id


def test_a_plan_for_a_symbol_that_is_not_there_is_refused() -> None:
    """Before the exchange opens a socket."""
    plan = FaultPlan(faults=(Fault(kind="mute", symbol="NOPE-USDT"),))
    with pytest.raises(ValueError, match="NOPE-USDT is not simulated"):
        SimulatedExchange(small_market(), clock=ManualClock(LIVE_US), faults=plan)


async def test_refused_connections_for_a_while() -> None:
    """A planned refusal begins and ends by itself."""
    clock = ManualClock(LIVE_US)
    plan = FaultPlan(faults=(Fault(kind="refuse", for_s=0.3),))
    exchange = SimulatedExchange(small_market(), clock=clock, venue="kraken", faults=plan)
    running = Venue(exchange, clock, await exchange.start())
    try:
        await until_done(exchange, "refuse")
        protocol = protocol_of("kraken", None)
        with pytest.raises(InvalidStatus) as refused:
            async with running.connect(protocol.stream_url("")):
                pass
        assert refused.value.response.status_code == 503
        await until_done(exchange, "admit")
        async with running.connect(protocol.stream_url("")):
            pass
        (first, last) = (exchange.log.entries[0].wall_s, exchange.log.entries[-1].wall_s)
        assert 0.25 < last - first < 1.0
    finally:
        await running.close()


def test_later_faults_do_not_come_earlier() -> None:
    """Times of drawn faults grow."""
    times = [fault.at_s for fault in islice(FaultPlan(per_hour={"batch": 1e5}).schedule(), 200)]
    assert all(later > earlier for earlier, later in pairwise(times))
