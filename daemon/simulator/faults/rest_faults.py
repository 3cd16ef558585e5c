"""Faults of REST answers: refused, refused for a region, late, exchanged with another answer, or cut off."""

from __future__ import annotations

import asyncio
from typing import Generic, NamedTuple, TypeVar

from aiohttp import web

Parameters = TypeVar("Parameters")


class Failure(NamedTuple):
    """The status of every answer; None for the venue's error for too many requests."""

    status: int | None
    retry_after_s: int | None = None


class _Limited(Generic[Parameters]):
    """A fault of the next ``count`` requests, of one symbol or of all; ``parameters`` say what happens to them."""

    def __init__(self, parameters: Parameters, count: int, symbol: str | None) -> None:
        self.parameters = parameters
        self.count = count
        self.symbol = symbol


class RestFaults:
    """The faults of one venue's REST side.

    failure: the answer to every request, None for none. region_status: the HTTP status for clients of a refused region,
    None while no region is refused. cut_listing: whether the symbol list is cut off in the middle.
    """

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self.region_status: int | None = None
        self.cut_listing = False
        self._refused: list[_Limited[Failure]] = []
        self._late: list[_Limited[float]] = []
        self._crossed: list[_Limited[float]] = []
        self._withheld: dict[tuple[str, str | None], tuple[web.Response, asyncio.Future[web.Response]]] = {}

    def refuse(self, count: int, symbol: str | None, failure: Failure) -> None:
        """Answers the next ``count`` requests with ``failure``."""
        self._refused.append(_Limited(failure, count, symbol))

    def delay(self, count: int, symbol: str | None, for_s: float) -> None:
        """Sends the next ``count`` answers ``for_s`` wall seconds late; they hold what was true when they were made."""
        self._late.append(_Limited(for_s, count, symbol))

    def cross(self, count: int, symbol: str | None, for_s: float) -> None:
        """Exchanges the next ``count`` answers, each with that to the next request of its path and symbol in time."""
        self._crossed.append(_Limited(for_s, count, symbol))

    def failure_of(self, symbol: str | None) -> Failure | None:
        """The failure that is the answer to a request; counts it. symbol: that the request names."""
        if self.failure is not None:
            return self.failure
        refused = _next(self._refused, symbol)
        return None if refused is None else refused.parameters

    async def deliver(self, path: str, symbol: str | None, response: web.Response) -> web.Response:
        """The response to send, when it is time to send it."""
        for key in ((path, symbol), (path, None)):
            if key in self._withheld:
                other, exchanged = self._withheld.pop(key)
                exchanged.set_result(response)
                return other
        if (crossed := _next(self._crossed, symbol)) is not None:
            response = await self._exchanged((path, crossed.symbol), response, within_s=crossed.parameters)
        if (late := _next(self._late, symbol)) is not None:
            await asyncio.sleep(late.parameters)
        return response

    async def _exchanged(self, key: tuple[str, str | None], response: web.Response, *, within_s: float) -> web.Response:
        """The answer to the next request of this path and symbol; the own one where none comes in time."""
        exchanged: asyncio.Future[web.Response] = asyncio.get_running_loop().create_future()
        self._withheld[key] = response, exchanged
        await asyncio.wait({exchanged}, timeout=within_s)
        if exchanged.done():
            return exchanged.result()
        del self._withheld[key]
        return response


def _next(faults: list[_Limited[Parameters]], symbol: str | None) -> _Limited[Parameters] | None:
    """The oldest fault that applies to a request of the symbol; takes one from its count."""
    for fault in faults:
        if fault.symbol is None or fault.symbol == symbol:
            fault.count -= 1
            if fault.count <= 0:
                faults.remove(fault)
            return fault
    return None
