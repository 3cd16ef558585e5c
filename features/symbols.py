"""Symbols: spelt BASE-QUOTE everywhere, and the quote currencies by which a venue's spelling is split."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

QUOTE_CURRENCIES = (
    *("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "USDE", "USDS", "USDP", "USDD", "USD1", "XUSD", "RLUSD"),
    *("PYUSD", "BFUSD", "GUSD", "PAX", "UST", "U", "EURC", "EURI", "EURQ", "AEUR", "IDRT", "BIDR", "BKRW", "BVND"),
    *("USD", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "NZD", "TRY", "BRL", "ARS", "MXN", "COP", "PLN", "CZK", "RON"),
    *("UAH", "RUB", "ZAR", "NGN", "KRW", "INR", "IDR", "VND", "THB", "SGD", "HKD", "AED"),
    *("BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOGE", "DOT"),
)
"""The quote currencies of the supported venues: the one list of the program."""

_KNOWN_BASES = frozenset(
    (
        *QUOTE_CURRENCIES,
        *("ADA", "SHIB", "PEPE", "LTC", "LINK", "AVAX", "MATIC", "POL", "UNI", "ATOM", "XLM", "ETC", "BCH", "FIL"),
        *("NEAR", "APT", "ARB", "OP", "INJ", "SUI", "TON", "AAVE", "ALGO", "VET", "GRT", "MKR", "SAND", "MANA"),
        *("AXS", "FTM", "EOS", "XTZ", "THETA", "ICP", "HBAR", "QNT", "EGLD", "FLOW", "CHZ", "KSM", "ZEC", "XMR"),
        *("DASH", "NEO", "CRV", "COMP", "SNX", "YFI", "SUSHI", "1INCH", "BAT", "ENJ", "ZRX", "LRC", "WBTC", "PAXG"),
    )
)
"""Currencies that decide between two readings of one spelling; not complete."""

_SEPARATORS = re.compile(r"[/_:.\s-]+")
# A spelling such as BTCXEUR may hold a quote currency that is not in the list.
_NATIONAL = ("USD", "EUR", "GBP", "JPY", "TRY", "BRL")
_MOST_PREFIX_LETTERS = 2
_OBVIOUSLY_LONGER = 2


def is_symbol(text: str) -> bool:
    """Whether ``text`` is spelt BASE-QUOTE in letters and digits of any script, in upper case, e.g. ``BTC-USDT``."""
    base, dash, quote = text.partition("-")
    return bool(dash) and _is_currency(base) and _is_currency(quote)


def spell(text: str, quotes: Sequence[str] = QUOTE_CURRENCIES) -> str | None:
    """``btcusdt``, ``BTC/USDT`` or ``BTC_USDT`` as ``BTC-USDT``; None where base and quote cannot be separated."""
    parts = _SEPARATORS.split(unicodedata.normalize("NFC", text).strip().upper())
    if len(parts) == 1:
        parts = list(split_quote(parts[0], quotes) or parts)
    spelt = "-".join(parts)
    return spelt if is_symbol(spelt) else None


def split_quote(native: str, quotes: Sequence[str] = QUOTE_CURRENCIES) -> tuple[str, str] | None:
    """``BTCUSDT`` as ``("BTC", "USDT")``; None where no quote fits, or more than one reading is possible."""
    found = readings(native, quotes)
    return found[0] if len(found) == 1 else None


def readings(native: str, quotes: Sequence[str] = QUOTE_CURRENCIES) -> list[tuple[str, str]]:
    """The possible bases and quotes of a spelling in capitals without a separator, the longest quote first.

    Of several readings, those with a common base are kept: ``SHIBUSD`` is SHIB-USD, not SHI-BUSD. A quote that is
    at least two letters longer than the others is kept, too: ``XYZFDUSD`` is XYZ-FDUSD.
    """
    if native != letters_and_digits(native):
        return []
    fitting = sorted((quote for quote in quotes if native.endswith(quote) and native != quote), key=len, reverse=True)
    found = [(native.removesuffix(quote), quote) for quote in fitting]
    if len(found) == 1:
        return _with_unlisted_quote(*found[0])
    common = [reading for reading in found if reading[0] in _KNOWN_BASES]
    if common:
        return common
    obvious = found and len(found[0][1]) - len(found[1][1]) >= _OBVIOUSLY_LONGER
    return found[:1] if obvious else found


def letters_and_digits(name: str) -> str:
    """``name`` without separators, in upper case: ``BTCUSDT`` for ``BTC-USDT``, ``BTC/USDT`` and ``btcusdt``."""
    return "".join(filter(_is_letter_or_digit, unicodedata.normalize("NFC", name).upper()))


def why_not_split(native: str, quotes: Sequence[str] = QUOTE_CURRENCIES) -> str:
    """The reason why ``spell`` gives None for ``native``, as the predicate of a sentence."""
    found = readings(letters_and_digits(native), quotes)
    if len(found) > 1:
        return f"may be {' or '.join('-'.join(reading) for reading in found)}"
    return "does not end in a known quote currency"


def _with_unlisted_quote(base: str, quote: str) -> list[tuple[str, str]]:
    """The reading, after those in which a common base leaves a longer quote that is not listed: BTC-XEUR, BTCX-EUR."""
    unlisted = []
    if quote in _NATIONAL and base not in _KNOWN_BASES:
        for letters in range(1, _MOST_PREFIX_LETTERS + 1):
            if base[:-letters] in _KNOWN_BASES:
                unlisted.append((base[:-letters], base[-letters:] + quote))  # noqa: PERF401  # two rows at most
    return [*unlisted, (base, quote)]


def _is_currency(text: str) -> bool:
    return bool(text) and all(map(_is_letter_or_digit, text)) and text == unicodedata.normalize("NFC", text.upper())


def _is_letter_or_digit(character: str) -> bool:
    """Letters, digits, and the marks that some scripts write their vowels with."""
    return unicodedata.category(character)[0] in "LMN"
