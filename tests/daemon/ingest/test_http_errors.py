"""The meaning of HTTP statuses, and the addresses of this machine."""

from __future__ import annotations

import pytest

from daemon.errors import RateLimited, RegionRefused
from daemon.ingest.http_errors import error_for_status, is_loopback, retry_after_s


def test_refusals() -> None:
    """451 and 403 refuse the region, 429 and 418 ask for a pause, any other status does neither."""
    for status in (403, 451):
        assert isinstance(error_for_status("binance", status, {}, key="ws_url"), RegionRefused)
    for status in (418, 429):
        limited = error_for_status("binance", status, {"Retry-After": "3.5"}, key="ws_url")
        assert isinstance(limited, RateLimited)
        assert limited.retry_after_s == 3.5
    assert error_for_status("binance", 500, {"Retry-After": "3"}, key="ws_url") is None


@pytest.mark.parametrize("header", [None, "", "soon", "-1", "nan", "inf", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_unusable_retry_after(header: str | None) -> None:
    """Anything but a finite number of seconds means the default."""
    assert retry_after_s(header, default_s=60) == 60


NOW = "Sat, 28 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        ("Sat, 28 Nov 2026 12:00:25 GMT", NOW, 25),
        ("Saturday, 28-Nov-26 12:00:25 GMT", NOW, 25),
        ("Sat, 28 Nov 2026 12:00:00 GMT", NOW, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", NOW, 300),
        ("Sat, 28 Nov 2026 11:59:59 GMT", NOW, 60),
        ("Sat, 28 Nov 2026 12:00:25 GMT", None, 60),
        ("Sat, 28 Nov 2026 12:00:25 GMT", "now", 60),
        ("Sat, 28 Nov 2026 12:00:25", NOW, 60),
        ("Sat, 28 Nov 99999 12:00:25 GMT", NOW, 60),
    ],
)
def test_retry_after_a_time(header: str, date: str | None, seconds: float) -> None:
    """It counts from the response's own clock; a past time and what is no time mean the default."""
    assert retry_after_s(header, date) == seconds


@pytest.mark.parametrize("header", ["301", "99999999", "1e300"])
def test_long_retry_after(header: str) -> None:
    """A venue that asks for a pause of days is probed again after five minutes."""
    assert retry_after_s(header) == 300


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("ws://127.0.0.1:9000/x", True),
        ("http://127.8.8.8", True),
        ("ws://[::1]:1", True),
        ("ws://localhost:1", True),
        ("wss://data-stream.binance.vision", False),
        ("http://127.0.0.1.example.org", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback(url: str, here: bool) -> None:
    """Only this machine's own addresses are loopback."""
    assert is_loopback(url) is here
