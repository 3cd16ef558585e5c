"""The six venues' subscription styles on loopback, with faults on request."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self
from uuid import UUID

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from daemon.exchanges import Venue
from daemon.exchanges import venue as venue_of
from daemon.timestamps import iso

T0_US = 1_700_000_000_000_000


def swift(name: str, symbols: Sequence[str]) -> Venue:
    """A venue without its pace for requests, so that a connection opens in a millisecond."""
    made = venue_of(name, symbols)
    made.limits = msgspec.structs.replace(made.limits, messages_per_second=100_000)
    return made


class Style(ABC):
    """How one venue is subscribed to. Natives are the venue's own names of the symbols."""

    keep_alive: str | None = None
    alive: str | None = None
    closing_soon = ""

    def native(self, symbol: str) -> str:
        return symbol

    @abstractmethod
    def asked(self, request: dict[str, Any]) -> list[str]:
        """The requested natives; none where the request is of another kind."""

    @abstractmethod
    def acknowledge(self, natives: list[str], request: dict[str, Any], so_far: list[str]) -> list[str]:
        """The answer for natives that are taken. ``so_far``: all that the connection has by now, these included."""

    @abstractmethod
    def refuse(self, natives: list[str], request: dict[str, Any]) -> list[str]: ...

    @abstractmethod
    def trade(self, native: str, trade_id: int) -> str:
        """Trade ``trade_id`` happens as many milliseconds after T0."""

    def all_or_nothing(self) -> bool:
        """Whether one wrong symbol makes the venue refuse the whole request."""
        return False


class CoinbaseStyle(Style):
    def asked(self, request: dict[str, Any]) -> list[str]:
        return list(request.get("product_ids", []))

    def acknowledge(self, natives: list[str], request: dict[str, Any], so_far: list[str]) -> list[str]:
        subscriptions = {"heartbeats": ["heartbeats"], "market_trades": so_far}
        return [_text({"channel": "subscriptions", "events": [{"subscriptions": subscriptions}]})]

    def refuse(self, natives: list[str], request: dict[str, Any]) -> list[str]:
        return [_text({"type": "error", "message": f"{natives[0]} is not a valid product"})]

    def trade(self, native: str, trade_id: int) -> str:
        made = {"product_id": native, "trade_id": str(trade_id), "price": "100.5", "size": "2", "side": "BUY"}
        made["time"] = iso(T0_US + trade_id * 1000, milliseconds=True)
        return _text({"channel": "market_trades", "events": [{"type": "update", "trades": [made]}]})

    def all_or_nothing(self) -> bool:
        return True


class KrakenStyle(Style):
    keep_alive = '{"method":"ping"}'
    alive = '{"method":"pong"}'

    def native(self, symbol: str) -> str:
        return symbol.replace("-", "/")

    def asked(self, request: dict[str, Any]) -> list[str]:
        return list(request.get("params", {}).get("symbol", []))

    def acknowledge(self, natives: list[str], request: dict[str, Any], so_far: list[str]) -> list[str]:
        answer = {"method": "subscribe", "req_id": request["req_id"], "success": True}
        return [_text({**answer, "result": {"channel": "trade", "symbol": native}}) for native in natives]

    def refuse(self, natives: list[str], request: dict[str, Any]) -> list[str]:
        answer = {"method": "subscribe", "req_id": request["req_id"], "success": False}
        error = "Currency pair not supported"
        return [_text({**answer, "error": f"{error} {native}", "symbol": native}) for native in natives]

    def trade(self, native: str, trade_id: int) -> str:
        return self.batch([(native, trade_id)])

    def batch(self, trades: list[tuple[str, int]]) -> str:
        """Trades of several symbols in one frame."""
        data = [
            {
                "symbol": native,
                "side": "buy",
                "price": 100.5,
                "qty": 2.0,
                "trade_id": trade_id,
                "timestamp": iso(T0_US + trade_id * 1000, milliseconds=True),
            }
            for native, trade_id in trades
        ]
        return _text({"channel": "trade", "type": "update", "data": data})


