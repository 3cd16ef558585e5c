"""Requests of the pipeline are sent to the venue, and repeated after a failure."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from structlog.testing import capture_logs

from daemon.clock import ManualClock
from daemon.errors import DataFault, Retryable
from daemon.exchanges.binance import Binance
from daemon.exchanges.binance_wire import AggregateTrade
from daemon.ingest.rest_client import RestClient
from daemon.ingest.stream import MarketStream
from daemon.pipeline.answers import SequenceStart, TradesAnswer
from daemon.pipeline.events import (
    FeedSilent,
    RepairReason,
    RepairRequested,
    RequestGivenUp,
    SnapshotRequested,
)
from daemon.pipeline.pipeline import Pipeline
from daemon.runtime.timekeeper import Timekeeper
from daemon.runtime.venue_feed import Counts, VenueFeed
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from features.market import HOUR_US, Instrument, Trade
from tests.daemon.forecasting.forecast_builders import START_US
from tests.daemon.pipeline.builders import BTC, ETH, make_pipeline, trade
from tests.limits import LIMIT_S

NOW_US = START_US + HOUR_US // 2


def stream_record(trade: Trade) -> AggregateTrade:
    """A trade of BTC-USDT as Binance's stream sends it."""
    return AggregateTrade(
        e="aggTrade",
        s="BTCUSDT",
        trade_id=trade.trade_id,
        p=trade.price,
        q=trade.size,
        f=trade.trade_id,
        l=trade.trade_id + trade.count - 1,
        time=trade.time_us // 1000,
        m=not trade.taker_buys,
    )


class FakeRest:
    """A venue with a few trades, or with an error for every request."""

    def __init__(self, *trades: Trade) -> None:
        self.trades_there = list(trades)
        self.error: Exception | None = None
        self.asked: list[str] = []
        self.hang = asyncio.Event()
        self.hang.set()
        self.closed = False
        self.candles_rejected = 0

    async def _answer(self, request: str) -> None:
        self.asked.append(request)
        await self.hang.wait()
        if self.error is not None:
            raise self.error

    async def sequence_start(self, symbol: str, from_time_us: int) -> SequenceStart:
        await self._answer("start")
        found = [each for each in self.trades_there if each.time_us >= from_time_us]
        return SequenceStart(found, None if found or not self.trades_there else self.trades_there[-1])

    async def trades(self, symbol: str, *, from_id: int, until_id: int | None, after_us: int) -> TradesAnswer:
        await self._answer(f"from {from_id} until {until_id}")
        found = [each for each in self.trades_there if from_id <= each.trade_id <= (until_id or each.trade_id)]
        return TradesAnswer(found, head_reached=True, complete=True, asked_at_us=NOW_US)

    async def close(self) -> None:
        self.closed = True


class FakeStream:
    """Records the symbols whose connection is to be replaced."""

    def __init__(self) -> None:
        self.reconnected: list[str] = []

    def reconnect(self, symbol: str) -> None:
        self.reconnected.append(symbol)


class FeedSetup:
    """A feed between a fake venue and a real pipeline."""

    def __init__(self, rest: FakeRest) -> None:
        self.pipeline: Pipeline = make_pipeline()
        self.clock = ManualClock(NOW_US)
        self.metrics = Metrics(version="0", market_us=lambda: NOW_US)
        self.woken = 0
        self.feed = VenueFeed(
            Binance(["BTC-USDT", "ETH-USDT"]),
            ["BTC-USDT", "ETH-USDT"],
            pipeline=self.pipeline,
            rest=cast("RestClient", rest),
            clock=self.clock,
            timekeeper=Timekeeper(
                ["binance"],
                clock=self.clock,
                pipeline=self.pipeline,
                metrics=self.metrics,
                health=Health(self.clock, [BTC, ETH]),
            ),
            metrics=self.metrics,
            wake=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1

    def asked(self, wall_s: float = 0.0) -> SnapshotRequested:
        """The pipeline's request for the start of BTC-USDT."""
        self.pipeline.time_advanced(NOW_US, wall_s)
        requests = [event for event in self.pipeline.events() if isinstance(event, SnapshotRequested)]
        return next(each for each in requests if each.instrument == BTC)

    async def answered(self) -> None:
        """Waits until no request is under way."""
        async with asyncio.timeout(LIMIT_S):
            while self.feed.requests.outstanding:
                await asyncio.sleep(0.001)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"forecastd_{name}", labels)


