"""How symbols are spelt (BASE-QUOTE everywhere) and which instance of several owns which symbol."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

# Longest first, so that BTCFDUSD splits before USD and BTCUSDT before USD.
QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "DAI", "BTC", "ETH", "BNB")

_SYMBOL = re.compile(r"[A-Z0-9]+-[A-Z0-9]+")
_SEPARATORS = re.compile(r"[/_:.\s-]+")


def is_symbol(text: str) -> bool:
    """Whether ``text`` is spelt BASE-QUOTE in upper case, e.g. ``BTC-USDT``."""
    return _SYMBOL.fullmatch(text) is not None


def spell(text: str, quotes: Sequence[str] = QUOTES) -> str | None:
    """``btcusdt``, ``BTC/USDT`` or ``BTC_USDT`` as ``BTC-USDT``; None where base and quote cannot be told apart."""
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


class Shard(NamedTuple):
    """Instance ``number`` (from 0) of ``total``."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> Shard:
    """``"0/3"`` as a Shard; raises ValueError unless 0 <= number < total."""
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and int(number) < int(total)):
        raise ValueError(f'was "{text}"; write this instance\'s number from 0 and their total, e.g. "0/1"')
    return Shard(int(number), int(total))


def shard_symbols(symbols: Sequence[str], shard: Shard) -> tuple[str, ...]:
    """The symbols that ``shard`` owns, in the order given.

    Rendezvous hashing: every symbol goes to the instance with the highest hash of (symbol, instance), so that a
    change from n to n + 1 instances moves only the symbols that the new one takes over. The venue plays no part:
    one symbol's venues stay together.
    """
    return tuple(symbol for symbol in symbols if _owner(symbol, shard.total) == shard.number)


def _owner(symbol: str, total: int) -> int:
    return max(range(total), key=lambda number: hashlib.blake2b(f"{symbol}|{number}".encode(), digest_size=8).digest())
