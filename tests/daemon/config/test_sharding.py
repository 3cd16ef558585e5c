"""Sharding of instruments among instances."""

from __future__ import annotations

from daemon.config import load_config
from tests.daemon.config.loading import HOME


def test_shards_part_the_instruments() -> None:
    """Three instances with the same file share the symbols out among them."""
    symbols = [f"COIN{number}-USDT" for number in range(30)]
    shares = [
        load_config(
            command_line={"instance.shard": f"{n}/3", "feeds": [{"venue": "binance", "symbols": symbols}]}, environ=HOME
        ).instruments
        for n in range(3)
    ]
    assert sorted(each.symbol for share in shares for each in share) == sorted(symbols)
