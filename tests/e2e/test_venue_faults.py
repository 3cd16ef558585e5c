"""Faults of a venue's clock, ids and REST answers, one after another on the same running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from features.market import Completeness, Instrument
from tests.e2e import demo_market, rig
from tests.e2e.rig import Daemon

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

BTC = Instrument("binance", "BTC-USDT")
BTCUSDT = "BTCUSDT"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """A daemon that has closed its first live bar."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path_factory.mktemp("state"), exchange) as made:
        pipeline = made.app.components.pipeline
        pipeline.set_timeouts(msgspec.structs.replace(pipeline.instruments[BTC].timeouts, stale_after_s=0.5))
        await made.until_bars(1)
        yield made


async def until_settled(daemon: Daemon) -> None:
    """Two more bars of each symbol, and every bar so far proven or empty, and equal to the market's."""
    await daemon.until_bars(2)
    await daemon.every_bar_becomes_real()


@pytest.mark.parametrize("ms", [36_000_000, -36_000_000, 1_200_000])
async def test_a_wrong_server_time_closes_no_bar_of_the_future(daemon: Daemon, ms: int) -> None:
    """Bars close when they are over, and the forecasts are for these, while the venue's clock is wrong and after it."""
    simulated, before = daemon.exchange.simulated, len(daemon.forecasts)
    simulated.set_server_time_offset(ms)
    await daemon.until_bars(2)
    simulated.set_server_time_offset(0)
    await until_settled(daemon)
    now_us = daemon.exchange.clock.market_us()
    assert all(bar.close_time_us <= now_us for bar in daemon.bars)
    assert len(daemon.forecasts) > before
    assert all(each.forecast.close_time_us <= now_us for each in daemon.forecasts)


async def test_a_huge_id_is_not_counted(daemon: Daemon) -> None:
    """The trade is in no bar, the following bars are proven, and no trade is reported missing."""
    await daemon.exchange.until_moment(0.4)
    daemon.exchange.simulated.send_huge_id(BTCUSDT)
    await until_settled(daemon)
    missing = daemon.app.components.metrics.registry.get_sample_value("forecastd_trades_missing", BTC._asdict())
    assert missing == 0


async def test_refused_requests_are_sent_again(daemon: Daemon) -> None:
    """A repair that is refused with Retry-After happens later, and no trade is counted twice."""
    await daemon.exchange.until_moment(0.3)
    daemon.exchange.simulated.refuse_requests(2, symbol=BTCUSDT, retry_after_s=1)
    daemon.exchange.simulated.skip(BTCUSDT, 3)
    await asyncio.sleep(2.0)
    await until_settled(daemon)


async def test_late_and_crossed_answers_prove_nothing_false(daemon: Daemon) -> None:
    """Repairs whose answers come late, or belong to another request, end in bars that equal the market's."""
    simulated = daemon.exchange.simulated
    for moment in (0.2, 0.6):
        await daemon.exchange.until_moment(moment)
        simulated.delay_answers(2, for_s=1.5, symbol=BTCUSDT)
        simulated.skip(BTCUSDT, 3)
    await until_settled(daemon)
    await daemon.exchange.until_moment(0.5)
    simulated.cross_answers(2, for_s=1.0, symbol=BTCUSDT)
    simulated.skip(BTCUSDT, 2)
    await until_settled(daemon)


@pytest.mark.parametrize("retry_after_s", [1, 2])
async def test_a_start_that_is_refused_is_counted_once(tmp_path: Path, retry_after_s: int) -> None:
    """The first three requests of a symbol are answered 429: its bars are proven later, with their own volume."""
    async with rig.exchange() as exchange:
        exchange.simulated.refuse_requests(3, symbol=BTCUSDT, retry_after_s=retry_after_s)
        async with rig.daemon(tmp_path, exchange) as daemon:
            await daemon.until_bars(3)
            await until_settled_from(daemon, exchange.clock.market_us())


async def until_settled_from(daemon: Daemon, from_us: int) -> None:
    """Two more bars of each symbol; those that open from ``from_us`` on are proven, and every proven bar is real."""
    await daemon.until_bars(2)
    data = daemon.exchange.simulated.tape.data
    opens = {bar.open_time_us for bar in daemon.bars if bar.open_time_us >= from_us}
    assert opens
    await daemon.until(
        lambda: all(bar.completeness in rig.SETTLED for bar in daemon.last_revisions if bar.open_time_us in opens)
    )
    later = [bar for bar in daemon.last_revisions if bar.open_time_us in opens]
    assert [bar for bar in later if not demo_market.is_real(bar, data)] == []
    proven = [bar for bar in daemon.last_revisions if bar.completeness is Completeness.PROVEN]
    assert [bar for bar in proven if not demo_market.is_real(bar, data)] == []
