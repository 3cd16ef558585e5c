"""An exchange on loopback that implements a venue's protocol and replays real bars as trades on a shared clock."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiohttp import web

from daemon.clock import Clock
from daemon.simulator.dialects import DIALECTS
from daemon.simulator.faults.controls import FaultControls
from daemon.simulator.faults.injector import Injector
from daemon.simulator.faults.log import FaultLog
from daemon.simulator.faults.plan import FaultPlan
from daemon.simulator.market import Market
from daemon.simulator.market_data import MarketData, Timeline
from daemon.simulator.rest import RestApi
from daemon.simulator.sockets import LARGEST_BACKLOG_BYTES, StreamServer
from daemon.simulator.tape import Tape
from daemon.simulator.truth import TradeIds, Truth, bar_trade_ids, truth


class Addresses(NamedTuple):
    """The addresses of the exchange, for a feed's ``ws_url`` and ``rest_url``."""

    ws_url: str
    rest_url: str


class SimulatedExchange(FaultControls):
    """Serves history by REST, and from ``live_from_us`` on sends each trade when the clock reaches its time.

    ``ended`` is set when the clock passes the end of the data. The methods of ``FaultControls`` inject faults.
    Symbols are BASE-QUOTE or in Binance's spelling, e.g. ``BTCUSDT``.

    venue: the implemented protocol. faults: injected from ``start`` on. rest_limit: the request quota of a window
    instead of the venue's own. Raises ValueError for faults of symbols that are not simulated.
    """

    def __init__(
        self,
        data: MarketData,
        *,
        clock: Clock,
        venue: str = "binance",
        timeline: Timeline | None = None,
        live_from_us: int | None = None,
        faults: FaultPlan | None = None,
        rest_limit: float | None = None,
        largest_backlog_bytes: int = LARGEST_BACKLOG_BYTES,
    ) -> None:
        plan = faults or FaultPlan()
        market = Market(Tape(data, timeline or Timeline.as_recorded(data)), clock)
        dialect = DIALECTS[venue](market)
        if rest_limit is not None:
            dialect.quota.limit = rest_limit
        streams = StreamServer(dialect, largest_backlog_bytes=largest_backlog_bytes)
        super().__init__(
            dialect, RestApi(dialect, market), streams, log=FaultLog(venue, clock.market_us), seed=plan.seed
        )
        for fault in plan.faults:
            if fault.symbol is not None:
                self._known(fault.symbol)
        self.ended = asyncio.Event()
        self._live_from_us = live_from_us
        self._injector = Injector(plan, self)
        self._runner: web.AppRunner | None = None

    async def start(self, *, ws_port: int = 0, rest_port: int = 0) -> Addresses:
        """Listens on loopback (port 0: any free one) and starts to play."""
        self._runner = web.AppRunner(self._rest.application(), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", rest_port).start()
        ws_url = await self._streams.start(ws_port)
        begin_us = self._market.now_us() if self._live_from_us is None else self._live_from_us
        self._market.begin_us = max(begin_us, self.tape.timeline.start_us)
        self._keep(asyncio.create_task(self._play(), name="simulated-exchange"))
        self._keep(asyncio.create_task(self._injector.run(), name="simulated-faults"))
        return Addresses(ws_url, f"http://127.0.0.1:{self._runner.addresses[0][1]}")

    async def stop(self) -> None:
        """Stops; raises the error that ended the player or the faults early."""
        self._stream_faults.stop()
        self._injector.stop()
        errors = await self._end_tasks()
        await self._streams.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for error in errors:
            raise error

    def truth(self, symbol: str, open_us: int, interval_us: int) -> Truth:
        """The true bar, past or future: the same on every venue except for ids and the count of trades."""
        return truth(self.tape, self._known(symbol), open_us, interval_us, self._dialect.trade_ids)

    def trade_ids(self, symbol: str, open_us: int, interval_us: int) -> list[TradeIds]:
        """The trades of a bar as the venue numbers and counts them, oldest first."""
        return bar_trade_ids(self.tape, self._known(symbol), open_us, interval_us, self._dialect.trade_ids)

    def _task_failed(self) -> None:
        self.ended.set()

    async def _play(self) -> None:
        await self._player.play()
        self.ended.set()