class BybitStyle(Style):
    keep_alive = '{"op":"ping"}'
    alive = '{"success":true,"ret_msg":"pong","op":"ping"}'
    repeats_ids = True

    def native(self, symbol: str) -> str:
        return symbol.replace("-", "")

    def asked(self, request: dict[str, Any]) -> list[str]:
        return [topic.removeprefix("publicTrade.") for topic in request.get("args", [])]

    def acknowledge(self, natives: list[str], request: dict[str, Any], so_far: list[str]) -> list[str]:
        return [self._answer(request, success=True)]

    def refuse(self, natives: list[str], request: dict[str, Any]) -> list[str]:
        return [self._answer(request, success=False, message=f"Invalid symbol :[publicTrade.{natives[0]}]")]

    def _answer(self, request: dict[str, Any], *, success: bool, message: str = "") -> str:
        number = {"req_id": request["req_id"]} if self.repeats_ids else {}
        return _text({"success": success, "ret_msg": message, "op": "subscribe", **number})

    def trade(self, native: str, trade_id: int) -> str:
        record = {"T": T0_US // 1000 + trade_id, "s": native, "S": "Buy", "v": "2", "p": "100.5"}
        return _text({"topic": f"publicTrade.{native}", "data": [{**record, "i": self._id(trade_id)}]})

    def _id(self, trade_id: int) -> str:
        return str(trade_id)

    def all_or_nothing(self) -> bool:
        return True


class BybitLinearStyle(BybitStyle):
    repeats_ids = False

    def _id(self, trade_id: int) -> str:
        return str(UUID(int=trade_id << 65))


class OkxStyle(Style):
    keep_alive = "ping"
    alive = "pong"
    closing_soon = '{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}'

    def asked(self, request: dict[str, Any]) -> list[str]:
        return [arg["instId"] for arg in request.get("args", [])]

    def acknowledge(self, natives: list[str], request: dict[str, Any], so_far: list[str]) -> list[str]:
        answer = {"event": "subscribe", "id": request["id"]}
        return [_text({**answer, "arg": {"channel": "trades", "instId": native}}) for native in natives]

    def refuse(self, natives: list[str], request: dict[str, Any]) -> list[str]:
        answer = {"event": "error", "id": request["id"], "code": "60018"}
        return [_text({**answer, "msg": f"{native} doesn't exist"}) for native in natives]

    def trade(self, native: str, trade_id: int) -> str:
        record = {"instId": native, "tradeId": str(trade_id), "px": "100.5", "sz": "2", "side": "buy", "count": "1"}
        record["ts"] = str(T0_US // 1000 + trade_id)
        return _text({"arg": {"channel": "trades", "instId": native}, "data": [record]})


class BitstampStyle(Style):
    keep_alive = '{"event":"bts:heartbeat"}'
    alive = '{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}'
    closing_soon = '{"event":"bts:request_reconnect","channel":"","data":""}'

    def native(self, symbol: str) -> str:
        return symbol.replace("-", "").lower()

    def asked(self, request: dict[str, Any]) -> list[str]:
        return [request["data"]["channel"].removeprefix("live_trades_")]

    def acknowledge(self, natives: list[str], request: dict[str, Any], so_far: list[str]) -> list[str]:
        return [_text({"event": "bts:subscription_succeeded", "channel": f"live_trades_{natives[0]}", "data": {}})]

    def refuse(self, natives: list[str], request: dict[str, Any]) -> list[str]:
        data = {"code": None, "message": "Bad subscription string."}
        return [_text({"event": "bts:error", "channel": f"live_trades_{natives[0]}", "data": data})]

    def trade(self, native: str, trade_id: int) -> str:
        made = {"id": trade_id, "price_str": "100.5", "amount_str": "2", "type": 0}
        made["microtimestamp"] = str(T0_US + trade_id * 1000)
        return _text({"event": "trade", "channel": f"live_trades_{native}", "data": made})


STYLES: dict[str, type[Style]] = {
    "coinbase": CoinbaseStyle,
    "kraken": KrakenStyle,
    "bybit": BybitStyle,
    "bybit_linear": BybitLinearStyle,
    "okx": OkxStyle,
    "bitstamp": BitstampStyle,
}


class FakeVenue:
    """``peers`` are the open connections, oldest first. Attributes may be changed while it runs.

    received: every frame with the connection that sent it. requests: the natives of each subscription. wrong: natives
    that are refused, mute: natives without an answer. ordered: puts answers in the order in which they are sent.
    """

    def __init__(self, name: str) -> None:
        self.style = STYLES[name]()
        self.answers = True
        self.wrong: set[str] = set()
        self.mute: set[str] = set()
        self.ordered: Callable[[list[str]], list[str]] = lambda frames: frames
        self.attempts = 0
        self.peers: list[ServerConnection] = []
        self.subscribed: dict[ServerConnection, list[str]] = {}
        self.received: list[tuple[ServerConnection, str]] = []
        self.requests: list[list[str]] = []
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, compression=None, close_timeout=0.2)
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def send(self, symbol: str, trade_id: int) -> None:
        """One trade to every connection that is subscribed to the symbol."""
        native = self.style.native(symbol)
        for peer in self.peers:
            if native in self.subscribed[peer] and peer.state is State.OPEN:
                self.tell(peer, self.style.trade(native, trade_id))

    def tell(self, peer: ServerConnection, *frames: str) -> None:
        """Writes frames at once, in the order of the calls."""
        for frame in frames:
            peer.protocol.send_text(frame.encode())
        peer.send_data()

    async def _serve(self, peer: ServerConnection) -> None:
        self.attempts += 1
        self.peers.append(peer)
        self.subscribed[peer] = []
        try:
            async for text in peer:
                self.received.append((peer, str(text)))
                if self.answers:
                    self._answer(peer, str(text))
        except ConnectionClosed:
            pass
        finally:
            self.peers.remove(peer)

    def _answer(self, peer: ServerConnection, text: str) -> None:
        if text == self.style.keep_alive:
            assert self.style.alive is not None
            self.tell(peer, self.style.alive)
            return
        request = json.loads(text)
        asked = self.style.asked(request)
        if asked:
            self.requests.append(asked)
            self.tell(peer, *self.ordered(self._answers(peer, asked, request)))

    def _answers(self, peer: ServerConnection, asked: list[str], request: dict[str, Any]) -> list[str]:
        wrong = [native for native in asked if native in self.wrong]
        if wrong and self.style.all_or_nothing():
            return self.style.refuse(wrong, request)
        taken = [native for native in asked if native not in self.wrong | self.mute]
        self.subscribed[peer] += taken
        # A venue that answers with its whole list says so even where it took nothing new.
        lists = isinstance(self.style, CoinbaseStyle)
        acknowledged = self.style.acknowledge(taken, request, self.subscribed[peer]) if taken or lists else []
        return [*acknowledged, *(self.style.refuse(wrong, request) if wrong else [])]


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
