"""Which symbol a frame speaks of: only the symbols asked for, or with None whatever comes."""

from __future__ import annotations

import pytest

from daemon.errors import ConfigError, DataFault
from daemon.exchanges.names import Names
from features.symbols import spell


def names(*symbols: str) -> Names:
    return Names("a venue", symbols, native=lambda base, quote: base + quote, spell=spell)


def open_names() -> Names:
    return Names("a venue", None, native=lambda base, quote: base + quote, spell=spell)


def test_symbols_that_were_asked_for() -> None:
    """Each is found by the venue's spelling, and by nothing else."""
    two = names("BTC-USDT", "ETH-USDT")
    assert two.native("BTC-USDT") == "BTCUSDT"
    assert two.find("ETHUSDT") == two.known("ETHUSDT") == "ETH-USDT"
    assert two.find("ethusdt") is None
    assert two.find("XRPUSDT") is None


def test_a_symbol_that_nobody_asked_for() -> None:
    """The fault names the venue and its spelling."""
    with pytest.raises(DataFault, match="a venue sent trades of 'XRPUSDT'"):
        names("BTC-USDT").known("XRPUSDT")


def test_spelling_another_symbol() -> None:
    """A symbol need not be watched to be spelt, e.g. for a question by REST."""
    assert names("BTC-USDT").native("XRP-EUR") == "XRPEUR"


def test_those_present() -> None:
    """Of a venue's list only what was asked for is left, in the list's order."""
    two = names("BTC-USDT", "ETH-USDT")
    assert two.present(["XRPUSDT", "ETHUSDT", "BTCUSDT"]) == ("ETH-USDT", "BTC-USDT")
    assert two.present([]) == ()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc-usdt", "BTC-", "-USDT", "BTC-USDT-X", "BTC-USDT\n", "BTC USDT", ""])
def test_symbols_that_cannot_be_spelt(symbol: str) -> None:
    """Anything but BASE-QUOTE in capitals is a configuration error, when made and when asked later."""
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        names(symbol)
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        names("BTC-USDT").native(symbol)


def test_symbols_that_are_spelt_alike() -> None:
    """Their trades could not be told apart; the same symbol twice is no trouble."""
    with pytest.raises(ConfigError, match="a venue spells AB-CUSDT and ABC-USDT alike"):
        names("AB-CUSDT", "ABC-USDT")
    assert names("BTC-USDT", "BTC-USDT").find("BTCUSDT") == "BTC-USDT"


def test_a_recording_holds_whatever_it_holds() -> None:
    """Every spelling is taken: as BASE-QUOTE where it can be told, else as it is; the way back is the same."""
    any_names = open_names()
    for _ in range(2):  # the second time from memory
        assert any_names.known("BTCUSDT") == "BTC-USDT"
        assert any_names.known("FOOBAR") == "FOOBAR"
    assert any_names.present(["FOOBAR", "ETHUSDT"]) == ("FOOBAR", "ETH-USDT")
    assert any_names.native("BTC-USDT") == "BTCUSDT"
    assert any_names.native("FOOBAR") == "FOOBAR"


def test_nobody_asked_for_anything() -> None:
    """No symbols is not the same as any symbol."""
    assert names().find("BTCUSDT") is None
