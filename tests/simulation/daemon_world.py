"""One simulated world around the whole daemon: real components on simulated time, sockets, threads and disk."""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from daemon.forecasting.records import IssuedForecast
from daemon.intervals import interval_name
from daemon.serving.health_limits import confirmed_within_s
from daemon.simulator.exchange import Addresses, SimulatedExchange
from daemon.simulator.faults.plan import FaultPlan
from daemon.simulator.market_data import Timeline
from daemon.store.ledger import LEDGER_NAME, Ledger
from features.market import Bar, Instrument
from tests.simulation.accidents import Accidents
from tests.simulation.broker import SimulatedBroker
from tests.simulation.clocks import START_US, MachineClock, TrueClock
from tests.simulation.daemon_faults import DaemonFaults, draw_daemon_faults
from tests.simulation.daemon_invariants import DaemonChecker, problems_of
from tests.simulation.daemon_process import DaemonProcess
from tests.simulation.disk import Disk
from tests.simulation.invariants import InvariantBroken
from tests.simulation.invented_market import invented_market
from tests.simulation.threads import Device
from tests.simulation.virtual_loop import virtual_time

VENUES = ("binance", "coinbase", "kraken", "bybit", "bybit_linear", "okx", "bitstamp")
_SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
_HISTORY_BARS = 70
_INTERVAL_S, _INTERVAL_US = 60, 60_000_000  # the shortest for which every venue has candles
_MOST_AHEAD_US = 1_100_000
_WRONG_US = (-36_000_000_000, -20_000_000, -2_000_000, 2_000_000, 20_000_000, 36_000_000_000)
_CALM_S = 1_200.0  # in which everything must be well again; a symbol list is asked for again after ten minutes at most
_LOOK_S = 5.0
_FORECAST_WITHIN_S = 120.0
_TRACED = 80
_UNTRACED = frozenset({"bar_closed", "bar_revised", "forecast_issued", "audit_waits", "history_fetched"})
_LONGEST_LINE = 240
_MOST_TASKS, _MOST_TASKS_EACH = 60, 12


