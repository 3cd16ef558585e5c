"""``forecastd simulate``: the exchange alone, until the data ends or a signal arrives."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from pathlib import Path

import msgspec

from daemon.clock import Clock, ScaledClock, SystemClock
from daemon.errors import EXIT_USAGE, DataFault, Fatal, Unreachable
from daemon.intervals import parse_interval
from daemon.simulator.dialects import DIALECTS
from daemon.simulator.exchange import Addresses, SimulatedExchange
from daemon.simulator.faults.log import Injected
from daemon.simulator.faults.plan import FaultPlan, load_plan
from daemon.simulator.loading import load, load_sample
from daemon.simulator.market_data import MarketData, Timeline

DEFAULT_LIVE_DAYS = 30.0
_LAST_PORT = 65_535


class SimulationRefused(Fatal):
    """The command's arguments do not fit, or its data cannot be replayed."""

    exit_code = EXIT_USAGE


async def simulate(
    *,
    venue: str = "binance",
    data: Path | None = None,
    speed: float | None = None,
    interval: str | None = None,
    port: int = 0,
    live_days: float = DEFAULT_LIVE_DAYS,
    faults: Path | None = None,
) -> None:
    """Runs a simulated exchange in the foreground and prints its addresses as one JSON line when it is ready.

    venue: one of ``DIALECTS``.
    data: Parquet file or folder of bars; None is the shipped sample.
    speed: market seconds per wall second, with the bars at the times at which they happened and the last
        ``live_days`` of the data live. None runs on the system clock, with the live bars played from now on.
    interval: on the system clock, how long each bar is played, e.g. "5s"; None is the data's own interval.
    port: of the websocket; REST listens on the next one. 0 takes any two free ports.
    faults: TOML file with a plan of faults; each is written to standard error as a JSON line when it happens.

    Raises SimulationRefused for settings that do not fit and data that cannot be replayed, Unreachable for a port
    that is taken.
    """
    if problem := _problem(venue=venue, speed=speed, interval=interval, port=port):
        raise SimulationRefused(problem)
    plan = _plan(faults)
    market = _market(data)
    for note in market.notes:
        sys.stderr.write(f"{note}\n")
    exchange = _exchange(market, venue=venue, speed=speed, interval=interval, live_days=live_days, plan=plan)
    exchange.log.on_fault = _print_fault
    try:
        addresses = await _started(exchange, port)
        sys.stdout.write(json.dumps({**addresses._asdict(), "symbols": market.symbols}) + "\n")
        sys.stdout.flush()
        await _until_ended_or_stopped(exchange)
    finally:
        await exchange.stop()


def _problem(*, venue: str, speed: float | None, interval: str | None, port: int) -> str | None:
    """The problem of the arguments, before any data is read."""
    if venue not in DIALECTS:
        return f"--venue was {venue!r}; the simulator speaks {', '.join(DIALECTS)}"
    if speed is not None and interval is not None:
        return "--speed and --interval exclude each other: one scales the clock, one the bars"
    if speed is not None and not 0 < speed < math.inf:
        return f"--speed was {speed:g}; write how many market seconds a second lasts, above 0"
    if not 0 <= port < _LAST_PORT:
        return f"--port was {port}; write 1 to {_LAST_PORT - 1}, as REST takes the next one, or 0 for any two"
    return None


def _market(data: Path | None) -> MarketData:
    try:
        return load_sample() if data is None else load(data)
    except DataFault as error:
        raise SimulationRefused(f"--data: {' '.join(str(error).split())}") from error


def _plan(faults: Path | None) -> FaultPlan:
    try:
        return FaultPlan() if faults is None else load_plan(faults)
    except DataFault as error:
        raise SimulationRefused(f"--faults: {error}") from error


def _print_fault(fault: Injected) -> None:
    sys.stderr.write(msgspec.json.encode(fault).decode() + "\n")
    sys.stderr.flush()


def _exchange(
    market: MarketData, *, venue: str, speed: float | None, interval: str | None, live_days: float, plan: FaultPlan
) -> SimulatedExchange:
    try:
        live_index = market.live_index(live_days=live_days)
        interval_us = market.interval_us if interval is None else parse_interval(interval)
    except ValueError as error:
        raise SimulationRefused(str(error)) from error
    clock: Clock = SystemClock()
    timeline = Timeline.retimed(interval_us=interval_us, live_index=live_index, live_from_us=clock.market_us())
    if speed is not None:
        clock = ScaledClock(start_us=market.open_us(live_index), speed=speed)
        timeline = Timeline.as_recorded(market)
    try:
        return SimulatedExchange(market, clock=clock, venue=venue, timeline=timeline, faults=plan)
    except ValueError as error:
        raise SimulationRefused(f"--faults: {error}") from error


async def _started(exchange: SimulatedExchange, port: int) -> Addresses:
    try:
        return await exchange.start(ws_port=port, rest_port=port + 1 if port else 0)
    except OSError as error:
        raise Unreachable(
            f"cannot listen on 127.0.0.1 ports {port} and {port + 1}: {error}; choose another --port"
        ) from error


async def _until_ended_or_stopped(exchange: SimulatedExchange) -> None:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, exchange.ended.set)
    try:
        await exchange.ended.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
