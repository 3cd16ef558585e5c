"""Injects a plan of faults into a running exchange."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Protocol

from daemon.simulator.faults.plan import Fault, FaultPlan, Form, Listing


class FaultTarget(Protocol):
    """The exchange into which faults are injected; see ``SimulatedExchange``."""

    @property
    def symbols(self) -> tuple[str, ...]: ...
    def skip(self, symbol: str, count: int) -> None: ...
    def duplicate(self, symbol: str, count: int) -> None: ...
    def reorder(self, symbol: str, count: int, *, for_s: float) -> None: ...
    def delay(self, symbol: str, count: int, *, for_s: float) -> None: ...
    def batch(self, for_s: float) -> None: ...
    def silence(self, symbol: str) -> None: ...
    def resume(self, symbol: str) -> None: ...
    def stall(self) -> None: ...
    async def drop_connections(self, code: int = 1006) -> None: ...
    def refuse_connections(self, refusing: bool = True) -> None: ...
    def refuse_region(self, status: int | None) -> None: ...
    def rest_failing(self, status: int | None, *, retry_after_s: int | None = None) -> None: ...
    def rest_rate_limited(self, limited: bool = True) -> None: ...
    def refuse_requests(
        self, count: int, *, symbol: str | None, status: int = 429, retry_after_s: int | None = None
    ) -> None: ...
    def delay_answers(self, count: int, *, for_s: float, symbol: str | None) -> None: ...
    def cross_answers(self, count: int, *, for_s: float, symbol: str | None) -> None: ...
    def send_malformed(self, form: Form) -> None: ...
    def set_skew(self, ms: int) -> None: ...
    def set_server_time_offset(self, ms: int) -> None: ...
    def announce_shutdown(self, grace_s: float) -> None: ...
    def halt(self, symbol: str, *, bars: int = 1) -> range: ...
    def delist(self, symbol: str) -> None: ...
    def relist(self, symbol: str) -> None: ...
    def send_huge_id(self, symbol: str, trade_id: int) -> None: ...
    def enlarge_candle(self, symbol: str, units: int) -> None: ...
    def restore_candle(self, symbol: str) -> None: ...
    def set_listing(self, listing: Listing | None, symbol: str | None = None) -> None: ...


class Injector:
    """Begins each fault at its time and ends it when it is over."""

    def __init__(self, plan: FaultPlan, exchange: FaultTarget) -> None:
        self._plan = plan
        self._exchange = exchange
        self._rng = random.Random(plan.seed)
        self._ends: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for fault in self._plan.schedule():
            await asyncio.sleep(began_s + fault.at_s - loop.time())
            await self._begin(fault)

    def stop(self) -> None:
        """Stops; faults that have begun stay."""
        for end in self._ends.values():
            end.cancel()

    async def _begin(self, fault: Fault) -> None:
        exchange = self._exchange
        match fault.kind:
            case "close":
                await exchange.drop_connections(fault.code)
            case "stall":
                exchange.stall()
            case "shutdown":
                exchange.announce_shutdown(fault.grace_s)
            case "malformed":
                exchange.send_malformed(fault.form)
            case "batch":
                exchange.batch(fault.for_s)
            case "refuse" | "region" | "rest" | "complain" | "skew" | "server_time":
                self._begin_lasting(fault)
            case "throttle":
                exchange.refuse_requests(
                    fault.count, symbol=fault.symbol, status=fault.http_status, retry_after_s=fault.retry_after_s
                )
            case "late":
                exchange.delay_answers(fault.count, for_s=fault.for_s, symbol=fault.symbol)
            case _:
                self._begin_on_symbol(fault, fault.symbol or self._rng.choice(exchange.symbols))

    def _begin_on_symbol(self, fault: Fault, symbol: str) -> None:
        exchange = self._exchange
        match fault.kind:
            case "drop":
                exchange.skip(symbol, fault.count)
            case "duplicate":
                exchange.duplicate(symbol, fault.count)
            case "reorder":
                exchange.reorder(symbol, fault.count, for_s=fault.for_s)
            case "delay":
                exchange.delay(symbol, fault.count, for_s=fault.for_s)
            case "mute":
                exchange.silence(symbol)
                self._end_later(f"mute {symbol}", fault.for_s, lambda: exchange.resume(symbol))
            case "halt":
                exchange.halt(symbol, bars=fault.bars)
            case "delist":
                exchange.delist(symbol)
                self._end_later(f"delist {symbol}", fault.for_s, lambda: exchange.relist(symbol))
            case "cross":
                exchange.cross_answers(fault.count, for_s=fault.for_s, symbol=symbol)
            case "huge_id":
                exchange.send_huge_id(symbol, fault.trade_id)
            case "huge_candle":
                exchange.enlarge_candle(symbol, fault.units)
                self._end_later(f"huge_candle {symbol}", fault.for_s, lambda: exchange.restore_candle(symbol))
            case "listing":
                exchange.set_listing(fault.listing, symbol if fault.listing == "partial" else None)
                self._end_later("listing", fault.for_s, lambda: exchange.set_listing(None))

    def _begin_lasting(self, fault: Fault) -> None:
        exchange = self._exchange
        match fault.kind:
            case "refuse":
                exchange.refuse_connections()
                self._end_later("refuse", fault.for_s, lambda: exchange.refuse_connections(False))
            case "region":
                exchange.refuse_region(fault.http_status)
                self._end_later("region", fault.for_s, lambda: exchange.refuse_region(None))
            case "rest":
                exchange.rest_failing(fault.http_status, retry_after_s=fault.retry_after_s)
                self._end_later("rest", fault.for_s, lambda: exchange.rest_failing(None))
            case "complain":
                exchange.rest_rate_limited()
                self._end_later("rest", fault.for_s, lambda: exchange.rest_rate_limited(False))
            case "skew":
                exchange.set_skew(fault.ms)
                self._end_later("skew", fault.for_s, lambda: exchange.set_skew(0))
            case "server_time":
                exchange.set_server_time_offset(fault.ms)
                self._end_later("server_time", fault.for_s, lambda: exchange.set_server_time_offset(0))

    def _end_later(self, what: str, after_s: float, end: Callable[[], None]) -> None:
        """A lasting fault replaces one of the same kind that still lasts."""
        if what in self._ends:
            self._ends.pop(what).cancel()
        if after_s != math.inf:
            self._ends[what] = asyncio.get_running_loop().call_later(after_s, end)
