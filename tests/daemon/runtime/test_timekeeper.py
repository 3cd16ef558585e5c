"""Market time of a daemon whose venue serves times over a real socket: right, wrong, and not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from daemon.clock import SystemClock
from daemon.errors import Retryable
from daemon.exchanges.binance import Binance
from daemon.ingest.rest_client import RestClient
from daemon.ingest.rest_transport import RestSettings
from daemon.runtime.timekeeper import Timekeeper
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from tests.daemon.ingest.fake_binance_rest import T0_MS, FakeRest
from tests.daemon.pipeline.builders import BTC, ETH, make_pipeline
from tests.limits import LIMIT_S

HOUR_MS = 3_600_000
NEWEST_TRADE_MS = 95
SETTINGS = RestSettings(refused_retry_s=0.0)


class Daemon:
    """A timekeeper on a machine whose clock is ``wrong_ms`` off, and its only venue.

    Sleeping moves the machine's clocks and the venue's; every second a trade arrives.
    """

    def __init__(self, rest: FakeRest, *, wrong_ms: int = 0) -> None:
        self.rest = rest
        self.lie_ms = self.trades_lie_ms = 0
        self.elapsed_ms = NEWEST_TRADE_MS
        self.wrong_ms = wrong_ms
        self.clock = SystemClock(
            system_ns=lambda: (T0_MS + self.elapsed_ms + self.wrong_ms) * 1_000_000,
            boot_ns=lambda: self.elapsed_ms * 1_000_000,
        )
        self.pipeline = make_pipeline()
        self.metrics = Metrics(version="0", market_us=self.clock.market_us)
        self.metrics.prepare([BTC], horizons=[1], baselines=[], skill_window="30d")
        self.health = Health(self.clock, [BTC, ETH])
        self.timekeeper = Timekeeper(
            ["binance"],
            clock=self.clock,
            pipeline=self.pipeline,
            metrics=self.metrics,
            health=self.health,
            sleep=self._sleep,
        )
        self.client = RestClient(
            Binance(["BTC-USDT"]), rest.url, clock=self.clock, sleep=self._sleep, settings=SETTINGS
        )
        self.times_us: list[int] = []
        self._show_time()

    @property
    def ahead_ms(self) -> int:
        """Market time minus the true time."""
        return self.clock.market_us() // 1000 - T0_MS - self.elapsed_ms

    async def run(self, seconds: int) -> None:
        """Measures for so long, and lets the error out that ends the measurement."""
        until_ms = self.elapsed_ms + seconds * 1000
        measuring = asyncio.create_task(self.timekeeper.measure("binance", self.client))
        async with asyncio.timeout(LIMIT_S):
            while self.elapsed_ms < until_ms and not measuring.done():
                await asyncio.sleep(0)
        if not measuring.done():
            measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
        if not measuring.cancelled() and (error := measuring.exception()) is not None:
            raise error

    def gauge(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"forecastd_{name}", {"venue": "binance"})

    async def synchronise(self) -> None:
        await self.timekeeper.synchronise({"binance": (self.client, ["BTC-USDT"])})

    async def _sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)
        whole, rest_ms = divmod(round(delay_s * 1000), 1000)
        for pause_ms in [1000] * whole + [rest_ms]:
            self.elapsed_ms += pause_ms
            self._show_time()
            if pause_ms == 1000:
                trade_ms = T0_MS + self.elapsed_ms - 80 + self.trades_lie_ms
                self.timekeeper.trade_received("binance", trade_ms * 1000)
            self.times_us.append(self.clock.market_us())

    def _show_time(self) -> None:
        self.rest.server_time_ms = T0_MS + self.elapsed_ms + self.lie_ms

    def set_lie(self, lie_ms: int) -> None:
        self.lie_ms = lie_ms
        self._show_time()


@pytest.fixture
async def rest() -> AsyncIterator[FakeRest]:
    async with FakeRest(newest_id=NEWEST_TRADE_MS) as fake:
        yield fake


async def test_the_skew_of_each_venue_is_reported(rest: FakeRest) -> None:
    """The venue's clock minus this machine's, which is 300 ms behind: metric, forecasts and status."""
    daemon = Daemon(rest, wrong_ms=-300)
    await daemon.synchronise()
    await daemon.run(10)
    assert daemon.pipeline.clock_skew_ms["binance"] == pytest.approx(300, abs=25)
    assert daemon.gauge("clock_skew_seconds") == pytest.approx(0.3, abs=0.025)
    (status,) = daemon.timekeeper.statuses()
    assert status.trusted
    assert status.skew_ms == daemon.pipeline.clock_skew_ms["binance"]


@pytest.mark.parametrize("lie_ms", [10 * HOUR_MS, 20_000, -20_000])
async def test_a_lying_time_endpoint_is_set_aside_and_trusted_again(rest: FakeRest, lie_ms: int) -> None:
    """Market time does not follow; log, metric, health and status name the venue, until it is right again."""
    daemon = Daemon(rest)
    await daemon.synchronise()
    await daemon.run(30)
    daemon.set_lie(lie_ms)
    with capture_logs() as logs:
        await daemon.run(130)
    assert [entry["event"] for entry in logs] == ["venue_clock_set_aside"]
    assert daemon.gauge("venue_clock_set_aside") == 1
    (status,) = daemon.timekeeper.statuses()
    assert not status.trusted
    assert "its clock is" in status.reason
    assert "clock of binance" in "; ".join(daemon.health._reasons())
    assert abs(daemon.ahead_ms) < 100
    daemon.set_lie(0)
    with capture_logs() as logs:
        await daemon.run(60)
    assert [entry["event"] for entry in logs] == ["venue_clock_trusted"]
    assert daemon.gauge("venue_clock_set_aside") == 0
    assert abs(daemon.ahead_ms) < 100
    assert daemon.times_us == sorted(daemon.times_us)


async def test_a_lie_at_the_start_is_not_followed(rest: FakeRest) -> None:
    """The system's clock and the newest trade agree against the time endpoint."""
    daemon = Daemon(rest)
    daemon.set_lie(10 * HOUR_MS)
    await daemon.synchronise()
    assert abs(daemon.ahead_ms) < 100
    assert not daemon.timekeeper.statuses()[0].trusted


