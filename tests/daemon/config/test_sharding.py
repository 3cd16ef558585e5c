"""Sharding of instruments among instances."""

from __future__ import annotations

from daemon.config import load_config
from tests.daemon.config.loading import HOME


def test_each_instrument_belongs_to_one_shard() -> None:
    """The shards of three instances with the same file cover each symbol exactly once."""
    symbols = [f"COIN{number}-USDT" for number in range(30)]
    shares = [
        load_config(
            command_line={"instance.shard": f"{n}/3", "feeds": [{"venue": "binance", "symbols": symbols}]}, environ=HOME
        ).instruments
        for n in range(3)
    ]
    assert sorted(each.symbol for share in shares for each in share) == sorted(symbols)
