"""Symbols: spelt BASE-QUOTE everywhere, and the quote currencies by which a venue's spelling is split."""

from __future__ import annotations

import re
from collections.abc import Sequence

QUOTE_CURRENCIES = (
    *("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "DAI", "USD", "EUR", "GBP", "JPY", "TRY", "BRL"),
    *("BTC", "ETH", "BNB"),
)

_SYMBOL = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")
_SEPARATORS = re.compile(r"[/_:.\s-]+")


def is_symbol(text: str) -> bool:
    """Whether ``text`` is spelt BASE-QUOTE in upper case, e.g. ``BTC-USDT``."""
    return _SYMBOL.fullmatch(text) is not None


def spell(text: str, quotes: Sequence[str] = QUOTE_CURRENCIES) -> str | None:
    """``btcusdt``, ``BTC/USDT`` or ``BTC_USDT`` as ``BTC-USDT``; None where base and quote cannot be separated."""
    parts = _SEPARATORS.split(text.strip().upper())
    if len(parts) == 1:
        parts = list(split_quote(parts[0], quotes) or parts)
    spelt = "-".join(parts)
    return spelt if is_symbol(spelt) else None


def split_quote(native: str, quotes: Sequence[str] = QUOTE_CURRENCIES) -> tuple[str, str] | None:
    """``BTCUSDT`` as ``("BTC", "USDT")``, the longest quote that fits; None where none does."""
    for quote in sorted(quotes, key=len, reverse=True):
        if native.endswith(quote) and native != quote:
            return native.removesuffix(quote), quote
    return None
