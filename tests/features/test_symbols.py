"""Spelling of symbols, and which instance owns which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.sharding import Shard, parse_shard, shard_symbols
from features.symbols import is_symbol, spell, why_not_split

SYMBOLS = tuple(f"COIN{number}-USDT" for number in range(300))


@pytest.mark.parametrize(
    ("written", "spelt"),
    [
        ("BTCUSDT", "BTC-USDT"),
        ("btc/usdt", "BTC-USDT"),
        ("BTC_USDT", "BTC-USDT"),
        (" eth-btc ", "ETH-BTC"),
        ("BTCFDUSD", "BTC-FDUSD"),
        ("BTCUSD", "BTC-USD"),
        ("1000SHIBUSDT", "1000SHIB-USDT"),
        ("BTCAEUR", "BTC-AEUR"),
        ("BNBXUSD", "BNB-XUSD"),
        ("ETHRLUSD", "ETH-RLUSD"),
        ("BTCUSD1", "BTC-USD1"),
        ("BTCU", "BTC-U"),
        ("SHIBUSD", "SHIB-USD"),
        ("XYZFDUSD", "XYZ-FDUSD"),
        ("币安人生USDT", "币安人生-USDT"),
        ("币安人生usdt", "币安人生-USDT"),
        ("निफ्टी/usdt", "निफ्टी-USDT"),
        ("FOOBUSD", None),
        ("USDTUSD", None),
        ("BTCXEUR", None),
        ("USDT", None),
        ("SOMETHING", None),
        ("A-B-C", None),
        ("", None),
    ],
)
def test_spell(written: str, spelt: str | None) -> None:
    """A foreign spelling becomes BASE-QUOTE if base and quote can be distinguished."""
    assert spell(written) == spelt


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("BTC-USDT", True),
        ("币安人生-USDT", True),
        ("ΩMEGA-EUR", True),
        ("ωMEGA-EUR", False),
        ("btc-USDT", False),
        ("BTC-", False),
        ("BTC-USDT-SWAP", False),
        ("BTC-US DT", False),
        ("BTC-U+", False),
        ("BTC-U#", False),
        ("BTC-U/T", False),
        ("😀-USDT", False),
    ],
)
def test_symbols_have_letters_and_digits_of_any_script(text: str, *, good: bool) -> None:
    """No separators, signs or wildcards of MQTT."""
    assert is_symbol(text) is good


@pytest.mark.parametrize(
    ("native", "says"),
    [
        ("FOOBUSD", "may be FOO-BUSD or FOOB-USD"),
        ("BTCXEUR", "may be BTC-XEUR or BTCX-EUR"),
        ("NOSUCHPAIR", "does not end in a known quote currency"),
    ],
)
def test_the_reason_why_a_name_is_not_split(native: str, says: str) -> None:
    """All readings are named."""
    assert why_not_split(native) == says


@given(st.text(max_size=12))
def test_spell_makes_symbols_only(text: str) -> None:
    """Whatever is spelt is a symbol, and a symbol is spelt as it is."""
    spelt = spell(text)
    assert spelt is None or (is_symbol(spelt) and spell(spelt) == spelt)


@pytest.mark.parametrize("text", ["1/1", "0/0", "-1/2", "a/b", "1", "", "0/1/2"])
def test_bad_shards(text: str) -> None:
    """A shard is a number from 0, below the total."""
    with pytest.raises(ValueError, match="write this instance's number"):
        parse_shard(text)


@given(st.integers(1, 9))
def test_shards_part_the_symbols(total: int) -> None:
    """Every symbol belongs to exactly one instance, in the order given."""
    parts = [shard_symbols(SYMBOLS, Shard(number, total)) for number in range(total)]
    assert sorted(symbol for part in parts for symbol in part) == sorted(SYMBOLS)
    assert all(list(part) == sorted(part, key=SYMBOLS.index) for part in parts)


@given(st.integers(1, 8))
def test_growing_moves_symbols_to_the_new_instance_only(total: int) -> None:
    """One instance more takes symbols from the others and moves none between them."""
    for number in range(total):
        before = set(shard_symbols(SYMBOLS, Shard(number, total)))
        assert set(shard_symbols(SYMBOLS, Shard(number, total + 1))) <= before


def test_shares_are_even() -> None:
    """No instance of three owns less than a quarter or more than half of 300 symbols."""
    shares = [len(shard_symbols(SYMBOLS, Shard(number, 3))) for number in range(3)]
    assert all(75 <= share <= 150 for share in shares)


def test_ownership_is_stable() -> None:
    """The hash is part of the public behaviour: other instances may run another version."""
    assert shard_symbols(("BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT"), Shard(0, 2)) == (
        "BTC-USDT",
        "SOL-USDT",
        "XRP-USDT",
    )
