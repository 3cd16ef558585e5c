"""How symbols are spelt (BASE-QUOTE everywhere) and which instance of several owns which symbol."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Longest first, so that BTCFDUSD splits before USD and BTCUSDT before USD.
QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "DAI", "BTC", "ETH", "BNB")

_SYMBOL = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")
_SEPARATORS = re.compile(r"[/_:.\s-]+")


def is_symbol(text: str) -> bool:
    """Whether ``text`` is spelt BASE-QUOTE in upper case, e.g. ``BTC-USDT``."""
    return _SYMBOL.fullmatch(text) is not None


def spell(text: str, quotes: Sequence[str] = QUOTES) -> str | None:
    """``btcusdt``, ``BTC/USDT`` or ``BTC_USDT`` as ``BTC-USDT``; None where base and quote cannot be separated."""
    parts = _SEPARATORS.split(text.strip().upper())
    if len(parts) == 1:
        parts = _split(parts[0], quotes)
    spelt = "-".join(parts)
    return spelt if is_symbol(spelt) else None


def _split(native: str, quotes: Sequence[str]) -> list[str]:
    for quote in sorted(quotes, key=len, reverse=True):
        if native.endswith(quote) and native != quote:
            return [native.removesuffix(quote), quote]
    return [native]
