"""Nearly good inputs: damaged bytes, and JSON tokens removed, doubled and replaced."""

from __future__ import annotations

import re
from random import Random

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.0-9A-Za-z_]+|[\[\]{},:]|\s+|.', re.DOTALL)

HOSTILE_NUMBERS = (
    b"NaN",
    b"nan",
    b"Infinity",
    b"-Infinity",
    b"inf",
    b"-1",
    b"0",
    b"-0.0",
    b"0.00000000",
    b"1e24",
    b"1e999",
    b"1e-400",
    b"9" * 400,
    b"0x10",
    b"1_0",
    b"abc",
)
"""What is no price and no size, written as a number or in a string."""

HOSTILE_VALUES = (
    *HOSTILE_NUMBERS,
    *(b'"' + number + b'"' for number in HOSTILE_NUMBERS),
    b'""',
    b"null",
    b"[]",
    b"{}",
    b"[1]",
)
"""The same, and values of other types."""

_TOKENS = (
    *HOSTILE_VALUES,
    b"true",
    b"false",
    b"7",
    b'"7"',
    b"10000000",
    b'"10000000"',
    b"9223372036854775807",
    b"9223372036854775808",
    b'"9223372036854775808"',
    b"18446744073709551616",
    b"1e3",
    b"1.5",
    b'"2200-01-01T00:00:00Z"',
    b'"0000-00-00T00:00:00Z"',
    b'"2021-04-04T20:03:11.314+99:99"',
    b'"\\ud800"',
    b'"\xff"',
    b"[[[[",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
)


def mutate(seed: bytes, random: Random) -> bytes:
    """``seed`` after one to three changes."""
    for _ in range(random.randint(1, 3)):
        seed = _swap_tokens(seed, random) if random.random() < 0.7 else _damage(seed, random)
    return seed


def _swap_tokens(seed: bytes, random: Random) -> bytes:
    tokens = _TOKEN.findall(seed)
    if not tokens:
        return random.choice(_TOKENS)
    at = random.randrange(len(tokens))
    match random.randrange(5):
        case 0:
            del tokens[at]
        case 1:
            tokens[at] = random.choice(tokens)
        case 2:
            end = random.randint(at, min(at + 12, len(tokens)))
            tokens[at:at] = tokens[at:end]
        case _:
            tokens[at] = random.choice(_TOKENS)
    return b"".join(tokens)


def _damage(seed: bytes, random: Random) -> bytes:
    at = random.randint(0, len(seed))
    damage = bytes(random.randrange(256) for _ in range(random.randrange(4)))
    return seed[:at] + damage + seed[at + random.randrange(4) :]
