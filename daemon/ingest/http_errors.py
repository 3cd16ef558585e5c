"""What an HTTP status of a venue means, at the websocket's handshake and at REST alike."""

from __future__ import annotations

import ipaddress
import math
from urllib.parse import urlsplit

from daemon.errors import RateLimited, RegionRefused

REGION_STATUSES = (403, 451)
RATE_LIMIT_STATUSES = (418, 429)


def error_for_status(
    venue_name: str, status: int, retry_after: str | None, *, key: str
) -> RateLimited | RegionRefused | None:
    """The error for a status that refuses us; None for any other. ``key`` is the configuration key that cures it."""
    if status in REGION_STATUSES:
        return RegionRefused(
            f"{venue_name} refuses this region or address (HTTP {status}): "
            f"set {key} of its feed to a host that serves your region, or choose another venue"
        )
    if status in RATE_LIMIT_STATUSES:
        return RateLimited(f"{venue_name} asks for a pause (HTTP {status})", retry_after_s=retry_after_s(retry_after))
    return None


def retry_after_s(header: str | None, *, default_s: float = 60.0) -> float:
    """The seconds of a Retry-After header; ``default_s`` where it is missing or a date, which no venue here sends."""
    try:
        seconds = float(header or "")
    except ValueError:
        return default_s
    return seconds if 0 <= seconds < math.inf else default_s


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine, which no proxy should see."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
