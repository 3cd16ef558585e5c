"""Faults of an exchange and a network, one after another on the same running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from daemon.pipeline.events import SymbolState
from daemon.timestamps import from_iso
from features.market import Bar, Completeness, Instrument
from tests.daemon.publishing.brokers import subscribed
from tests.e2e import rig
from tests.e2e.rig import Daemon, valid

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

BTC, ETH = Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT")
UNDELIVERED_S = 0.2
SPEED = rig.SPEED / 2  # a round has two seconds for its forecasts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """A daemon that has closed its first live bar."""
    async with rig.exchange(speed=SPEED) as exchange, rig.daemon(tmp_path_factory.mktemp("state"), exchange) as made:
        await made.until_bars(1)
        yield made


@pytest.fixture(scope="module")
def logs(daemon: Daemon) -> Iterator[list[MutableMapping[str, Any]]]:
    """What the daemon logs."""
    with capture_logs() as entries:
        yield entries


@contextmanager
def quick_probes(daemon: Daemon) -> Iterator[None]:
    """Shorter times of silence than by default, where a probe is wanted: elsewhere this machine may be silent."""
    pipeline = daemon.app.components.pipeline
    usual = pipeline.instruments[BTC].timeouts
    undelivered_us = int(UNDELIVERED_S * 1e6 * SPEED)
    pipeline.set_timeouts(msgspec.structs.replace(usual, stale_after_s=0.5, undelivered_age_us=undelivered_us))
    yield
    pipeline.set_timeouts(usual)


def reconnects(daemon: Daemon) -> float:
    value = daemon.app.components.metrics.registry.get_sample_value("forecastd_feed_reconnects_total", BTC._asdict())
    assert value is not None
    return value


async def closed_as(daemon: Daemon, instrument: Instrument, completeness: Completeness, since: int) -> Bar:
    """The first bar of the instrument that closed with this completeness, after ``since`` others."""

    def found() -> list[Bar]:
        bars = [bar for bar in daemon.bars[since:] if bar.instrument == instrument and bar.revision == 0]
        return [bar for bar in bars if bar.completeness is completeness]

    await daemon.until(lambda: bool(found()))
    return found()[0]


async def until_proven(daemon: Daemon, bar: Bar) -> Bar:
    """The revision of ``bar`` that is proven."""

    def revisions() -> list[Bar]:
        return [each for each in daemon.bars if (each.symbol, each.open_time_us) == (bar.symbol, bar.open_time_us)]

    await daemon.until(lambda: revisions()[-1].completeness is Completeness.PROVEN)
    return revisions()[-1]


async def test_a_connection_cut_in_mid_bar_costs_no_trade(daemon: Daemon, logs: list[MutableMapping[str, Any]]) -> None:
    """A websocket that breaks without a closing frame is replaced, and the bar around it is complete."""
    before = reconnects(daemon)
    await daemon.exchange.until_moment(0.4)
    await daemon.exchange.simulated.drop_connections()
    await daemon.until(lambda: reconnects(daemon) == before + 1)
    await daemon.until_bars(1)
    assert reconnects(daemon) == before + 1
    await daemon.every_bar_becomes_real()


async def test_lost_trades_are_fetched_before_their_bar_is_used(daemon: Daemon) -> None:
    """A gap in the ids is announced, repaired through REST, announced again, and the bar is proven."""
    async with subscribed(daemon.mqtt_port, "forecastd/v1/e2e/event/#", version="311") as subscriber:
        await daemon.exchange.until_moment(0.3)
        daemon.exchange.simulated.skip("BTCUSDT", 3)
        opened, *_ = await subscriber.until(1, topic="forecastd/v1/e2e/event/gap_opened")
        repaired, *_ = await subscriber.until(1, topic="forecastd/v1/e2e/event/gap_repaired")
    assert valid(opened.payload)["symbol"] == "BTC-USDT"
    assert valid(repaired.payload)["trades"] == 3
    await daemon.until_bars(1)
    await daemon.every_bar_becomes_real()


async def test_doubled_trades_count_once(daemon: Daemon) -> None:
    """Trades that come twice are counted as duplicates and change no bar."""
    before = daemon.app.components.pipeline.instruments[BTC].duplicates
    await daemon.exchange.until_moment(0.1)
    daemon.exchange.simulated.duplicate("BTCUSDT", 5)
    await daemon.until_bars(1)
    assert daemon.app.components.pipeline.instruments[BTC].duplicates >= before + 5
    await daemon.every_bar_becomes_real()


async def test_a_malformed_frame_is_counted_and_the_connection_lives_on(daemon: Daemon) -> None:
    """Malformed frames are counted and lose no trade."""
    registry, before = daemon.app.components.metrics.registry, reconnects(daemon)
    name, labels = "forecastd_frames_malformed_total", {"venue": "binance"}
    malformed = registry.get_sample_value(name, labels) or 0.0
    for frame in ("{", '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","p":"nan"}}', "[1,2]"):
        daemon.exchange.simulated.send_raw(frame)
    await daemon.until_bars(1)
    assert registry.get_sample_value(name, labels) == malformed + 3
    assert reconnects(daemon) == before
    await daemon.every_bar_becomes_real()


async def test_an_announced_shutdown_is_outrun(daemon: Daemon) -> None:
    """The new connection is subscribed before the old one is closed: every symbol keeps a feed, and no id is missed."""
    before = reconnects(daemon)
    gaps = daemon.app.components.metrics.registry.get_sample_value("forecastd_trade_gaps_total", BTC._asdict())
    daemon.exchange.simulated.announce_shutdown(grace_s=15.0)
    await daemon.until(lambda: daemon.exchange.simulated.connections == 2)
    await daemon.until(lambda: daemon.exchange.simulated.connections == 1)
    await asyncio.sleep(2.0)
    assert daemon.exchange.simulated.connections == 1
    assert reconnects(daemon) == before
    assert daemon.app.components.metrics.registry.get_sample_value("forecastd_trade_gaps_total", BTC._asdict()) == gaps
    await daemon.every_bar_becomes_real()


async def test_a_half_open_connection_is_found_by_a_probe(daemon: Daemon) -> None:
    """A silent socket is replaced long before its keep-alive times out."""
    daemon.exchange.simulated.stall()
    series = daemon.app.components.pipeline.instruments
    with quick_probes(daemon):
        await daemon.until(lambda: series[BTC].state is SymbolState.STALE)
        await daemon.until(lambda: all(each.state is SymbolState.LIVE for each in series.values()))
    await daemon.until_bars(1)
    await daemon.every_bar_becomes_real()


async def test_a_silent_subscription_is_found_by_a_probe(daemon: Daemon) -> None:
    """A symbol whose trades stop, while REST has them, is reported stale and subscribed again."""
    topic = "forecastd/v1/e2e/symbol/binance/ETH-USDT/status"
    seen = {}
    daemon.exchange.simulated.silence("ETHUSDT")
    async with subscribed(daemon.mqtt_port, topic, version="311") as subscriber:
        with quick_probes(daemon):
            await daemon.until(lambda: b'"stale"' in b"".join(subscriber.payloads(topic)))
        daemon.exchange.simulated.resume("ETHUSDT")
        await daemon.until(lambda: b'"live"' in subscriber.payloads(topic)[-1])
        seen = {valid(payload)["state"]: valid(payload) for payload in subscriber.payloads(topic)}
    assert "did not come by the stream" in seen["stale"]["reason"]
    await daemon.until_bars(1)
    await daemon.every_bar_becomes_real()


async def test_an_hour_without_trades_is_an_explicit_empty_bar(daemon: Daemon) -> None:
    """The bar of an hour without trades is empty, and its forecast refers to the last known close."""
    daemon.exchange.simulated.halt("BTCUSDT", bars=1)
    await daemon.until_bars(3)
    await daemon.until(lambda: any(bar.completeness is Completeness.EMPTY for bar in daemon.bars))
    (empty,) = (bar for bar in daemon.last_revisions if bar.completeness is Completeness.EMPTY)
    closed = next(bar for bar in daemon.bars if (bar.symbol, bar.open_time_us) == (empty.symbol, empty.open_time_us))
    before = next(bar for bar in daemon.last_revisions if bar.open_time_us == empty.open_time_us - empty.interval_us)
    issued = next(
        each
        for each in daemon.forecasts
        if (each.forecast.symbol, each.forecast.close_time_us) == (empty.symbol, empty.close_time_us)
    )
    assert (empty.open, empty.close, empty.volume) == (None, None, 0)
    assert issued.reference_price == before.close
    assert issued.quality.completeness is closed.completeness
    await daemon.every_bar_becomes_real()


async def test_a_gap_that_cannot_be_repaired_in_time_is_published_and_repaired_later(daemon: Daemon) -> None:
    """With REST down a bar closes with its gap and its forecast goes out; a revision proves it when REST is back."""
    await daemon.exchange.until_moment(0.2)
    since = len(daemon.bars)
    daemon.exchange.simulated.rest_failing(503)
    daemon.exchange.simulated.skip("BTCUSDT", 4)
    bar = await closed_as(daemon, BTC, Completeness.GAP, since)
    assert bar.missing_trades == 4
    await daemon.until(lambda: daemon.forecasts[-1].forecast.close_time_us >= bar.close_time_us)
    daemon.exchange.simulated.rest_failing(None)
    proven = await until_proven(daemon, bar)
    assert proven.revision > 0
    assert proven.missing_trades == 0
    await daemon.every_bar_becomes_real()


async def test_an_unproven_bar_is_published_and_proven_later(daemon: Daemon) -> None:
    """With REST down and no trade past the boundary a bar closes unproven; a revision proves it when REST is back."""
    await daemon.exchange.until_moment(0.3)
    since = len(daemon.bars)
    daemon.exchange.simulated.rest_failing(503)
    daemon.exchange.simulated.silence("ETHUSDT")
    bar = await closed_as(daemon, ETH, Completeness.UNPROVEN, since)
    daemon.exchange.simulated.rest_failing(None)
    daemon.exchange.simulated.resume("ETHUSDT")
    assert (await until_proven(daemon, bar)).revision > 0
    await daemon.until_bars(1)
    await daemon.every_bar_becomes_real()


async def test_every_bar_had_its_forecast(daemon: Daemon, logs: list[MutableMapping[str, Any]]) -> None:
    """After all that, each bar was forecast once, or said to be too old, and every payload obeys its schema."""
    for payload in daemon.payloads:
        valid(payload)
    closed = {(bar.symbol, bar.close_time_us) for bar in daemon.bars}
    issued = [(each.forecast.symbol, each.forecast.close_time_us) for each in daemon.forecasts]
    assert len(issued) == len(set(issued))
    too_old = {from_iso(entry["close_time"]) for entry in logs if entry["event"] == "round_too_old"}
    waiting = {bar.close_time_us for bar in daemon.bars[-2:]}
    assert {close_us for _, close_us in closed - set(issued)} <= too_old | waiting
    assert len(issued) > len(closed) / 2
