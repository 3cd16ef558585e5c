"""Tests of the ledger: named values, and its connection."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.store.ledger import Ledger
from tests.daemon.store.builders import BAR, BTC, state, trade
from tests.limits import LIMIT_S


def test_named_values(ledger: Ledger) -> None:
    """A value is kept under its name until it is replaced."""
    assert ledger.meta("champion") is None
    ledger.set_meta("champion", "a")
    ledger.set_meta("champion", "b")
    assert ledger.meta("champion") == "b"


def test_the_connection_moves_to_another_thread(ledger: Ledger) -> None:
    """Opened here, used by the store's own thread."""
    worker = threading.Thread(target=ledger.save_trades, args=(BTC, [trade(1)], state(1)))
    worker.start()
    worker.join(LIMIT_S)
    assert ledger.sequence_state(BTC) == state(1)


def test_close_is_final(path: Path) -> None:
    """After close the file holds everything in itself: no log is left beside it."""
    with Ledger(path) as ledger:
        ledger.save_bars([BAR])
    assert [each.name for each in path.parent.iterdir()] == ["ledger.db"]
    with pytest.raises(Exception, match="closed"):
        ledger.meta("x")
