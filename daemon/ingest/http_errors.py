"""Errors for HTTP statuses and certificates, shared by the websocket handshake and REST."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from daemon.errors import RateLimited, RegionRefused, Unreachable

REGION_STATUSES = (403, 451)
RATE_LIMIT_STATUSES = (418, 429)
LONGEST_RETRY_AFTER_S = 300.0


def error_for_status(
    venue_name: str, status: int, headers: Mapping[str, str], *, key: str
) -> RateLimited | RegionRefused | None:
    """The error for a refused region or a rate limit; None for any other status.

    headers: the response's, whose names are found in any case.
    key: the configuration key that the operator changes where the region is refused.
    """
    if status in REGION_STATUSES:
        return RegionRefused(
            f"{venue_name} refuses this region or address (HTTP {status}): "
            f"set {key} of its feed to a host that serves your region, or choose another venue"
        )
    if status in RATE_LIMIT_STATUSES:
        pause_s = retry_after_s(headers.get("Retry-After"), headers.get("Date"))
        return RateLimited(f"{venue_name} limits requests (HTTP {status})", retry_after_s=pause_s)
    return None


def untrusted_certificate(url: str, error: Exception) -> Unreachable:
    """The error for a TLS certificate that cannot be verified; retrying does not help."""
    return Unreachable(f"{url} shows a certificate that no trusted authority signed: {error}")


def retry_after_s(header: str | None, date: str | None = None, *, default_s: float = 60.0) -> float:
    """The seconds of a Retry-After header, at most ``LONGEST_RETRY_AFTER_S``: then the venue is probed again.

    A time in the header counts from ``date``, the response's own Date. ``default_s`` where it says nothing usable.
    """
    try:
        seconds = float(header or "")
    except ValueError:
        seconds = _seconds_between(date, header)
    return min(seconds, LONGEST_RETRY_AFTER_S) if 0 <= seconds < math.inf else default_s


def _seconds_between(earlier: str | None, later: str | None) -> float:
    """From one HTTP date to another; NaN where one is missing or none."""
    try:
        return (parsedate_to_datetime(later or "") - parsedate_to_datetime(earlier or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):  # TypeError: one of them has no time zone
        return math.nan


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine; requests to it bypass the proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
