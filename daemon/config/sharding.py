"""Assignment of symbols to instances by rendezvous hashing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple


class Shard(NamedTuple):
    """Instance ``number`` (from 0) of ``total``."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> Shard:
    """Parses ``"0/3"``. Raises ValueError unless 0 <= number < total."""
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and int(number) < int(total)):
        raise ValueError(f'was "{text}"; write this instance\'s number from 0 and their total, e.g. "0/1"')
    return Shard(int(number), int(total))


def shard_symbols(symbols: Sequence[str], shard: Shard) -> tuple[str, ...]:
    """The symbols that ``shard`` owns, in the order given.

    Rendezvous hashing: each symbol belongs to the instance with the highest hash of (symbol, instance), so a change
    from n to n + 1 instances moves only the symbols that the new instance takes over. The venue is not hashed: the same
    symbol of several venues belongs to one instance.
    """
    return tuple(symbol for symbol in symbols if _owning_instance(symbol, shard.total) == shard.number)


def _owning_instance(symbol: str, total: int) -> int:
    return max(range(total), key=lambda number: hashlib.blake2b(f"{symbol}|{number}".encode(), digest_size=8).digest())