@pytest.mark.parametrize("wrong_ms", [HOUR_MS, -HOUR_MS])
async def test_a_wrong_system_clock_is_stepped_at_the_start(rest: FakeRest, wrong_ms: int) -> None:
    """The venue's time and its newest trade agree against the system's clock."""
    daemon = Daemon(rest, wrong_ms=wrong_ms)
    with capture_logs() as logs:
        await daemon.synchronise()
    assert [entry["event"] for entry in logs] == ["clock_stepped"]
    assert abs(daemon.ahead_ms) < 100
    assert daemon.timekeeper.confirmed
    await daemon.run(70)
    assert abs(daemon.ahead_ms) < 100


async def test_a_jump_of_the_system_clock_changes_nothing(rest: FakeRest) -> None:
    """Where NTP sets the machine's clock market time continues, and the skew is that of the new clock."""
    daemon = Daemon(rest)
    await daemon.synchronise()
    await daemon.run(10)
    daemon.wrong_ms = HOUR_MS
    await daemon.run(70)
    assert abs(daemon.ahead_ms) < 100
    assert daemon.pipeline.clock_skew_ms["binance"] == pytest.approx(-HOUR_MS, abs=100)


async def test_market_time_far_ahead_ends_the_daemon(rest: FakeRest) -> None:
    """Ten hours are not waited for: the daemon is started again, with the venues' time."""
    daemon = Daemon(rest, wrong_ms=10 * HOUR_MS)
    with pytest.raises(Retryable, match="36000 s ahead of the venues"):
        await daemon.run(100)
    assert daemon.times_us == sorted(daemon.times_us)


async def test_a_refused_region_is_named_once_and_asked_again(rest: FakeRest) -> None:
    """No refusal ends the measurement or the start; the next answer sets the skew."""
    daemon = Daemon(rest)
    rest.misfortunes.append((451, {}, b""))
    with capture_logs() as logs:
        await daemon.synchronise()
        await daemon.run(60)
    assert [entry["event"] for entry in logs].count("venue_refused") == 1
    assert "binance" in daemon.pipeline.clock_skew_ms


async def test_a_failed_measurement_is_repeated(rest: FakeRest) -> None:
    """A server error leaves the skew unknown until the next answer."""
    daemon = Daemon(rest)
    rest.misfortunes.extend([(500, {}, b"")] * 4)
    with capture_logs() as logs:
        await daemon.run(20)
    assert [entry["event"] for entry in logs][:1] == ["skew_unknown"]
    assert "binance" in daemon.pipeline.clock_skew_ms
