"""``forecastd history``: bars of the past into the store, and what it holds."""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from daemon.cli.commands.console import grouped_table, open_console
from daemon.clock import SystemClock
from daemon.config import Config, Secrets, load_config
from daemon.errors import EXIT_USAGE, Fatal, RateLimited, Retryable, Unreachable
from daemon.exchanges import venue
from daemon.ingest.proxy import check_proxies
from daemon.ingest.rest_client import RestClient
from daemon.logs import start_logging
from daemon.runtime.store_opening import prepared_state_dir
from daemon.store.bars import Span
from daemon.store.errors import StoreUnavailable
from daemon.store.history import import_file
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.timestamps import from_iso, iso
from features.market import Instrument, interval_start


class HistoryRefused(Fatal):
    """The command's arguments do not fit."""

    exit_code = EXIT_USAGE


def open_ledger(config: Config) -> Ledger:
    """The configured store, created where it is missing. Raises the errors of ``prepared_state_dir`` and ``Ledger``."""
    return Ledger(prepared_state_dir(config.instance.state_dir) / LEDGER_NAME)


def import_files(config_file: Path | None, files: Iterable[Path], *, venue_name: str, symbol: str | None) -> None:
    """Imports each file whole or not at all."""
    config = load_config(config_file, secrets=Secrets.UNCHECKED)
    with open_ledger(config) as ledger:
        for file in files:
            candles = import_file(
                file,
                interval_us=config.bars.interval_us,
                now_us=time.time_ns() // 1000,
                venue=venue_name,
                symbol=symbol,
            )
            ledger.import_bars(candles)
            names = ", ".join(sorted(candles["symbol"].unique()))
            sys.stdout.write(f"{file}: {len(candles)} bars of {names} imported\n")


def fetch(config_file: Path | None, start: str) -> None:
    """Fetches the configured symbols' bars from ``start`` up to the last closed one. Raises Unreachable."""
    start_logging(level="warning")
    config = load_config(config_file, secrets=Secrets.UNCHECKED)
    try:
        start_us = interval_start(from_iso(start), config.bars.interval_us)
    except ValueError as error:
        raise HistoryRefused(f"--from was {start!r}; write a day, e.g. 2023-01-01") from error
    check_proxies(feed.rest_url or venue(feed.venue, None).default_rest_url for feed in config.feeds)
    try:
        asyncio.run(_fetch(config, start_us))
    except (RateLimited, StoreUnavailable):
        raise
    except Retryable as error:
        raise Unreachable(f"the venue cannot be reached: {error}") from error


async def _fetch(config: Config, start_us: int) -> None:
    clock, interval_us = SystemClock(), config.bars.interval_us
    end_us = interval_start(clock.market_us(), interval_us)
    with open_ledger(config) as ledger:
        for section in config.feeds:
            wire = venue(section.venue, section.symbols)
            async with RestClient(wire, section.rest_url, clock=clock) as rest:
                await rest.check_symbols(section.symbols)
                for symbol in section.symbols:
                    bars = await rest.candles(symbol, interval_us, start_us, end_us)
                    ledger.save_bars(bars)
                    span = f"{iso(bars[0].open_time_us)} to {iso(bars[-1].close_time_us)}" if bars else "none"
                    sys.stdout.write(f"{section.venue}:{symbol}: {len(bars)} bars, {span}\n")


def show(config_file: Path | None, *, json: bool) -> None:
    """Prints what the store holds for the configured interval."""
    config = load_config(config_file, secrets=Secrets.UNCHECKED)
    path = config.instance.state_dir / LEDGER_NAME
    try:
        with Ledger(path, read_only=True) as ledger:
            spans = ledger.spans(config.bars.interval_us)
    except Unreachable as error:
        raise HistoryRefused(
            f"{path}: there is no store yet; start forecastd run, or import or fetch history"
        ) from error
    if json:
        sys.stdout.write(jsonlib.dumps([_plain(span) for span in spans]) + "\n")
        return
    print_spans(open_console(), spans)


def print_spans(console: Console, spans: Iterable[Span]) -> None:
    """One row an instrument."""
    header = (("instrument",), ("from", "to"), ("bars", "missing"), ("verdicts",))
    console.print(grouped_table(console, header, map(_row, spans)))


def _row(span: Span) -> tuple[tuple[str, ...], ...]:
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in span.verdicts.items())
    return (
        (str(Instrument(span.venue, span.symbol)),),
        (iso(span.from_us), iso(span.to_us)),
        (str(span.bars), str(span.missing)),
        (verdicts,),
    )


def _plain(span: Span) -> dict[str, object]:
    return {
        "instrument": str(Instrument(span.venue, span.symbol)),
        "from": iso(span.from_us),
        "to": iso(span.to_us),
        "bars": span.bars,
        "missing": span.missing,
        "verdicts": dict(span.verdicts),
    }
