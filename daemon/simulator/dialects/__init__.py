"""The protocols of the venues: one file for each, and ``dialect`` to find one by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from daemon.simulator.dialects.base import Dialect
from daemon.simulator.dialects.binance import Binance
from daemon.simulator.dialects.bitstamp import Bitstamp
from daemon.simulator.dialects.bybit import Bybit, BybitLinear
from daemon.simulator.dialects.coinbase import Coinbase
from daemon.simulator.dialects.kraken import Kraken
from daemon.simulator.dialects.okx import Okx

DIALECTS: Mapping[str, type[Dialect]] = MappingProxyType(
    {each.name: each for each in (Binance, Coinbase, Kraken, Bybit, BybitLinear, Okx, Bitstamp)}
)

__all__ = ["DIALECTS", "Dialect"]
