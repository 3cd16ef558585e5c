"""``forecastd run``: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvloop

from daemon.clock import SystemClock
from daemon.config import Config, load_config
from daemon.early_signals import reload_was_requested
from daemon.errors import EXIT_INTERNAL, ConfigError
from daemon.exchanges import venue
from daemon.ingest.proxy import check_proxies
from daemon.logs import start_logging
from daemon.runtime.app import App

log = structlog.get_logger(__name__)


def run_daemon(config_file: Path | None) -> None:
    """Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    config = load_config(config_file)
    check_proxies(venue_addresses(config))
    uvloop.run(_serve(config, config_file))


def venue_addresses(config: Config) -> Iterator[str]:
    """The websocket and REST address of every feed."""
    for feed in config.feeds:
        protocol = venue(feed.venue, None)
        yield feed.ws_url or protocol.default_ws_url
        yield feed.rest_url or protocol.default_rest_url


async def _serve(config: Config, config_file: Path | None) -> None:
    logs = start_logging(level=config.log.level, log_format=config.log.format)
    app = App(
        config,
        clock=SystemClock(),
        environ=os.environ,
        read_config=lambda: load_config(config_file),
        set_log_level=logs.set_level,
        end_process=lambda: os._exit(EXIT_INTERNAL),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stop)
    requested = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, requested.set)
    if reload_was_requested():
        requested.set()
    reloading = asyncio.create_task(_reload_on_request(app, requested), name="reload")
    try:
        await app.run()
    finally:
        reloading.cancel()


async def _reload_on_request(app: App, requested: asyncio.Event) -> None:
    """Reloads at each request, once the daemon has started. The old configuration stays on any error."""
    while True:
        await requested.wait()
        await app.started.wait()
        requested.clear()
        try:
            app.reload()
        except ConfigError as error:
            log.error("configuration_not_reloaded", problems=error.problems)  # noqa: TRY400  # the problems say it
