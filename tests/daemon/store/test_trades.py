"""Trades and sequence states: together or not at all, also when the process is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.pipeline.sequence import MissingIds, SequenceState
from daemon.store.ledger import Ledger
from tests.daemon.store.builders import BTC, ETH, state, trade
from tests.paths import ROOT

WRITER = """
import sys
from pathlib import Path
from daemon.store.ledger import Ledger
from tests.daemon.store.builders import BTC, state, trade

with Ledger(Path(sys.argv[1])) as ledger:
    last = 0
    while True:
        ledger.save_trades(BTC, [trade(last + n) for n in range(1, 51)], state(last + 50))
        last += 50
        print(last, flush=True)
"""


def test_trades_and_state_come_back(ledger: Ledger) -> None:
    """Trades from a time on, in the order stored, and the state with its missing ranges."""
    known = SequenceState(last_id=9, last_time_us=9_000, covered_from_us=1, missing=(MissingIds(4, 5, 3_000, 6_000),))
    ledger.save_trades(BTC, [trade(1), trade(2)], state(2))
    ledger.save_trades(BTC, [trade(3), trade(6), trade(9)], known)
    ledger.save_trades(ETH, [trade(7)], state(7))
    assert ledger.open_trades(BTC, 2_000) == [trade(2), trade(3), trade(6), trade(9)]
    assert ledger.sequence_state(BTC) == known


def test_nothing_is_known_before_the_first_trade(ledger: Ledger) -> None:
    """An instrument that never traded has no state and no trades."""
    assert ledger.sequence_state(BTC) is None
    assert ledger.open_trades(BTC, 0) == []


def test_a_state_without_trades(ledger: Ledger) -> None:
    """A state may move on alone, for example when a gap is proven empty."""
    ledger.save_trades(BTC, [], state(5))
    assert ledger.sequence_state(BTC) == state(5)


def test_many_instruments_are_stored_at_once(ledger: Ledger) -> None:
    """Each with its own trades and state, and either all of them or none."""
    ledger.save_trades_of([(BTC, [trade(1), trade(2)], state(2)), (ETH, [trade(7)], state(7))])
    assert (ledger.open_trades(BTC, 0), ledger.sequence_state(BTC)) == ([trade(1), trade(2)], state(2))
    assert (ledger.open_trades(ETH, 0), ledger.sequence_state(ETH)) == ([trade(7)], state(7))
    beyond_int64 = trade(3, 2**63)
    with pytest.raises(OverflowError):
        ledger.save_trades_of([(BTC, [trade(3)], state(3)), (ETH, [beyond_int64], state(8))])
    assert ledger.sequence_state(BTC) == state(2)


def test_a_late_trade_is_found_by_its_own_time(ledger: Ledger) -> None:
    """A chunk is kept and read by the newest of its times, whatever their order."""
    ledger.save_trades(BTC, [trade(2, 9_000), trade(1, 1_000)], state(2))
    assert ledger.open_trades(BTC, 5_000) == [trade(2, 9_000)]


def test_prune_keeps_chunks_with_a_recent_trade(ledger: Ledger) -> None:
    """Only chunks that are older as a whole are deleted; the state stays."""
    ledger.save_trades(BTC, [trade(1)], state(1))
    ledger.save_trades(BTC, [trade(2), trade(9)], state(9))
    assert ledger.prune_trades(5_000) == 1
    assert ledger.open_trades(BTC, 0) == [trade(2), trade(9)]
    assert ledger.sequence_state(BTC) == state(9)


@pytest.mark.slow
def test_kill_leaves_trades_and_state_together(path: Path) -> None:
    """After kill -9 in the middle of writing every reported chunk is there, and the state covers exactly the trades."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline()) for _ in range(40)][-1]
        writer.kill()
    with Ledger(path) as ledger:
        stored = ledger.sequence_state(BTC)
        assert stored is not None
        assert stored.last_id >= reported
        assert [each.trade_id for each in ledger.open_trades(BTC, 0)] == list(range(1, stored.last_id + 1))
