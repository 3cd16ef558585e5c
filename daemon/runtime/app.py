"""Runs the components of one daemon in one task group and stops them in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from daemon.clock import Clock
from daemon.config import Config
from daemon.config.reload import ReloadChanges, reloadable_changes, with_reloadable
from daemon.config.types import read_token
from daemon.errors import ConfigError, Retryable
from daemon.publishing.embedded_broker import EmbeddedBroker
from daemon.publishing.topics import Topics
from daemon.runtime import periodic_jobs
from daemon.runtime.broker_link import status_payload
from daemon.runtime.component_progress import ComponentProgress
from daemon.runtime.control_commands import ControlCommands
from daemon.runtime.health_watch import HealthWatch
from daemon.runtime.hooks import Hooks
from daemon.runtime.retained_topics import announce_stop
from daemon.runtime.startup import (
    complete_late_history,
    load_champion,
    load_recent_history,
    report_warm_symbols,
    restore_state,
    scores_needed_us,
    synchronise_clock,
)
from daemon.runtime.status_snapshot import (
    ModelInService,
    RetrainSnapshot,
    mqtt_status,
    status_document,
    symbol_statuses,
)
from daemon.runtime.store_opening import check_store, locked_state, open_ledger
from daemon.runtime.store_owner import claim_store
from daemon.runtime.store_retention import StoreRetention
from daemon.runtime.symbol_check import SymbolCheck
from daemon.runtime.wiring import Components, build, timeouts_for
from daemon.serving.control import ControlServer, serving_path
from daemon.serving.http import HttpServer
from daemon.serving.notify import Notifier, run_watchdog, start_timeout_extended, status_line
from daemon.serving.status import StatusDocument

log = structlog.get_logger(__name__)

_Job = Coroutine[None, None, None]

_STOP_TIMEOUT_S = 2.5
_HUNG_END_S = 20.0  # for what still works to be stored and published


class App:
    """One daemon. ``run`` returns after ``stop``, or raises a ForecastdError with the reason why it ended.

    control_path: where the control socket is; None takes the place that configuration and environment give.
    read_config: reads the configuration again for ``reload``; None where there is no file to read.
    end_process: called, in a thread, where the end after a hung component hangs itself, as on a dead disk.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        environ: Mapping[str, str],
        hooks: Hooks | None = None,
        control_path: Path | None = None,
        read_config: Callable[[], Config] | None = None,
        set_log_level: Callable[[str], None] = lambda _level: None,
        end_process: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.components: Components
        self.started = asyncio.Event()
        self.http_address = ""
        self.mqtt_address = config.mqtt.url
        instance = config.instance
        self.control_path = control_path or serving_path(instance.name, instance.state_dir, environ)
        self._hooks = hooks or Hooks()
        self._read_config = read_config
        self._set_log_level = set_log_level
        self._end_process = end_process
        self._stopping = asyncio.Event()
        self._rounds_may_begin = asyncio.Event()
        self._history_tried = asyncio.Event()
        self._notifier = Notifier.from_environment(environ)

    # ---------------------------------------------------------------- commands

    def stop(self) -> None:
        """Makes ``run`` end in order."""
        self._stopping.set()

    def reload(self) -> ReloadChanges:
        """Applies the reloadable changes of the configuration and returns all changed keys.

        Raises ConfigError, with the old configuration in force, where the new one is wrong.
        """
        if self._read_config is None:
            raise ConfigError(["there is no configuration file to read again; start with forecastd run -c FILE"])
        self._notifier.reloading()
        try:
            new = self._read_config()
            changes = reloadable_changes(self.config, new)
            self.config = self.components.retrainer.config = with_reloadable(self.config, new)
            self._set_log_level(self.config.log.level)
            self.components.pipeline.set_timeouts(timeouts_for(self.config, self.clock))
            self.components.history.set_length(self.config.retrain.history.microseconds)
        finally:
            self._notifier.ready(status_line(self.components.health))
        log.info("configuration_reloaded", applied=list(changes.applied), refused=list(changes.refused))
        return changes

    def status(self) -> StatusDocument:
        """The state of the daemon now."""
        components = self.components
        model, retrainer = components.inference.model, components.retrainer
        return status_document(
            config=self.config,
            clock=self.clock,
            health=components.health,
            symbols=symbol_statuses(components.pipeline, components.dispatcher.latest),
            mqtt=mqtt_status(components.publisher, self.mqtt_address),
            model=ModelInService(model, components.promoter.loaded_at_us) if model else None,
            retrain=RetrainSnapshot(
                retrainer.supervisor.status, retrainer.reporter.last_outcome, components.retrain_job.next_at_us
            ),
            venue_clocks=components.timekeeper.statuses(),
        )

    # ---------------------------------------------------------------- life

    async def run(self) -> None:
        """Runs until ``stop``. Raises Retryable, before anything is opened, where another daemon uses the state."""
        with locked_state(self.config):
            await self._run()

    async def _run(self) -> None:
        mqtt = self.config.mqtt
        broker = EmbeddedBroker(Topics(mqtt.base_topic, self.config.instance.name).root) if mqtt.embedded else None
        try:
            embedded = await broker.start(mqtt.embedded_port) if broker else None
            if embedded is not None:
                self.mqtt_address = f"mqtt://127.0.0.1:{embedded.port}"
            async with start_timeout_extended(self._notifier):
                ledger = await open_ledger(self.config)
                try:
                    claim_store(ledger, self.config)
                except ConfigError:
                    ledger.close()
                    raise
            self.components = build(self.config, ledger=ledger, clock=self.clock, hooks=self._hooks, embedded=embedded)
            await self._serve()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if broker is not None:
                await broker.stop()

    async def _serve(self) -> None:
        components = self.components
        commands = ControlCommands(retrainer=components.retrainer, status=self.status, reload=self.reload)
        control = ControlServer(self.control_path, commands.execute)
        http = self._http_server()
        try:
            await control.start()  # before the venues: a second daemon of this name ends here
            components.health.component_up("control socket")
            await synchronise_clock(components)
            await restore_state(components, self.config)
            self.http_address = await http.start()
            components.health.component_up("http")
            if not self.config.instruments:
                shard = str(self.config.instance.shard)
                log.warning("shard_empty", shard=shard, reason="no configured symbol belongs to this shard")
            log.info("started", http=self.http_address, mqtt=self.mqtt_address, control=str(control.path))
            await self._publish_and_run()
        finally:
            await http.stop()
            await control.stop()
            await components.inference.close()
            components.store.close()
            components.ledger.close()

    def _http_server(self) -> HttpServer:
        token_file = self.config.http.token_file
        return HttpServer(
            self.config.http.listen,
            registry=self.components.metrics.registry,
            status=self.status,
            health=self.components.health,
            token=read_token(token_file) if token_file else None,
        )

    async def _publish_and_run(self) -> None:
        """Runs until ``stop`` or the error of a job. The publisher outlives the jobs, to publish the final status."""
        publishing = asyncio.create_task(self.components.publisher.run(), name="publisher")
        reason = ""
        try:
            await self._run_jobs(publishing)
        except ExceptionGroup as errors:
            reason = str(errors.exceptions[0])
            raise
        finally:
            self._notifier.stopping()
            log.info("stopping", reason=reason or "asked to")
            await self._finish(publishing, reason or self.components.health.condition.reason)

    async def _run_jobs(self, publishing: asyncio.Task[None]) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job, name=name) for name, job in self._jobs().items()]
            tasks.append(group.create_task(_result_of(publishing), name="publishing"))
            self.started.set()
            await self._stopping.wait()
            for task in tasks:
                task.cancel()

    def _jobs(self) -> dict[str, _Job]:
        components = self.components
        jobs: dict[str, _Job] = {
            "dispatcher": components.dispatcher.run(),
            "rounds": self._run_rounds(),
            "ticker": periodic_jobs.tick(components, lambda: self.config),
            "flush": periodic_jobs.flush(components),
            "retention": self._retention().run(),
            "history": components.history.follow_length(),
            "models": self._load_and_retrain(),
            "late history": self._complete_history(),
            "quiet": components.retrain_job.pause_around_closes(self._next_close_us),
            "gpu": self._hooks.ports.gpu_metrics(components.metrics),
            "ready": periodic_jobs.announce_status(self._notifier, components.health),
            "health": self._health_watch().run(),
            "watchdog": run_watchdog(self._notifier, fatal_reason=components.health.fatal_reason),
        }
        if not components.ledger.checked:
            jobs["store check"] = self._check_store()
        if components.reconciler is not None:
            jobs["reconciler"] = components.reconciler.run()
        for name, feed in components.feeds.items():
            assert feed.stream is not None
            jobs[f"stream {name}"] = feed.stream.run()
            jobs[f"skew {name}"] = components.timekeeper.measure(name, feed.rest)
            jobs[f"symbols {name}"] = SymbolCheck(feed, components.pipeline, self.clock).run()
        return jobs

    def _retention(self) -> StoreRetention:
        components = self.components
        return StoreRetention(
            components.ledger,
            components.store,
            reporting=components.reporting,
            config=lambda: self.config,
            scores_us=scores_needed_us(components.pipeline, self.config),
        )

    def _health_watch(self) -> HealthWatch:
        components, limits = self.components, self._hooks.health_limits
        return HealthWatch(
            ComponentProgress(components, limits).read,
            health=components.health,
            metrics=components.metrics,
            clock=self.clock,
            end_s=limits.end_s,
            on_end=self._end_process_later,
        )

    def _end_process_later(self) -> None:
        timer = threading.Timer(_HUNG_END_S, self._end_process)
        timer.daemon = True
        timer.start()

    async def _finish(self, publishing: asyncio.Task[None], reason: str) -> None:
        """Stores and publishes what is still pending."""
        components = self.components
        for feed in components.feeds.values():
            await feed.close()
        components.dispatcher.save_trades()
        await components.retrainer.supervisor.close()
        with suppress(TimeoutError, Retryable):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await components.store.call(lambda: None)  # forecasts are published after they are stored
        announce_stop(components.messages, components.pipeline, self.clock.market_us(), reason)
        condition = replace(components.health.condition, reason=reason, since_us=self.clock.market_us())
        await components.publisher.stop(status_payload(condition, state="stopped"))
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await publishing

    async def _run_rounds(self) -> None:
        await self._rounds_may_begin.wait()
        await self.components.rounds.run()

    async def _check_store(self) -> None:
        await self._rounds_may_begin.wait()  # the start needs the disk
        await check_store(self.components.ledger.path, self.components.store)

    async def _load_and_retrain(self) -> None:
        """Recent history and, if it loads in time, the champion before the first round; the history; the schedule."""
        components = self.components
        ends_us = await load_recent_history(components, self.config)
        report_warm_symbols(components, self.config)
        await load_champion(components, self.config, self._rounds_may_begin)
        await components.history.complete(ends_us)
        await components.promoter.refit()
        self._history_tried.set()
        if self.config.instruments:  # an empty shard has nothing to train
            await components.retrain_job.run_schedule()

    async def _complete_history(self) -> None:
        await self._history_tried.wait()
        await complete_late_history(self.components, self.config)

    def _next_close_us(self) -> int:
        warm = [each.next_close_us for each in self.components.pipeline.instruments.values() if each.warm]
        return min(warm, default=self.clock.market_us() + self.config.bars.interval_us)


async def _result_of(task: asyncio.Task[None]) -> None:
    """Raises what the task raises; a cancellation does not reach the task."""
    await asyncio.shield(task)
