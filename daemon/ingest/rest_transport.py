"""RestTransport: GET requests to one venue within its rate limits, with retries and a shared pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import NamedTuple

import aiohttp
import msgspec

from daemon.clock import Clock
from daemon.errors import DataFault, RateLimited, RegionRefused, Retryable, Unreachable
from daemon.exchanges.base import RestRequest, Venue
from daemon.ingest.http_errors import error_for_status, untrusted_certificate
from daemon.ingest.pacing import Backoff, Sleep, TokenBucket
from daemon.ingest.proxy import proxy_for, socks_errors


class RestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts (wall seconds) and limits of the REST edge."""

    timeout_s: float = 10.0
    attempts: int = 4
    backoff_first_s: float = 0.5
    backoff_cap_s: float = 8.0
    # A request waits for the end of a shorter pause; a longer one raises RateLimited.
    longest_pause_s: float = 30.0
    # After a refusal of the region or an untrusted certificate no request is sent for this long.
    refused_retry_s: float = 15.0
    most_body_bytes: int = 64 * 2**20  # Binance's exchangeInfo is the largest answer, about 10 MB
    pages_per_call: int = 10
    # Enough for a busy hour at a venue that cannot be asked by time, where pages begin at the newest trade.
    pages_per_start: int = 400


class RestAnswer(NamedTuple):
    """An answer of the venue.

    date: its Date header, empty if there is none. at_s: the middle of the successful round trip, in wall seconds.
    took_s: the duration of that round trip, without pauses and failed attempts.
    """

    body: bytes
    date: str
    at_s: float
    took_s: float


class RestTransport:
    """Sends requests to one venue's REST address.

    All requests of a process should use one transport: they share the rate limits.
    """

    def __init__(
        self,
        venue: Venue,
        rest_url: str,
        *,
        clock: Clock,
        settings: RestSettings,
        session: aiohttp.ClientSession | None = None,
        sleep: Sleep = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._venue = venue
        self._url = (rest_url or venue.default_rest_url).rstrip("/")
        self._clock = clock
        self._settings = settings
        self._session = session
        self._owns_session = session is None
        self._sleep = sleep
        self._draw = draw
        self._unreachable: tuple[type[Exception], ...] = (aiohttp.ClientError, TimeoutError, *socks_errors())
        self._budgets: dict[str, TokenBucket] = {}
        self._paused_until_s = clock.wall_s()
        self._was_answered = False
        self._refusal: RegionRefused | Unreachable | None = None
        self._refused_until_s = clock.wall_s()

    async def close(self) -> None:
        """Closes the session, unless the caller supplied it."""
        if self._session is not None and self._owns_session:
            await self._session.close()
            self._session = None

    async def get(self, request: RestRequest) -> RestAnswer:
        """The venue's answer.

        Raises RateLimited for a pause above ``longest_pause_s``, RegionRefused, Unreachable for an untrusted
        certificate (both also without a request until ``refused_retry_s`` after the last one), DataFault where the
        venue rejects the request or the body is too large, and Retryable once every attempt has failed.
        """
        backoff = Backoff(first_s=self._settings.backoff_first_s, cap_s=self._settings.backoff_cap_s, draw=self._draw)
        for attempts_left in reversed(range(self._settings.attempts)):
            await self._wait_out_pause()
            await self._budget(request.pace).take(request.weight)
            await (
                self._wait_out_pause()
            )  # another request may have been rate-limited while this one waited for the budget
            self._raise_refusal()
            try:
                return await self._attempt(request)
            except (RegionRefused, Unreachable) as error:
                self._refusal, self._refused_until_s = error, self._clock.wall_s() + self._settings.refused_retry_s
                raise
            except RateLimited as error:
                self._paused_until_s = max(self._paused_until_s, self._clock.wall_s() + error.retry_after_s)
                if not attempts_left:
                    raise
            except Retryable:
                if not attempts_left:
                    raise
                await self._sleep(backoff.next_s())
        raise AssertionError("the last attempt returns or raises")

    def _raise_refusal(self) -> None:
        if self._refusal is not None and self._clock.wall_s() < self._refused_until_s:
            raise type(self._refusal)(str(self._refusal))

    def _budget(self, pace: str) -> TokenBucket:
        if pace not in self._budgets:  # at most one for each instrument
            limits = self._venue.limits
            self._budgets[pace] = TokenBucket(
                limits.rest_burst, per_s=limits.rest_per_s, clock=self._clock, sleep=self._sleep
            )
        return self._budgets[pace]

    async def _wait_out_pause(self) -> None:
        while (pause_s := self._paused_until_s - self._clock.wall_s()) > 0:
            if pause_s > self._settings.longest_pause_s:
                raise RateLimited(f"{self._venue.name} allows no request for {pause_s:.0f} s", retry_after_s=pause_s)
            await self._sleep(pause_s)

    async def _attempt(self, request: RestRequest) -> RestAnswer:
        sent_s = self._clock.wall_s()
        try:
            async with self._opened_session().get(
                self._url + request.path,
                params=dict(request.query),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                allow_redirects=False,
            ) as response:
                body = await self._read(response)
        except aiohttp.ClientConnectorCertificateError as error:
            raise untrusted_certificate(self._url, error) from error
        except self._unreachable as error:
            raise Retryable(f"GET {self._url}{request.path}: {str(error) or type(error).__name__}") from error
        self._check_status(request, response, body)
        self._venue.check_answer(body)
        took_s = self._clock.wall_s() - sent_s
        return RestAnswer(body, response.headers.get("Date", ""), at_s=sent_s + took_s / 2, took_s=took_s)

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            proxy = proxy_for(self._url)
            connector = None if proxy is None else proxy.connector()
            url = None if proxy is None or proxy.socks else proxy.url
            self._session = aiohttp.ClientSession(connector=connector, proxy=url)
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._settings.most_body_bytes:
                response.close()
                raise DataFault(f"{self._venue.name} answered with more than {self._settings.most_body_bytes} bytes")
        return bytes(body)

    def _check_status(self, request: RestRequest, response: aiohttp.ClientResponse, body: bytes) -> None:
        status = response.status
        if status == 200:
            self._was_answered = True
            return
        error = error_for_status(self._venue.name, status, response.headers, key="rest_url")
        # The region cannot change at run time: a refusal after a first answer is temporary.
        if error is not None and not (isinstance(error, RegionRefused) and self._was_answered):
            raise error
        text = f"GET {self._url}{request.path} was answered with HTTP {status}: {body[:200]!r}"
        raise Retryable(text) if status >= 500 or error is not None else DataFault(text)