async def test_a_seed_starts_the_sequence() -> None:
    """The sequence begins with the venue's first page, and the dispatcher is woken."""
    at = FeedSetup(FakeRest(trade(7, 0.1), trade(8, 0.2)))
    at.feed.request(at.asked())
    await at.answered()
    assert at.pipeline.instruments[BTC].warm
    assert at.pipeline.instruments[BTC].trades == 2
    assert at.woken == 1


async def test_a_quiet_market_is_seeded_behind_its_newest_trade() -> None:
    """Nothing traded since the boundary: the newest trade before it gives the last id."""
    rest = FakeRest(trade(7, -1.0))
    at = FeedSetup(rest)
    at.feed.request(at.asked())
    await at.answered()
    assert rest.asked == ["start"]
    state = at.pipeline.instruments[BTC].sequence_state()
    assert state is not None
    assert state.last_id == 7


async def test_a_repair_brings_the_lost_trades() -> None:
    """Only the missing ids are requested, and the sequence is complete again."""
    rest = FakeRest(trade(1, 0.1), trade(2, 0.2), trade(3, 0.3))
    at = FeedSetup(rest)
    start = SequenceStart([trade(1, 0.1)], None)
    at.pipeline.start_sequence(BTC, start, from_time_us=START_US, now_us=NOW_US, wall_s=0.0)
    at.pipeline.trades_received(BTC, [trade(3, 0.3)], NOW_US, 0.0)
    assert at.pipeline.instruments[BTC].missing_trades == 1
    at.pipeline.time_advanced(NOW_US, 0.0)
    (wanted,) = [event for event in at.pipeline.events() if isinstance(event, RepairRequested)]
    assert wanted == RepairRequested(BTC, 2, 2, trade(1, 0.1).time_us, RepairReason.GAP, 1)
    at.feed.request(wanted)
    await at.answered()
    assert rest.asked == ["from 2 until 2"]
    assert at.pipeline.instruments[BTC].missing_trades == 0


@pytest.mark.parametrize("error", [Retryable("HTTP 503"), OSError("no route"), TimeoutError()], ids=repr)
async def test_a_failed_request_is_repeated(error: Exception) -> None:
    """The pipeline receives the failure and repeats the request after a pause."""
    rest = FakeRest(trade(1, 0.1))
    rest.error = error
    at = FeedSetup(rest)
    wanted = at.asked(NOW_US / 1e6)
    with capture_logs() as logs:
        at.feed.request(wanted)
        await at.answered()
    assert [entry["event"] for entry in logs] == ["venue_not_asked"]
    assert not at.pipeline.instruments[BTC].warm
    again = at.asked(NOW_US / 1e6 + 10.0)
    assert (again.from_time_us, again.request_id) == (START_US, wanted.request_id + 1)


async def test_a_request_that_was_given_up_is_cancelled() -> None:
    """Its task ends without an answer, and the request that follows is answered."""
    rest = FakeRest(trade(1, 0.1))
    rest.hang.clear()
    at = FeedSetup(rest)
    at.feed.request(at.asked())
    await asyncio.sleep(0)
    at.pipeline.time_advanced(NOW_US, 61.0)
    (given_up, *_) = [event for event in at.pipeline.events() if isinstance(event, RequestGivenUp)]
    at.feed.cancel(given_up.request)
    assert at.feed.requests.outstanding == 0
    rest.hang.set()
    await asyncio.sleep(0.01)
    assert not at.pipeline.instruments[BTC].warm
    at.feed.request(at.asked(62.0))
    await at.answered()
    assert at.pipeline.instruments[BTC].trades == 1


