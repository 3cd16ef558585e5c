"""A venue on loopback that speaks Binance's subscription protocol and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from ssl import SSLContext
from typing import Any, Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from daemon.errors import DataFault
from daemon.exchanges.binance import Binance
from daemon.ingest.listener import StreamSettings
from features.market import Trade

T0_MS = 1_700_000_000_000

FAST = StreamSettings(
    open_timeout_s=1.0,
    answer_timeout_s=0.2,
    close_timeout_s=0.2,
    ping_interval_s=5.0,
    ping_timeout_s=5.0,
    quiet_s=30.0,
    resubscribe_s=0.05,
    settled_s=30.0,
    backoff_first_s=0.01,
    backoff_cap_s=0.04,
    overlap_s=0.1,
)


class SwiftBinance(Binance):
    """Binance without its pace for requests, so that a connection opens in a millisecond."""

    limits = msgspec.structs.replace(Binance.limits, messages_per_second=1000)


def stream_name(symbol: str) -> str:
    return f"{symbol.replace('-', '').lower()}@aggTrade"


def trade_frame(symbol: str, trade_id: int) -> str:
    native = symbol.replace("-", "")
    data = {
        "e": "aggTrade",
        "E": T0_MS + trade_id,
        "s": native,
        "a": trade_id,
        "p": "100.5",
        "q": "2.0",
        "f": trade_id,
        "l": trade_id,
        "T": T0_MS + trade_id,
        "m": False,
        "M": True,
    }
    return json.dumps({"stream": stream_name(symbol), "data": data}, separators=(",", ":"))


class FakeBinance:
    """``peers`` are the open connections, oldest first. Attributes may be changed while it runs."""

    def __init__(self, *, ssl: SSLContext | None = None) -> None:
        self._ssl = ssl
        self.acknowledges = True
        self.unlisted: set[str] = set()
        self.refused: set[str] = set()
        self.status: HTTPStatus | None = None
        self.retry_after: str | None = None
        self.attempts = 0
        self.peers: list[ServerConnection] = []
        self.subscriptions: dict[ServerConnection, list[str]] = {}
        self.requests: list[dict[str, Any]] = []
        self.before_list: Callable[[ServerConnection], None] = lambda _: None
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._admit, compression=None, close_timeout=0.2, ssl=self._ssl
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"{'ws' if self._ssl is None else 'wss'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def send(self, symbol: str, trade_id: int) -> None:
        """One trade to every connection that is subscribed to the symbol."""
        frame = trade_frame(symbol, trade_id)
        for peer in self.peers:
            if stream_name(symbol) in self.subscriptions[peer]:
                self.tell(peer, frame)

    def tell(self, peer: ServerConnection, frame: str | bytes) -> None:
        """Writes a frame at once, in the order of the calls."""
        peer.protocol.send_text(frame.encode() if isinstance(frame, str) else frame)
        peer.send_data()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts += 1
        if self.status is None:
            return None
        response = connection.respond(self.status, "refused\n")
        if self.retry_after is not None:
            response.headers["Retry-After"] = self.retry_after
        return response

    async def _serve(self, peer: ServerConnection) -> None:
        self.peers.append(peer)
        self.subscriptions[peer] = []
        try:
            async for text in peer:
                self._answer(peer, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self.peers.remove(peer)

    def _answer(self, peer: ServerConnection, request: dict[str, Any]) -> None:
        self.requests.append(request)
        if not self.acknowledges:
            return
        if request["method"] == "LIST_SUBSCRIPTIONS":
            self.before_list(peer)
            listed = [stream for stream in self.subscriptions[peer] if stream not in self.unlisted]
            self.tell(peer, json.dumps({"result": listed, "id": request["id"]}))
        elif self.refused & set(request["params"]):
            self.tell(peer, '{"code":2,"msg":"Invalid request: unknown stream"}')
        else:
            self.subscriptions[peer] += [name for name in request["params"] if name not in self.subscriptions[peer]]
            self.tell(peer, json.dumps({"result": None, "id": request["id"]}))


class RecordingListener:
    """Writes down everything it hears, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.ids: dict[str, list[int]] = {}
        self._heard = asyncio.Event()

    def trades(self, symbol: str, trades: list[Trade]) -> None:
        self.ids.setdefault(symbol, []).extend(trade.trade_id for trade in trades)
        self._heard.set()

    def malformed(self, frame: bytes, error: DataFault) -> None:
        self._note("malformed", frame, str(error))

    def subscribed(self, symbol: str) -> None:
        self._note("subscribed", symbol)

    def refused(self, symbol: str, reason: str) -> None:
        self._note("refused", symbol, reason)

    def connected(self, symbols: Sequence[str]) -> None:
        self._note("connected", tuple(symbols))

    def disconnected(self, symbols: Sequence[str], reason: str, next_try_s: float) -> None:
        self._note("disconnected", tuple(symbols), reason, next_try_s)

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.events if event[0] == kind]

    async def until(self, true: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Waits until something heard makes ``true`` so."""
        async with asyncio.timeout(timeout_s):
            while not true():
                self._heard.clear()
                await self._heard.wait()

    async def until_count(self, kind: str, count: int) -> None:
        await self.until(lambda: len(self.all(kind)) >= count)

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self._heard.set()
