"""Reconciliation of bars with the venue's candles, and with refetched trades where ids prove completeness."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from daemon.clock import ManualClock
from daemon.errors import Retryable
from daemon.ingest.rest_client import RestClient
from daemon.pipeline.answers import TradesAnswer
from daemon.pipeline.events import BarReconciled
from daemon.pipeline.reconciliation import BAR_CONFIRMED, BAR_REFUTED, NO_CANDLE, NO_CANDLE_NO_TRADE
from daemon.runtime.reconciler import Reconciler
from features.bars import OpenBar
from features.market import Audit, Bar, Completeness, Instrument, Trade
from tests.limits import LIMIT_S

MINUTE_US = 60_000_000
START_US = 1_700_000_040_000_000 - 1_700_000_040_000_000 % MINUTE_US
COINS = Instrument("kraken", "BTC-USD")


def make_trades(count: int = 6) -> list[Trade]:
    return [Trade(70 + i, START_US + i * 1_000_000, 100.0 + i % 3, 0.5, i % 2 == 0) for i in range(count)]


def make_bar(trades: Sequence[Trade], completeness: Completeness = Completeness.PROVEN) -> Bar:
    bar = OpenBar(COINS, open_time_us=START_US, interval_us=MINUTE_US)
    bar.extend(trades)
    return bar.bar(completeness=completeness, known_at_us=0, missing_trades=0, revision=0, decimals=8)


def as_candle(bar: Bar) -> Bar:
    return msgspec.structs.replace(bar, completeness=Completeness.VENUE_CANDLE, taker_buy_volume=None)


class FakeRest:
    """A venue with one candle, or none, and its trades in pages."""

    opens_at_previous_close = False

    def __init__(self, candle: Bar | None, trades: Sequence[Trade] = (), page: int = 100, newest: bool = False) -> None:
        self.candle, self.kept, self.page, self.newest = candle, list(trades), page, newest
        self.candle_error: Exception | None = None
        self.trades_error: Exception | None = None
        self.asked: list[tuple[int, int]] = []

    async def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> list[Bar]:
        if self.candle_error is not None:
            raise self.candle_error
        return [] if self.candle is None else [self.candle]

    async def trades(self, symbol: str, *, from_id: int, until_id: int, after_us: int) -> TradesAnswer:
        self.asked.append((from_id, until_id))
        if self.trades_error is not None:
            raise self.trades_error
        found = [trade for trade in self.kept if from_id <= trade.trade_id <= until_id]
        page = found[-self.page :] if self.newest else found[: self.page]
        return TradesAnswer(page, head_reached=False, complete=len(page) == len(found), asked_at_us=0)


class Reconciliation:
    """The reconciliation of one bar, run until its last comparison is over."""

    def __init__(self, rest: FakeRest) -> None:
        self.clock = ManualClock(START_US)
        self.outcomes: list[BarReconciled] = []
        self.rebuilt: list[tuple[Bar, list[Trade]]] = []
        self.contradicted: list[Bar] = []
        self.reconciler = Reconciler(
            {"kraken": cast("RestClient", rest)},
            clock=self.clock,
            bar_wall_s=0.08,
            on_reconciled=self.outcomes.append,
            on_rebuilt=lambda bar, trades: self.rebuilt.append((bar, trades)),
            on_contradicted=self.contradicted.append,
        )

    async def look(self, bar: Bar) -> BarReconciled:
        self.reconciler.watch(bar)
        running = asyncio.create_task(self.reconciler.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                while not self.outcomes:
                    self.clock.set(self.clock.now_us + 10_000)
                    await asyncio.sleep(0.002)
                await asyncio.sleep(0.01)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        (outcome,) = self.outcomes
        return outcome


async def test_a_bar_that_agrees_is_equal_at_the_first_look() -> None:
    """No trade is fetched again."""
    bar = make_bar(make_trades())
    rest = FakeRest(as_candle(bar))
    outcome = await Reconciliation(rest).look(bar)
    assert (outcome.bar.audit, outcome.differences, rest.asked) == (Audit.EQUAL, {}, [])


@pytest.mark.parametrize("newest", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("page", [100, 2, 1])
async def test_a_wrong_candle_is_shown_to_be_wrong(page: int, newest: bool) -> None:
    """The venue's trades, fetched again in pages, give the same bar, which is kept."""
    trades = make_trades()
    bar = make_bar(trades)
    candle = msgspec.structs.replace(as_candle(bar), volume=bar.volume + 1)
    audited = Reconciliation(FakeRest(candle, trades, page=page, newest=newest))
    outcome = await audited.look(bar)
    assert (outcome.bar.audit, outcome.verdict) == (Audit.DIFFERS, BAR_CONFIRMED)
    assert outcome.differences == {"volume": (bar.volume, bar.volume + 1)}
    assert audited.rebuilt == []
    assert audited.contradicted == []


async def test_a_trade_with_a_wrong_price_is_corrected() -> None:
    """All ids are present and one price differs: the bar is rebuilt from the venue's trades."""
    trades = make_trades()
    bar = make_bar([*trades[:-1], msgspec.structs.replace(trades[-1], price=999.0)])
    audited = Reconciliation(FakeRest(as_candle(make_bar(trades)), trades))
    outcome = await audited.look(bar)
    assert (outcome.bar.audit, outcome.verdict) == (Audit.DIFFERS, BAR_REFUTED)
    assert audited.rebuilt == [(bar, trades)]


async def test_a_bar_is_kept_if_its_trades_cannot_be_refetched() -> None:
    """The bar holds every id: its completeness says so, and it is not changed."""
    trades = make_trades()
    bar = make_bar(trades)
    rest = FakeRest(msgspec.structs.replace(as_candle(bar), volume=9.0), trades)
    rest.trades_error = Retryable("HTTP 503")
    audited = Reconciliation(rest)
    outcome = await audited.look(bar)
    assert "every trade id" in outcome.verdict
    assert audited.rebuilt == []


async def test_an_unproven_bar_is_replaced_with_the_candle() -> None:
    """An unproven bar is replaced with the venue's candle, which has more trades."""
    trades = make_trades()
    bar = make_bar(trades[:-1], Completeness.UNPROVEN)
    candle = as_candle(make_bar(trades))
    audited = Reconciliation(FakeRest(candle, trades))
    outcome = await audited.look(bar)
    assert outcome.bar.audit is Audit.DIFFERS
    assert audited.contradicted == [candle]


@pytest.mark.parametrize(
    ("trades", "error", "expected"),
    [
        ([], None, (Audit.EQUAL, NO_CANDLE_NO_TRADE)),
        ([], Retryable("HTTP 503"), (Audit.UNAVAILABLE, NO_CANDLE)),
        (make_trades(), None, (Audit.UNAVAILABLE, NO_CANDLE)),
    ],
    ids=["quiet", "quiet, not answered", "traded"],
)
async def test_an_interval_that_the_venue_does_not_list(
    trades: list[Trade], error: Exception | None, expected: tuple[Audit, str]
) -> None:
    """A venue that leaves quiet intervals out agrees with an empty bar, but only if it answered."""
    rest = FakeRest(None)
    rest.candle_error = error
    bar = make_bar(trades, Completeness.PROVEN if trades else Completeness.EMPTY)
    outcome = await Reconciliation(rest).look(bar)
    assert (outcome.bar.audit, outcome.verdict) == expected