async def test_a_request_that_waits_for_the_rate_limit_is_not_made_twice() -> None:
    """While a request waits in the rate limiter's queue the feed makes no second one."""
    rest = FakeRest(trade(1, 0.1))
    rest.hang.clear()
    at = FeedSetup(rest)
    at.feed.request(at.asked(at.clock.wall_s()))
    requests: list[object] = []
    for _ in range(400):
        at.clock.set(at.clock.now_us + 1_000_000)
        at.feed.update_counters({})
        at.pipeline.time_advanced(NOW_US, at.clock.wall_s())
        requests += [e for e in at.pipeline.events() if isinstance(e, SnapshotRequested | RequestGivenUp)]
    assert [each for each in requests if isinstance(each, SnapshotRequested) and each.instrument == BTC] == []
    rest.hang.set()
    await at.answered()
    assert at.pipeline.instruments[BTC].trades == 1


async def test_an_instrument_has_one_request_outstanding() -> None:
    """A new request cancels the one before, so that outstanding requests are bounded."""
    rest = FakeRest(trade(1, 0.1))
    rest.hang.clear()
    at = FeedSetup(rest)
    for number in range(1, 20):
        at.feed.request(SnapshotRequested(BTC, START_US, number))
        await asyncio.sleep(0)
    assert at.feed.requests.outstanding == 1
    await at.feed.close()


async def test_a_silent_symbol_is_subscribed_again() -> None:
    """The connection that serves it is replaced."""
    at, stream = FeedSetup(FakeRest()), FakeStream()
    at.feed.stream = cast("MarketStream", stream)
    at.feed.resubscribe(FeedSilent(ETH, 3))
    assert stream.reconnected == ["ETH-USDT"]


async def test_malformed_frames_and_connections_are_counted() -> None:
    """Each symbol has its gauge, each loss is counted once, when it is over; a bad frame is sampled to the log."""
    at = FeedSetup(FakeRest())
    with capture_logs() as logs:
        at.feed.frame_malformed(b"x" * 10_000, DataFault("no JSON"))
    assert at.sample("frames_malformed_total", venue="binance") == 1
    assert len(logs[0]["frame"]) < 1000
    btc = BTC._asdict()
    at.feed.connected(["BTC-USDT"])
    assert at.sample("feed_connected", **btc) == 1
    at.feed.disconnected(["BTC-USDT"], "gone", 0.5, NOW_US)
    at.feed.disconnected(["BTC-USDT"], "refused", 1.0, NOW_US)
    assert at.sample("feed_connected", **btc) == 0
    at.feed.connected(["BTC-USDT"])
    assert at.sample("feed_reconnects_total", **btc) == 1


async def test_counters_follow_the_pipeline() -> None:
    """Trades and duplicates are brought up to date, each counted once."""
    at = FeedSetup(FakeRest())
    shown: dict[Instrument, Counts] = {}
    start = SequenceStart([trade(1, 0.1)], None)
    at.pipeline.start_sequence(BTC, start, from_time_us=START_US, now_us=NOW_US, wall_s=0.0)
    for _ in range(2):
        at.feed.trades_received("BTC-USDT", [stream_record(trade(2, 0.2))])
        at.feed.update_counters(shown)
    assert at.sample("trades_total", **BTC._asdict()) == 2
    assert at.sample("trades_duplicate_total", **BTC._asdict()) == 1


async def test_rejected_candles_are_counted() -> None:
    """Each once, by its venue."""
    rest = FakeRest()
    at = FeedSetup(rest)
    for rejected in (2, 2, 5):
        rest.candles_rejected = rejected
        at.feed.update_counters({})
    assert at.sample("candles_rejected_total", venue="binance") == 5


async def test_closing_leaves_no_request_behind() -> None:
    """A request in flight is cancelled, and the client is closed."""
    rest = FakeRest()
    rest.hang.clear()
    at = FeedSetup(rest)
    at.feed.request(at.asked())
    await asyncio.sleep(0)
    await at.feed.close()
    assert rest.closed
    assert at.feed.requests.outstanding == 0
