"""Subscriptions of one connection: requested in parts, one request at a time, and confirmed symbol by symbol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from daemon.clock import Clock
from daemon.errors import Retryable
from daemon.exchanges.base import Acknowledged, Listed, Refused, Venue
from daemon.ingest.listener import StreamListener, StreamSettings

Answer = Acknowledged | Listed | Refused


class _Request:
    """A pending request: the symbols without an answer (``waiting``) and the refused ones with their reasons.

    A request for the list of subscriptions has no symbols. named: whether an answer has named symbols.
    """

    def __init__(self, request_id: int, symbols: Sequence[str]) -> None:
        self.id = request_id
        self.waiting = set(symbols)
        self.refused: dict[str, str] = {}
        self.named = False
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def settle(self, answer: Acknowledged | Refused) -> set[str]:
        """The waiting symbols that ``answer`` settles; the last of them completes the request."""
        if not self.waiting:
            return set()  # the request waits for a list
        self.named = self.named or bool(answer.symbols)
        settled = self.waiting.intersection(answer.symbols or self.waiting)
        self.waiting -= settled
        if not self.waiting:
            self.answer.set_result(answer)
        return settled


class Subscriptions:
    """The subscriptions of one connection.

    send: sends a text frame at a rate that the venue allows. confirmed_at_us: market time of the venue's last
    confirmation of the subscribed symbols.
    """

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        *,
        send: Callable[[str], Awaitable[None]],
        listener: StreamListener,
        clock: Clock,
        settings: StreamSettings,
    ) -> None:
        self.confirmed_at_us = clock.market_us()
        self._venue = venue
        self._symbols = tuple(symbols)
        self._send = send
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self._request_ids = count(1)
        self._request: _Request | None = None
        self._acknowledged: set[str] = set()
        self._confirmed: set[str] = set()

    @property
    def confirmed(self) -> tuple[str, ...]:
        """The symbols whose subscription the venue has confirmed."""
        return tuple(symbol for symbol in self._symbols if symbol in self._confirmed)

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The symbols whose subscription the venue has not confirmed."""
        return tuple(symbol for symbol in self._symbols if symbol not in self._confirmed)

    async def subscribe_missing(self) -> None:
        """Requests every symbol that is not confirmed.

        Raises Retryable where the venue does not answer, and the errors of ``send``.
        """
        symbols = self.unconfirmed
        size = min(self._settings.symbols_per_request, self._venue.limits.symbols_per_request)
        for start in range(0, len(symbols), size):
            await self._subscribe(symbols[start : start + size])
        if not await self.verify_list():
            self._confirm(self._acknowledged)

    async def verify_list(self) -> bool:
        """Confirms exactly the symbols of the venue's own list; False if the venue offers no list.

        Raises like ``subscribe_missing``.
        """
        request = _Request(next(self._request_ids), ())
        text = self._venue.list_subscriptions(request.id)
        if text is None:
            return False
        answer = await self._answer(text, request)
        if not isinstance(answer, Listed):
            raise Retryable(f"{self._venue.name} did not list the subscriptions: {answer}")
        listed = set(answer.symbols)
        for symbol in self._symbols:
            if symbol in self._acknowledged and symbol not in listed:
                self._listener.refused(symbol, "acknowledged but not listed")
        self._acknowledged = listed.intersection(self._symbols)
        self._confirm(self._acknowledged)
        return True

    def handle_answer(self, message: Answer) -> None:
        """Assigns an answer of the venue to the pending request.

        One request is pending at a time: an answer without an id belongs to it. An acknowledgement that names
        symbols counts for these even after its request timed out.
        """
        request = self._request
        named = isinstance(message, Acknowledged) and bool(message.symbols)
        if isinstance(message, Acknowledged):
            self._acknowledged.update(message.symbols)
        if request is None or request.answer.done() or not (named or message.request_id in {None, request.id}):
            return
        if isinstance(message, Listed) or (isinstance(message, Refused) and not message.symbols):
            request.answer.set_result(message)
            return
        settled = request.settle(message)
        if isinstance(message, Refused):
            request.refused |= dict.fromkeys(settled, message.reason)
        else:
            self._acknowledged |= settled

    def fail_pending(self, reason: str) -> None:
        """Fails the pending request: the connection ended and delivers no answer."""
        if self._request is not None and not self._request.answer.done():
            self._request.answer.set_exception(Retryable(reason))
            self._request.answer.exception()  # asyncio would warn of an exception that is never retrieved

    async def _subscribe(self, symbols: Sequence[str]) -> None:
        """Requests symbols. Bisects a refused request that names no symbol to find the symbol at fault."""
        asked = [
            symbol for symbol in symbols if symbol not in self._acknowledged
        ]  # a late answer may have acknowledged some
        if not asked:
            return
        request = _Request(next(self._request_ids), asked)
        answer = await self._answer(self._venue.subscribe(asked, request.id), request)
        for symbol, reason in request.refused.items():
            self._listener.refused(symbol, reason)
        left = [symbol for symbol in asked if symbol in request.waiting]
        if isinstance(answer, Refused) and len(left) > 1:
            middle = len(left) // 2
            await self._subscribe(left[:middle])
            await self._subscribe(left[middle:])
            return
        for symbol in left:
            self._listener.refused(symbol, answer.reason if isinstance(answer, Refused) else "no answer")

    async def _answer(self, text: str, request: _Request) -> Answer | None:
        """Sends ``text`` and returns the answer that completes the request.

        None if the venue answered for some symbols only. Raises Retryable if it did not answer.
        """
        self._request = request
        try:
            await self._send(text)
            async with asyncio.timeout(self._settings.answer_timeout_s):
                return await request.answer
        except TimeoutError as error:
            if request.named:
                return None
            waited_s = self._settings.answer_timeout_s
            raise Retryable(f"{self._venue.name} did not answer a request for {waited_s:g} s") from error
        finally:
            self._request = None

    def _confirm(self, symbols: set[str]) -> None:
        fresh = [symbol for symbol in self._symbols if symbol in symbols and symbol not in self._confirmed]
        self._confirmed = symbols.intersection(self._symbols)
        self.confirmed_at_us = self._clock.market_us()
        for symbol in fresh:
            self._listener.subscribed(symbol)
