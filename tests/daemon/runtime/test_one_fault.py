"""A fault of one venue or symbol degrades that one, with its name and reason; the others run and are forecast."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.runtime import startup, symbol_check
from daemon.simulator.exchange import Addresses, SimulatedExchange
from features.market import Instrument
from tests.e2e import demo_market, rig
from tests.e2e.rig import Daemon, Exchange

pytestmark = pytest.mark.slow

BTC, ETH = (Instrument("binance", symbol) for symbol in demo_market.SYMBOLS)
NOWHERE = Addresses("ws://127.0.0.1:9", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_check, "_FIRST_RETRY_S", 0.3)
    monkeypatch.setattr(symbol_check, "_LOOK_S", 0.1)
    monkeypatch.setattr(startup, "_LATE_RETRY_S", 1.0)


def feed(addresses: Addresses, *symbols: str, venue: str = "binance") -> dict[str, Any]:
    return {"venue": venue, "symbols": list(symbols or demo_market.SYMBOLS), **addresses._asdict()}


@asynccontextmanager
async def second_venue(first: Exchange, venue: str = "kraken") -> AsyncIterator[tuple[SimulatedExchange, Addresses]]:
    """The same market at another venue, on the same clock."""
    data = first.simulated.tape.data
    simulated = SimulatedExchange(data, clock=first.clock, venue=venue, live_from_us=demo_market.live_from_us(data))
    try:
        yield simulated, await simulated.start()
    finally:
        await simulated.stop()


def reason_of(daemon: Daemon) -> str:
    return daemon.app.components.health.condition.reason


def state_of(daemon: Daemon, instrument: Instrument) -> str:
    return daemon.app.components.pipeline.instruments[instrument].state.value


def forecasts_of(daemon: Daemon, instrument: Instrument) -> int:
    return sum(1 for each in daemon.forecasts if (each.forecast.venue, each.forecast.symbol) == instrument)


async def test_an_unknown_symbol_is_halted_and_the_others_are_forecast(tmp_path: Path) -> None:
    """The symbol's state, the status and readiness name it with the nearest name of the venue."""
    async with rig.exchange() as exchange:
        feeds = [feed(exchange.addresses, "BTC-USDT", "ETG-USDT", "ETH-USDT")]
        async with rig.daemon(tmp_path, exchange, feeds=feeds) as daemon:
            unknown = Instrument("binance", "ETG-USDT")
            await daemon.until(lambda: forecasts_of(daemon, BTC) > 1 and forecasts_of(daemon, ETH) > 1)
            await daemon.until(lambda: state_of(daemon, unknown) == "halted")
            assert "has no symbol 'ETG-USDT'; did you mean ETH-USDT" in reason_of(daemon)
            assert "ETG-USDT" in str(daemon.app.status().symbols)
            assert forecasts_of(daemon, unknown) == 0


async def test_a_symbol_that_is_delisted_and_listed_again(tmp_path: Path) -> None:
    """While it runs: the symbol is halted by name, the other goes on, and trades make it live again."""
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        await daemon.until_bars(1)
        exchange.simulated.delist("ETH-USDT")
        await daemon.until(lambda: state_of(daemon, ETH) == "halted")
        assert "ETH-USDT" in reason_of(daemon)
        before = forecasts_of(daemon, BTC)
        await daemon.until(lambda: forecasts_of(daemon, BTC) > before + 1)
        exchange.simulated.relist("ETH-USDT")
        await daemon.until(lambda: state_of(daemon, ETH) == "live")
        await daemon.until(lambda: "ETH-USDT" not in reason_of(daemon))


@pytest.mark.parametrize("listing", ["empty", "partial", "cut"])
async def test_a_wrong_symbol_list_stops_nothing(tmp_path: Path, listing: Any) -> None:
    """Symbols whose trades come in stay live, whatever the list says."""
    async with rig.exchange() as exchange:
        exchange.simulated.set_listing(listing, "ETH-USDT" if listing == "partial" else None)
        async with rig.daemon(tmp_path, exchange) as daemon:
            await daemon.until(lambda: forecasts_of(daemon, BTC) > 1 and forecasts_of(daemon, ETH) > 1)
            assert state_of(daemon, ETH) == state_of(daemon, BTC) == "live"


@pytest.mark.parametrize("status", [451, pytest.param(403, marks=pytest.mark.long)])
async def test_a_venue_that_refuses_the_region_blocks_no_other(tmp_path: Path, status: int) -> None:
    """The other venue is forecast; the refused one is named with the cure, and served once it allows it."""
    async with rig.exchange() as exchange, second_venue(exchange) as (other, addresses):
        other.refuse_region(status)
        feeds = [feed(exchange.addresses), feed(addresses, "BTC-USDT", venue="kraken")]
        async with rig.daemon(tmp_path, exchange, feeds=feeds) as daemon:
            await daemon.until(lambda: forecasts_of(daemon, BTC) > 1)
            refused = Instrument("kraken", "BTC-USDT")
            await daemon.until(lambda: "kraken refuses this region" in reason_of(daemon))
            other.refuse_region(None)
            await daemon.until(lambda: state_of(daemon, refused) == "live")
            await daemon.until(lambda: forecasts_of(daemon, refused) > 0)


async def test_a_venue_that_refuses_the_region_does_not_end_a_daemon_without_others(tmp_path: Path) -> None:
    """The daemon waits, degraded, and starts when the venue serves it."""
    async with rig.exchange() as exchange:
        exchange.simulated.refuse_region(451)
        async with rig.daemon(tmp_path, exchange) as daemon:
            await daemon.until(lambda: "refuses this region" in reason_of(daemon))
            exchange.simulated.refuse_region(None)
            await daemon.until(lambda: forecasts_of(daemon, BTC) > 0)


async def test_an_unreachable_venue_blocks_no_history_and_no_schedule(tmp_path: Path) -> None:
    """The other venue's history is complete and its model trained, though one venue never answers."""
    async with rig.exchange() as exchange:
        feeds = [feed(exchange.addresses), feed(NOWHERE, "BTC-USD", venue="coinbase")]
        async with rig.daemon(tmp_path, exchange, feeds=feeds, retrain__every="6h") as daemon:
            await daemon.until(lambda: forecasts_of(daemon, ETH) > 1)
            await daemon.until(lambda: "coinbase" in reason_of(daemon))
            stored = daemon.app.components.ledger.last_bar(BTC, demo_market.HOUR_US)
            assert stored is not None


async def test_an_empty_shard_runs_and_says_so(tmp_path: Path) -> None:
    """A shard without a symbol starts, answers and stops."""
    async with rig.exchange() as exchange:
        shard = next(f"{number}/9" for number in range(9) if _is_empty(tmp_path, exchange, f"{number}/9"))
        async with rig.daemon(tmp_path, exchange, instance__shard=shard) as daemon:
            await asyncio.sleep(0.5)
            assert not daemon.running.done()
            assert daemon.app.status().symbols == []
            assert daemon.app.status().not_ready == []


def _is_empty(folder: Path, exchange: Exchange, shard: str) -> bool:
    return not rig.configured(folder, exchange.addresses, instance__shard=shard).instruments
