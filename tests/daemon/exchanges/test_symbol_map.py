"""SymbolMap: finds the watched symbols, or with None every symbol."""

from __future__ import annotations

import pytest

from daemon.errors import ConfigError, DataFault
from daemon.exchanges.symbol_map import SymbolMap
from features.symbols import spell


def symbol_map(*symbols: str) -> SymbolMap:
    return SymbolMap("a venue", symbols, native=lambda base, quote: base + quote, spell=spell)


def open_map() -> SymbolMap:
    return SymbolMap("a venue", None, native=lambda base, quote: base + quote, spell=spell)


def test_watched_symbols_are_found() -> None:
    """Each is found by the venue's spelling, and by nothing else."""
    two = symbol_map("BTC-USDT", "ETH-USDT")
    assert two.native("BTC-USDT") == "BTCUSDT"
    assert two.find("ETHUSDT") == two.require("ETHUSDT") == "ETH-USDT"
    assert two.find("ethusdt") is None
    assert two.find("XRPUSDT") is None


def test_a_symbol_that_is_not_watched() -> None:
    """The fault names the venue and its spelling."""
    with pytest.raises(DataFault, match="a venue sent trades of 'XRPUSDT'"):
        symbol_map("BTC-USDT").require("XRPUSDT")


def test_spelling_another_symbol() -> None:
    """A symbol need not be watched to be spelt, e.g. for a REST request."""
    assert symbol_map("BTC-USDT").native("XRP-EUR") == "XRPEUR"


def test_the_watched_ones_of_a_list() -> None:
    """Only the watched symbols of a list are returned, in the order of the list."""
    two = symbol_map("BTC-USDT", "ETH-USDT")
    assert two.watched(["XRPUSDT", "ETHUSDT", "BTCUSDT"]) == ("ETH-USDT", "BTC-USDT")
    assert two.watched([]) == ()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc-usdt", "BTC-", "-USDT", "BTC-USDT-X", "BTC-USDT\n", "BTC USDT", ""])
def test_symbols_that_cannot_be_spelt(symbol: str) -> None:
    """Anything but BASE-QUOTE in capitals is a configuration error, in the constructor and in native()."""
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        symbol_map(symbol)
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        symbol_map("BTC-USDT").native(symbol)


def test_symbols_that_are_spelt_alike() -> None:
    """Two symbols with one spelling could not be distinguished; the same symbol twice is accepted."""
    with pytest.raises(ConfigError, match="a venue spells AB-CUSDT and ABC-USDT alike"):
        symbol_map("AB-CUSDT", "ABC-USDT")
    assert symbol_map("BTC-USDT", "BTC-USDT").find("BTCUSDT") == "BTC-USDT"


def test_a_recording_may_hold_any_symbol() -> None:
    """Every spelling is accepted: BASE-QUOTE where it can be derived, otherwise unchanged; native() is the reverse."""
    any_symbol = open_map()
    for _ in range(2):  # the second time from the cache
        assert any_symbol.require("BTCUSDT") == "BTC-USDT"
        assert any_symbol.require("FOOBAR") == "FOOBAR"
    assert any_symbol.watched(["FOOBAR", "ETHUSDT"]) == ("FOOBAR", "ETH-USDT")
    assert any_symbol.native("BTC-USDT") == "BTCUSDT"
    assert any_symbol.native("FOOBAR") == "FOOBAR"


def test_an_empty_list_watches_nothing() -> None:
    """An empty list is not None, which watches every symbol."""
    assert symbol_map().find("BTCUSDT") is None
