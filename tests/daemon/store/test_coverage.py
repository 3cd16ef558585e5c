"""States stored after a loss cover no lost trade: a restart never takes an incomplete bar for complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.pipeline.sequence import MissingIds, SequenceState
from daemon.store.coverage import TradeBatch, TradeCoverage
from features.market import HOUR_US, Trade
from tests.daemon.store.builders import BTC, ETH


def batch(*hours: float, covered_from: int = 0, missing: tuple[MissingIds, ...] = ()) -> TradeBatch:
    """Trades at these hours, with ids by the hundredth of an hour, and the state that covers them."""
    trades = [Trade(round(hour * 100), round(hour * HOUR_US), 100.0, 1.0, True) for hour in hours]  # its side
    state = SequenceState(
        last_id=trades[-1].trade_id,
        last_time_us=trades[-1].time_us,
        covered_from_us=covered_from * HOUR_US,
        missing=missing,
    )
    return BTC, trades, state


def test_without_a_loss_everything_is_stored_unchanged() -> None:
    """Batches and states pass as they are."""
    batches = [batch(0.1, 0.2), (ETH, *batch(0.3)[1:])]
    assert TradeCoverage(HOUR_US).storable(batches) == batches


def test_after_a_loss_the_rest_of_its_bar_is_not_stored() -> None:
    """The stored state stays the one before the loss, from which a restart fetches what was lost."""
    coverage = TradeCoverage(HOUR_US)
    coverage.lost([batch(3.2, 3.4)])
    assert coverage.storable([batch(3.5, 3.9)]) == []


def test_from_the_next_bar_on_states_cover_that_bar_only() -> None:
    """Trades and gaps of the bar with the loss are left out, and coverage begins with the next bar."""
    coverage = TradeCoverage(HOUR_US)
    coverage.lost([batch(3.2, 3.4)])
    gaps = (MissingIds(1, 2, int(3.5 * HOUR_US), int(3.6 * HOUR_US)), MissingIds(3, 4, 4 * HOUR_US, 4 * HOUR_US + 9))
    ((instrument, trades, state),) = coverage.storable([batch(3.9, 4.1, missing=gaps)])
    assert instrument == BTC
    assert [trade.trade_id for trade in trades] == [410]
    assert (state.covered_from_us, state.missing) == (4 * HOUR_US, gaps[1:])
    ((_, _, later),) = coverage.storable([batch(7.5)])
    assert later.covered_from_us == 4 * HOUR_US


def test_another_instrument_is_not_affected() -> None:
    """A loss of one instrument leaves the others as they are."""
    coverage = TradeCoverage(HOUR_US)
    coverage.lost([batch(3.2)])
    other = (ETH, *batch(3.5)[1:])
    assert coverage.storable([other]) == [other]


def test_a_sequence_that_began_after_the_loss_is_stored() -> None:
    """A state that covers nothing of the loss passes."""
    coverage = TradeCoverage(HOUR_US)
    coverage.lost([batch(3.2)])
    fresh = batch(4.5, covered_from=4)
    assert coverage.storable([fresh]) == [fresh]


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=40))
def test_every_trade_that_a_stored_state_covers_is_stored(steps: list[tuple[int, bool]]) -> None:
    """Whatever is lost: from its coverage to its watermark, the newest stored state has every trade."""
    coverage, hour = TradeCoverage(HOUR_US), 0.0
    sent: list[Trade] = []
    stored: list[Trade] = []
    newest: SequenceState | None = None
    for step, fails in steps:
        hour += step / 10
        each = batch(round(hour, 1))
        sent += each[1]
        storable = coverage.storable([each])
        if fails:
            coverage.lost(storable or [each])
            continue
        for _, trades, state in storable:
            stored += trades
            newest = state
    if newest is not None:
        covered = [each for each in sent if newest.covered_from_us <= each.time_us and each.trade_id <= newest.last_id]
        assert set(covered) <= set(stored)
