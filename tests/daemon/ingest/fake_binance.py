"""A venue on loopback that implements Binance's subscription protocol and injects faults on request."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from ssl import SSLContext
from typing import Any, Self

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from daemon.exchanges.binance import Binance

T0_MS = 1_700_000_000_000


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
            if stream_name(symbol) in self.subscriptions[peer] and peer.state is State.OPEN:
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
