"""Errors for HTTP statuses and certificates, shared by the websocket handshake and REST."""

from __future__ import annotations

import ipaddress
import math
from urllib.parse import urlsplit

from daemon.errors import RateLimited, RegionRefused, Unreachable

REGION_STATUSES = (403, 451)
RATE_LIMIT_STATUSES = (418, 429)
LONGEST_RETRY_AFTER_S = 300.0


def error_for_status(
    venue_name: str, status: int, retry_after: str | None, *, key: str
) -> RateLimited | RegionRefused | None:
    """The error for a refused region or a rate limit; None for any other status.

    key: the configuration key that the operator changes where the region is refused.
    """
    if status in REGION_STATUSES:
        return RegionRefused(
            f"{venue_name} refuses this region or address (HTTP {status}): "
            f"set {key} of its feed to a host that serves your region, or choose another venue"
        )
    if status in RATE_LIMIT_STATUSES:
        return RateLimited(f"{venue_name} limits requests (HTTP {status})", retry_after_s=retry_after_s(retry_after))
    return None


def untrusted_certificate(url: str, error: Exception) -> Unreachable:
    """The error for a TLS certificate that cannot be verified; retrying does not help."""
    return Unreachable(f"{url} shows a certificate that no trusted authority signed: {error}")


def retry_after_s(header: str | None, *, default_s: float = 60.0) -> float:
    """The seconds of a Retry-After header, at most ``LONGEST_RETRY_AFTER_S``: then the venue is probed again.

    ``default_s`` where it is missing or a date, which no venue here sends.
    """
    try:
        seconds = float(header or "")
    except ValueError:
        return default_s
    return min(seconds, LONGEST_RETRY_AFTER_S) if 0 <= seconds < math.inf else default_s


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine; requests to it bypass the proxy."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