class DaemonWorld:
    """``run`` plays it; a broken promise is an InvariantBroken, and ``trace`` holds what happened last."""

    def __init__(self, seed: int, *, without: frozenset[str] = frozenset()) -> None:
        rng = self._rng = random.Random(f"daemon {seed}")
        self.seed = seed
        self.faults: DaemonFaults = draw_daemon_faults(rng, without=without)
        self.trace: deque[str] = deque(maxlen=_TRACED)
        self._venues = {venue: _SYMBOLS[: rng.randrange(1, 4)] for venue in rng.sample(VENUES, rng.randrange(1, 4))}
        self._broken: asyncio.Future[None]
        self._lives = 0

    @property
    def _instruments(self) -> int:
        return sum(map(len, self._venues.values()))

    @property
    def bars(self) -> int:
        return self._checker.bars

    @property
    def proven(self) -> int:
        return self._checker.proven

    def run(self, bars: int) -> None:
        """Plays for as long as so many bars take, then lets the world behave and asks that everything recovers."""
        self._faults_s = float(-(-bars // self._instruments) * _INTERVAL_S)
        folder = Path(tempfile.mkdtemp(prefix="simulated-", dir=_memory()))
        try:
            self._folder = folder
            self._disk = Disk(random.Random(f"disk {self.seed}"))
            with virtual_time(self.seed) as loop, self._logging(), self._disk.serving():
                self._loop = loop
                loop.set_exception_handler(self._unhandled)
                loop.run_until_complete(self._play())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            gc.unfreeze()

    # ---------------------------------------------------------------- the world

    async def _play(self) -> None:
        self._broken = self._loop.create_future()
        self._true = TrueClock(self._loop.time)
        self._device = Device()
        self._broker = SimulatedBroker(random.Random(self._rng.random()), self._message)
        accidents = self._make_accidents()
        self._exchanges = self._make_exchanges()
        self._checker = DaemonChecker(self._exchanges, most_ahead_us=_MOST_AHEAD_US)
        self._addresses: dict[str, tuple[tuple[str, ...], Addresses]] = {
            venue: (self._venues[venue], await exchange.start()) for venue, exchange in self._exchanges.items()
        }
        self._process = self._make_process(self._folder / "0")
        self._process.start()
        happening = [self._loop.create_task(work) for work in (self._watch_health(), *accidents.jobs())]
        try:
            await self._until_broken(self._faults_s)
            for task in happening[1:]:
                task.cancel()
            self._note("the world behaves")
            accidents.end()
            await self._until_well()
            await self._stop()
        finally:
            for task in happening:
                task.cancel()
            self._process.ended.cancel()
            await asyncio.gather(*happening, self._process.ended, return_exceptions=True)
            for exchange in self._exchanges.values():
                await exchange.stop()

    def _make_exchanges(self) -> dict[str, SimulatedExchange]:
        bars = int((self._faults_s + _CALM_S) / _INTERVAL_S) + 20
        symbols = tuple(symbol.replace("-", "") for symbol in _SYMBOLS)
        data = invented_market(self._rng, symbols=symbols, history=_HISTORY_BARS, bars=bars)
        timeline = Timeline.retimed(interval_us=_INTERVAL_US, live_index=_HISTORY_BARS, live_from_us=START_US)
        return {
            venue: SimulatedExchange(
                data,
                clock=self._true,
                venue=venue,
                timeline=timeline,
                live_from_us=START_US,
                faults=FaultPlan(
                    seed=self._rng.getrandbits(32), per_hour=self.faults.venue, from_s=5.0, until_s=self._faults_s
                ),
            )
            for venue in self._venues
        }

    def _make_accidents(self) -> Accidents:
        return Accidents(
            self.faults,
            self.seed,
            loop=self._loop,
            disk=self._disk,
            device=self._device,
            broker=self._broker,
            process=lambda: self._process.network,
            kill=self._kill,
            note=self._note,
        )

    def _make_process(self, folder: Path) -> DaemonProcess:
        folder.mkdir(exist_ok=True)
        wrong = self._rng.random() < self.faults.wrong_start_share
        return DaemonProcess(
            folder,
            feeds=self._addresses,
            interval=interval_name(_INTERVAL_US),
            clock=MachineClock(self._true, wrong_us=self._rng.choice(_WRONG_US) if wrong else 0),
            disk=self._disk,
            device=self._device,
            broker=self._broker,
            rng=random.Random(self._rng.random()),
            on_bar=self._bar,
            on_forecast=self._forecast,
        )

    async def _until_broken(self, for_s: float) -> None:
        """Raises the first broken promise within ``for_s``; a daemon that ends by itself is started again."""
        until_s = self._loop.time() + for_s
        while (left_s := until_s - self._loop.time()) > 0:
            process = self._process
            await asyncio.wait({self._broken, process.ended}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
            if process is self._process and process.ended.done():
                self._ended_by_itself(process)

    def _ended_by_itself(self, process: DaemonProcess) -> None:
        error = None if process.ended.cancelled() else process.ended.exception()
        if error is None or not hasattr(error, "exit_code"):
            raise InvariantBroken(f"the daemon ended with {error!r}") from error
        self._note(f"the daemon ended: {error}")
        self._start_again(process.folder, after_s=1.0)

    def _start_again(self, folder: Path, *, after_s: float) -> None:
        process = self._process = self._make_process(folder)
        self._checker.restarted()
        process.start(after_s=after_s)

    async def _until_well(self) -> None:
        """Everything is well again within a bounded time, and stays so for some bars."""
        until_s, well = self._loop.time() + _CALM_S - 6 * _INTERVAL_S, 0
        while well < 2 * _INTERVAL_S / _LOOK_S:
            await self._until_broken(_LOOK_S)
            problems = ["it has not started"]
            if self._process.running:
                problems = problems_of(self._process.app, _INTERVAL_US, self._true.market_us())
            well = 0 if problems else well + 1
            if problems and self._loop.time() > until_s:
                raise InvariantBroken("in a world that behaves: " + "; ".join(problems))
        instruments = self._instruments
        tasks = len(asyncio.all_tasks(self._loop))
        if tasks > _MOST_TASKS + _MOST_TASKS_EACH * instruments + 8 * len(self._exchanges):
            raise InvariantBroken(f"{tasks} tasks are left for {instruments} instruments")

    async def _stop(self) -> None:
        """The daemon stops in order, and every bar in its store is true."""
        process = self._process
        process.app.stop()
        await asyncio.wait({process.ended}, timeout=60)
        if not process.ended.done():
            raise InvariantBroken("the daemon does not stop")
        process.ended.result()
        ledger = Ledger(process.folder / LEDGER_NAME)
        try:
            for venue, symbols in self._venues.items():
                for symbol in symbols:
                    until_us = self._true.market_us()
                    for bar in ledger.bars(Instrument(venue, symbol), _INTERVAL_US, 0, until_us):
                        self._checker.compare(bar, end_known=True)
        finally:
            ledger.close()

    # ---------------------------------------------------------------- faults

    def _kill(self) -> None:
        process = self._process
        if process.ended.done():
            return
        cut = self._rng.random() < self.faults.power_cut_share
        self._checker.power_was_cut |= cut
        self._lives += 1
        folder = self._folder / str(self._lives)
        process.kill(folder, self._rng, power_cut=cut)
        self._start_again(folder, after_s=self._rng.uniform(0.1, 5.0))

    # ---------------------------------------------------------------- what the daemon does

    def _bar(self, process: DaemonProcess, bar: Bar) -> None:
        if process.dead:
            return
        self._note(f"{bar.label} {bar.completeness} {bar.trades} trades, {bar.missing_trades} missing")
        with self._checking():
            if self._checker.bar(bar, self._true.market_us(), self._loop.time()):
                self._loop.call_later(_FORECAST_WITHIN_S, self._demand_forecast, process, bar)

    def _demand_forecast(self, process: DaemonProcess, bar: Bar) -> None:
        hung = self._device.hung_until_s > self._loop.time() - _FORECAST_WITHIN_S
        if not process.dead and not process.ended.done() and not hung:
            with self._checking():
                self._checker.demand_forecast(bar, self._loop.time() - _FORECAST_WITHIN_S)

    def _forecast(self, process: DaemonProcess, issued: IssuedForecast, _payload: bytes) -> None:
        if process.dead:
            return
        with self._checking():
            now_us = self._true.market_us()
            self._checker.forecast(issued.id, issued.issued_at_us, issued.forecast.close_time_us, now_us)

    def _message(self, topic: str, payload: bytes) -> None:
        with self._checking():
            self._checker.message(topic, payload, self._true.market_us())

    async def _watch_health(self) -> None:
        allowed_s = confirmed_within_s(_INTERVAL_S)
        while True:
            await asyncio.sleep(1.0)
            if self._process.running:
                with self._checking():
                    self._checker.demand_honest_health(self._process.app, self._loop.time(), allowed_s)

    @contextmanager
    def _checking(self) -> Iterator[None]:
        """A broken promise ends the world, not the daemon's own code that has called."""
        try:
            yield
        except InvariantBroken as error:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "exception" in context and not isinstance(context["exception"], asyncio.CancelledError):
            self._break(context["exception"])

    # ---------------------------------------------------------------- trace

    def _note(self, what: str) -> None:
        self.trace.append(f"{(self._true.market_us() - START_US) / 1e6:12.3f} {what}")

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """The daemon's log lines go into the trace."""

        def take(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
            event = str(fields.pop("event", ""))
            self._checker.logged(event, fields, self._loop.time())
            if event not in _UNTRACED:
                self._note(f"{event} {fields}".replace(str(self._folder), "")[:_LONGEST_LINE])
            raise structlog.DropEvent

        before = structlog.get_config()
        structlog.configure(
            processors=[take],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**before)


def _memory() -> str | None:
    """A file system in memory, where the machine has one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # tempfile makes the names
