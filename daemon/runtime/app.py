"""Runs the parts of one daemon in one task group and ends them in order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from daemon.clock import Clock
from daemon.config import Config
from daemon.config.reload import ReloadChanges, reloadable_changes, with_reloadable
from daemon.errors import ConfigError, ErrorHandling, ForecastdError, RegionRefused, Retryable, classify
from daemon.ingest.rest_client import RestClient
from daemon.pipeline.events import SymbolState
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.runtime.control_commands import ControlCommands
from daemon.runtime.history_loader import RECENT_BARS
from daemon.runtime.restore import republish, resume_scoreboard, resume_series, unaudited
from daemon.runtime.status_snapshot import status_document
from daemon.runtime.venue_feed import Counts
from daemon.runtime.wiring import Components, Hooks, build, patience_for, status_payload
from daemon.serving.control import ControlServer, serving_path
from daemon.serving.gpu import GpuCollector
from daemon.serving.http import HttpServer
from daemon.serving.notify import Notifier, announce_ready, run_watchdog, status_line
from daemon.serving.status import StatusDocument
from features.market import Bar, Instrument, interval_start
from models.artifacts.artifact import ArtifactError
from models.specification import NETWORK_KINDS

log = structlog.get_logger(__name__)

_Job = Coroutine[None, None, None]

_FLUSH_S = 1.0
_PRUNE_EVERY = 600  # flushes
_CLOCK_PATIENCE_S = 5.0
_WARM_PATIENCE_S = 20.0
_HISTORY_PATIENCE_S = 30.0
_STOP_PATIENCE_S = 2.5


class App:
    """One daemon. ``run`` returns after ``stop``; a ForecastdError from it says why it could not go on.

    broker_port: where the embedded broker listens, where one is configured; 0 picks a free port.
    control_path: where the control socket is; None finds the place that the configuration and environment give.
    read_config: reads the configuration again for ``reload``; None where there is no file to read.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        hooks: Hooks | None = None,
        broker_port: int = 1883,
        control_path: Path | None = None,
        read_config: Callable[[], Config] | None = None,
        set_log_level: Callable[[str], None] = lambda _level: None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.parts: Components
        self.started = asyncio.Event()
        self.http_address = ""
        self.mqtt_address = config.mqtt.url
        instance = config.instance
        self.control_path = control_path or serving_path(instance.name, instance.state_dir, environ)
        self._hooks = hooks or Hooks()
        self._broker_port = broker_port
        self._read_config = read_config
        self._set_log_level = set_log_level
        self._stopping = asyncio.Event()
        self._warm = asyncio.Event()
        self._notifier = Notifier.from_environment(environ)
        self._shown: dict[Instrument, Counts] = {}

    # ---------------------------------------------------------------- from outside

    def stop(self) -> None:
        """Lets ``run`` end in order."""
        self._stopping.set()

    def reload(self) -> ReloadChanges:
        """Applies what can be applied of a changed configuration and names the rest.

        Raises ConfigError, with everything as it was, where the new configuration is wrong.
        """
        if self._read_config is None:
            raise ConfigError(["there is no configuration file to read again; start with forecastd run -c FILE"])
        self._notifier.reloading()
        try:
            new = self._read_config()
            changes = reloadable_changes(self.config, new)
            self.config = self.parts.trainer.config = with_reloadable(self.config, new)
            self._set_log_level(self.config.log.level)
            self.parts.pipeline.set_timeouts(patience_for(self.config, self.clock))
        finally:
            self._notifier.ready(status_line(self.parts.health))
        log.info("configuration_reloaded", applied=list(changes.applied), refused=list(changes.refused))
        return changes

    def status(self) -> StatusDocument:
        """The daemon at this moment."""
        parts = self.parts
        return status_document(
            config=self.config,
            clock=self.clock,
            health=parts.health,
            pipeline=parts.pipeline,
            publisher=parts.publisher,
            mqtt_address=self.mqtt_address,
            instruments=self.config.instruments,
            latest=parts.dispatcher.latest,
            model=parts.inference.model,
            loaded_at_us=parts.trainer.loaded_at_us,
            supervisor=parts.trainer.supervisor.status,
            last_retrain=parts.trainer.last_result,
            next_retrain_us=parts.trainer.next_at_us,
        )

    # ---------------------------------------------------------------- life

    async def run(self) -> None:
        broker = EmbeddedBroker() if self.config.mqtt.embedded else None
        try:
            port = await broker.start(self._broker_port) if broker else None
            if port is not None:
                self.mqtt_address = f"mqtt://127.0.0.1:{port}"
            self.parts = build(self.config, clock=self.clock, hooks=self._hooks, broker_port=port)
            await self._serve()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if broker is not None:
                await broker.stop()

    async def _serve(self) -> None:
        parts, config = self.parts, self.config
        orders = ControlCommands(self)
        control = ControlServer(self.control_path, orders.obey)
        token_file = config.http.token_file
        http = HttpServer(
            str(config.http.listen),
            registry=parts.metrics.registry,
            status=self.status,
            health=parts.health,
            token=token_file.read_text("utf-8").strip() if token_file else None,
        )
        try:
            await control.start()  # first: a second daemon on this state must not touch the ledger
            parts.health.component_up("control socket")
            await self._know_the_time()
            await self._resume()
            self.http_address = await http.start()
            parts.health.component_up("http")
            log.info("started", http=self.http_address, mqtt=self.mqtt_address, control=str(control.path))
            await self._publish_and_run()
        finally:
            await http.stop()
            await control.stop()
            await parts.inference.close()
            parts.store.close()
            parts.ledger.close()

    async def _publish_and_run(self) -> None:
        """Runs until ``stop`` or a job's error. Either way the broker is told last: the publisher outlives the jobs."""
        publishing = asyncio.create_task(self.parts.publisher.run(), name="publisher")
        reason = ""
        try:
            await self._run_jobs(publishing)
        except ExceptionGroup as errors:
            reason = str(errors.exceptions[0])
            raise
        finally:
            self._notifier.stopping()
            log.info("stopping", reason=reason or "asked to")
            await self._finish(publishing, reason or self.parts.health.condition.reason)

    async def _run_jobs(self, publishing: asyncio.Task[None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job, name=name) for name, job in self._jobs().items()]
            tasks.append(group.create_task(_passed_on(publishing), name="publishing"))
            self.started.set()
            await self._stopping.wait()
            for task in tasks:
                task.cancel()

    def _jobs(self) -> dict[str, _Job]:
        parts = self.parts
        jobs: dict[str, _Job] = {
            "dispatcher": parts.dispatcher.run(),
            "rounds": self._rounds(),
            "ticker": self._tick(),
            "flush": self._flush(),
            "warm up": self._warm_up(),
            "quiet": parts.trainer.keep_quiet_before_closes(self._next_close_us),
            "gpu": GpuCollector(parts.metrics).run(),
            "ready": self._announce_ready(),
            "watchdog": run_watchdog(self._notifier, fatal_reason=parts.health.fatal_reason),
        }
        if parts.auditing is not None:
            jobs["audit"] = parts.auditing.run()
        for name, feed in parts.feeds.items():
            assert feed.stream is not None
            jobs[f"stream {name}"] = feed.stream.run()
            jobs[f"skew {name}"] = feed.measure_skew()
            jobs[f"symbols {name}"] = self._check_symbols(name, feed.rest)
        return jobs

    async def _finish(self, publishing: asyncio.Task[None], reason: str) -> None:
        """What must still reach the disk and the broker."""
        parts = self.parts
        for feed in parts.feeds.values():
            await feed.close()
        parts.dispatcher.save_trades()
        await parts.trainer.supervisor.close()
        with suppress(TimeoutError, Retryable):
            async with asyncio.timeout(_STOP_PATIENCE_S):
                await parts.store.call(lambda: None)  # forecasts are published once they are stored: none stays behind
        condition = replace(parts.health.condition, reason=reason, since_us=self.clock.market_us())
        await parts.publisher.stop(status_payload(condition, state="stopped"))
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_PATIENCE_S):
                await publishing

    # ---------------------------------------------------------------- jobs

    async def _know_the_time(self) -> None:
        """A clock that is an hour off would resume and start bars in the wrong hour: the venues are asked first.

        The first that answers is enough; where none does within seconds, the trades' own times tell later.
        """
        feeds = self.parts.feeds.values()
        measuring = [asyncio.create_task(feed.measure_skew(), name=f"first skew {feed.venue}") for feed in feeds]
        told = [asyncio.create_task(feed.clock_told.wait(), name=f"time of {feed.venue}") for feed in feeds]
        every: list[asyncio.Task[Any]] = [*measuring, *told]
        try:
            await asyncio.wait(every, timeout=_CLOCK_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            for task in measuring:
                if task.done():
                    task.result()  # what ends a measurement ends the daemon: a region that is refused, say
        finally:
            for task in every:
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)

    async def _resume(self) -> None:
        parts, config = self.parts, self.config
        now_us = self.clock.market_us()

        def load() -> list[Bar]:
            resume_series(parts.pipeline, parts.ledger, config.instruments, now_us)
            resume_scoreboard(parts.pipeline.scoreboard, parts.ledger, now_us - 30 * 86_400_000_000)
            return unaudited(parts.ledger, config.instruments, config.bars.interval_us, now_us)

        for bar in await parts.store.call(load):
            if parts.auditing is not None:
                parts.auditing.watch(bar)
        republish(parts.mailbox, parts.ledger, config.instruments, config.bars.interval_us)
        parts.health.component_up("store")

    async def _warm_up(self) -> None:
        """Recent bars and a champion before the first round, then the whole history, then training where needed."""
        parts, config = self.parts, self.config
        with suppress(TimeoutError):
            async with asyncio.timeout(_WARM_PATIENCE_S):
                while not all(series.warm for series in parts.pipeline.instruments.values()):  # noqa: ASYNC110  # the pipeline knows no events of ours
                    await asyncio.sleep(0.02)
        ends_us = self._first_opens()
        try:
            async with asyncio.timeout(_HISTORY_PATIENCE_S):
                await parts.history.complete(ends_us, bars=RECENT_BARS)
        except TimeoutError:
            log.warning("history_late", reason="forecasts start from what the store holds")
        await parts.inference.load_history(await parts.history.frame(config.instruments, max(ends_us.values())))
        await self._load_champion()
        # Modules and torch are a quarter of a million objects for ever; looking through them stops the loop for 100 ms.
        gc.collect()
        gc.freeze()
        self._warm.set()
        for instrument in config.instruments:
            if parts.pipeline.instruments[instrument].state is not SymbolState.STALE:
                parts.health.symbol_warm(instrument)
        await parts.history.complete(ends_us)
        await parts.trainer.refit()
        await parts.trainer.run_schedule()

    async def _load_champion(self) -> None:
        """A champion that does not fit is not served: a baseline is, and a new one is trained at once."""
        parts = self.parts
        if self.config.model.kind not in NETWORK_KINDS:
            if (model := parts.inference.model) is not None:
                parts.trainer.announce_model(model, scores={})
            return
        try:
            artifact = parts.trainer.registry.champion()
            if artifact is None:
                parts.trainer.need_model()
                return
            info = await parts.inference.load_champion(artifact)
        except (ArtifactError, ForecastdError, ValueError, RuntimeError) as error:
            log.error("champion_refused", reason=str(error), cure="a baseline serves while a new one is trained")  # noqa: TRY400
            parts.health.fault("champion", str(error))
            parts.trainer.need_model()
        else:
            parts.trainer.announce_model(info, scores={})

    async def _rounds(self) -> None:
        await self._warm.wait()
        await self.parts.dispatcher.run_rounds()

    async def _tick(self) -> None:
        patience = patience_for(self.config, self.clock)
        pause_s = min(0.1, max(patience.grace_us / self.clock.speed / 1e6 / 8, 0.01))
        while True:
            self.parts.pipeline.time_advanced(self.clock.market_us(), self.clock.wall_s())
            if self.parts.pipeline.has_events:
                self.parts.dispatcher.wake()
            await asyncio.sleep(pause_s)

    async def _flush(self) -> None:
        flushes = 0
        while True:
            await asyncio.sleep(_FLUSH_S)
            flushes += 1
            self.parts.dispatcher.save_trades()
            for feed in self.parts.feeds.values():
                feed.show_counts(self._shown)
            self.parts.dispatcher.show_skill()
            if flushes % _PRUNE_EVERY == 1:
                self._prune()

    def _prune(self) -> None:
        parts, keep, now_us = self.parts, self.config.store, self.clock.market_us()

        def prune() -> None:
            kept_us = max(keep.keep_open_bar_trades.microseconds, 2 * self.config.bars.interval_us)
            parts.ledger.prune_trades(now_us - kept_us)
            old = parts.ledger.prune(
                now_us,
                keep_bars_us=keep.keep_bars.microseconds,
                keep_forecasts_us=keep.keep_forecasts.microseconds,
            )
            large = parts.ledger.shrink(keep.max_disk_mb * 1_000_000, now_us)
            for pruned in (old, large):
                if pruned.anything:
                    log.warning("store_pruned", bars=pruned.bars, forecasts=pruned.forecasts, scores=pruned.scores)
            if large.too_large:
                log.error("store_too_large", max_disk_mb=keep.max_disk_mb, cure="raise [store] max_disk_mb")

        parts.store.submit(prune)

    async def _announce_ready(self) -> None:
        await announce_ready(self._notifier, self.parts.health)
        shown = ""
        while True:
            if (line := status_line(self.parts.health)) != shown:
                self._notifier.status(line)
                shown = line
            await asyncio.sleep(1.0)

    async def _check_symbols(self, name: str, rest: RestClient) -> None:
        """Asks the venue once whether it knows the symbols; a venue that is down is asked again."""
        symbols = [each.symbol for each in self.config.instruments if each.venue == name]
        while True:
            try:
                halted = await rest.check_symbols(symbols)
            except (ForecastdError, OSError, TimeoutError) as error:
                if isinstance(error, ConfigError | RegionRefused) or classify(error) is ErrorHandling.STOP:
                    raise
                log.warning("symbols_not_checked", venue=name, reason=str(error) or repr(error))
                await asyncio.sleep(30.0)
            else:
                for symbol, state in halted.items():
                    log.warning("symbol_not_trading", venue=name, symbol=symbol, state=state)
                return

    # ---------------------------------------------------------------- small answers

    def _first_opens(self) -> dict[Instrument, int]:
        """Where each instrument's live bars begin: its history ends there."""
        now_open_us = interval_start(self.clock.market_us(), self.config.bars.interval_us)
        series = self.parts.pipeline.instruments
        return {
            each: series[each].first_open_us if series[each].warm else now_open_us for each in self.config.instruments
        }

    def _next_close_us(self) -> int:
        warm = [series.next_close_us for series in self.parts.pipeline.instruments.values() if series.warm]
        return min(warm, default=self.clock.market_us() + self.config.bars.interval_us)


async def _passed_on(task: asyncio.Task[None]) -> None:
    """Raises what the task raises; being cancelled leaves the task alone."""
    await asyncio.shield(task)
