"""Venues are found by name."""

from __future__ import annotations

import pytest

from daemon.errors import ConfigError
from daemon.exchanges import VENUE_NAMES, venue


@pytest.mark.parametrize("name", VENUE_NAMES)
def test_known_venues(name: str) -> None:
    """Every listed name makes a venue of that name."""
    assert venue(name, ["BTC-USDT"]).name == name


def test_unknown_venue() -> None:
    """An unknown name is a configuration error that lists the known ones."""
    with pytest.raises(ConfigError, match=r"'binnance'; known venues: .*binance"):
        venue("binnance", ["BTC-USDT"])
