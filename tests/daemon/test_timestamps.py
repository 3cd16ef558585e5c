"""RFC 3339 times: round trips, fractions and offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.timestamps import from_iso, iso


@given(st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1_000_000))
def test_iso_times_read_back(time_us: int) -> None:
    """A time written as RFC 3339 is the same time when read."""
    assert from_iso(iso(time_us)) == time_us


def test_iso_spells_what_the_contract_shows() -> None:
    """Seconds for bars, milliseconds for the moment of issue, always UTC."""
    time_us = from_iso("2026-01-05T13:00:02.114+00:00")
    assert iso(time_us, milliseconds=True) == "2026-01-05T13:00:02.114Z"
    assert iso(time_us) == "2026-01-05T13:00:02Z"
    assert from_iso("2026-01-05") == from_iso("2026-01-05T01:00:00+01:00")
