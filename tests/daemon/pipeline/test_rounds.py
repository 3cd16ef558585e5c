"""Rounds of several instruments: each goes out with those that are ready, and late ones have a later round."""

from __future__ import annotations

from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.answers import SequenceStart
from daemon.pipeline.events import ForecastIssued, RoundClosed, SymbolState
from daemon.pipeline.pipeline import Pipeline
from features.market import HOUR_US, Instrument
from tests.daemon.forecasting.forecast_builders import LEVELS, START_US
from tests.daemon.pipeline.builders import TIMEOUTS, feed, round_forecasts, start_sequences, trade
from tests.daemon.pipeline.stream_records import traits_of

BTC, ETH, SOL = (Instrument("binance", f"{base}-USDT") for base in ("BTC", "ETH", "SOL"))
OTHER = Instrument("kraken", "BTC-USDT")
CLOSE_US = START_US + HOUR_US
GRACE_US, PROOF_WAIT_US = TIMEOUTS.grace_us, TIMEOUTS.proof_wait_us
SECOND_US = 1_000_000


def pipeline_of(*instruments: Instrument, wait_for_leaders: bool = False) -> Pipeline:
    return Pipeline(
        instruments,
        interval_us=HOUR_US,
        traits={each.venue: traits_of() for each in instruments},
        timeouts=TIMEOUTS,
        scoreboard=Scoreboard(interval_us=HOUR_US, levels=LEVELS),
        wait_for_leaders=wait_for_leaders,
    )


def started(*instruments: Instrument, wait_for_leaders: bool = False) -> Pipeline:
    """All instruments are live in their first hour."""
    pipeline = pipeline_of(*instruments, wait_for_leaders=wait_for_leaders)
    start_sequences(pipeline, *instruments)
    for each in instruments:
        feed(pipeline, each, trade(2, 0.5))
    pipeline.events()
    return pipeline


def close(pipeline: Pipeline, instrument: Instrument, *, at_us: int) -> None:
    """The next trade, past the boundary, proves the bar."""
    sequence = pipeline.instruments[instrument].sequence_state()
    assert sequence is not None
    assert sequence.last_id is not None
    following = trade(sequence.last_id + 1, (at_us - START_US) / HOUR_US)
    pipeline.trades_received(instrument, [following], at_us, at_us / 1e6)


def rounds(pipeline: Pipeline) -> list[tuple[int, set[Instrument]]]:
    """The rounds of the events so far: hours of the close after the start, and the instruments."""
    events = [*pipeline.events(), *pipeline.events()]  # the second call scores
    assert not pipeline.has_events
    return [
        ((event.close_time_us - START_US) // HOUR_US, {bar.instrument for bar in event.bars})
        for event in events
        if isinstance(event, RoundClosed)
    ]


def advance(pipeline: Pipeline, to_us: int) -> None:
    pipeline.time_advanced(to_us, to_us / 1e6)


def test_a_round_goes_out_at_once_when_every_live_instrument_has_closed() -> None:
    pipeline = started(BTC, ETH)
    close(pipeline, BTC, at_us=CLOSE_US + 1000)
    assert rounds(pipeline) == []
    close(pipeline, ETH, at_us=CLOSE_US + 2000)
    assert rounds(pipeline) == [(1, {BTC, ETH})]


def test_a_late_instrument_is_waited_for_briefly_and_has_a_round_of_its_own() -> None:
    """Well before the wait for proof is over the others are forecast; nothing is announced twice or asked for again."""
    pipeline = started(BTC, ETH, SOL)
    for each in (BTC, SOL):
        close(pipeline, each, at_us=CLOSE_US + 1000)
    feed(pipeline, ETH, trade(4, 0.9))  # id 3 is missing
    now_us = CLOSE_US
    while not (announced := rounds(pipeline)):
        now_us += 100_000
        advance(pipeline, now_us)
    assert announced == [(1, {BTC, SOL})]
    assert CLOSE_US + GRACE_US < now_us <= CLOSE_US + GRACE_US + 2 * SECOND_US < CLOSE_US + PROOF_WAIT_US
    advance(pipeline, CLOSE_US + PROOF_WAIT_US - 1)
    assert rounds(pipeline) == []
    advance(pipeline, CLOSE_US + PROOF_WAIT_US)
    assert rounds(pipeline) == [(1, {ETH})]
    assert rounds(pipeline) == []


def test_a_slow_venue_delays_no_other() -> None:
    pipeline = started(BTC, OTHER)
    close(pipeline, BTC, at_us=CLOSE_US + 1000)
    feed(pipeline, OTHER, trade(4, 0.9))
    advance(pipeline, CLOSE_US + GRACE_US + 2 * SECOND_US)
    assert rounds(pipeline) == [(1, {BTC})]


def test_an_instrument_that_catches_up_does_not_hold_the_rounds() -> None:
    """After a start the venue does not answer for one of two: the other is forecast, hour after hour."""
    pipeline = pipeline_of(BTC, ETH)
    stored = started(BTC, ETH)
    for each in (BTC, ETH):
        state = stored.instruments[each].sequence_state()
        assert state is not None
        pipeline.resume(each, state, [], first_open_us=START_US)
    for hour in (1, 2):
        close_us = START_US + hour * HOUR_US
        feed(pipeline, BTC, trade(2 + hour, hour + 0.001))
        advance(pipeline, close_us + GRACE_US + 4 * SECOND_US)
        assert (hour, {BTC}) in rounds(pipeline)


def test_an_instrument_that_is_stale_or_delisted_is_not_waited_for() -> None:
    for unserved in (SymbolState.STALE, SymbolState.HALTED):
        pipeline = started(BTC, ETH)
        if unserved is SymbolState.HALTED:
            pipeline.instruments[ETH]._state.set_symbol_state(SymbolState.STALE, CLOSE_US - 1, "silent")
            pipeline.symbol_listed(ETH, CLOSE_US - 1, unlisted="delisted")
        else:
            pipeline.instruments[ETH]._state.set_symbol_state(unserved, CLOSE_US - 1, "silent")
        assert pipeline.instruments[ETH].state is unserved
        close(pipeline, BTC, at_us=CLOSE_US + 1000)
        assert rounds(pipeline) == [(1, {BTC})]


def test_one_that_is_behind_by_a_bar_is_not_waited_for() -> None:
    """It closes the missed bars later, each in a round of its own close, in order."""
    pipeline = started(BTC, ETH)
    for hour in (1, 2, 3):
        close(pipeline, BTC, at_us=START_US + hour * HOUR_US + 1000)
        assert rounds(pipeline) == ([] if hour == 1 else [(1, {BTC}), (2, {BTC})] if hour == 2 else [(3, {BTC})])
    close(pipeline, ETH, at_us=START_US + 3 * HOUR_US + 2000)
    assert rounds(pipeline) == [(1, {ETH}), (2, {ETH}), (3, {ETH})]


def test_late_instruments_share_a_round() -> None:
    """Closes that come one after the other within half a second are one round."""
    pipeline = started(BTC, ETH, SOL)
    close(pipeline, BTC, at_us=CLOSE_US + 1000)
    late_us = CLOSE_US + GRACE_US + 5 * SECOND_US
    pipeline.trades_received(BTC, [trade(4, 1.001)], late_us, late_us / 1e6)
    assert rounds(pipeline) == [(1, {BTC})]
    close(pipeline, ETH, at_us=late_us + 100_000)
    assert rounds(pipeline) == []
    close(pipeline, SOL, at_us=late_us + 300_000)
    assert rounds(pipeline) == [(1, {ETH, SOL})]


def test_each_round_issues_the_forecasts_of_its_instruments() -> None:
    """Those of a late round refer to their own bar, also after those of the first round and of the next hour."""
    pipeline = started(BTC, ETH)
    for hour in (1, 2):
        close(pipeline, BTC, at_us=START_US + hour * HOUR_US + 1000)
        rounds(pipeline)
    feed(pipeline, ETH, trade(3, 0.8, 55.0), trade(4, 2.001, 60.0))
    rounds(pipeline)
    issued = []
    for hour, symbol in ((1, "BTC-USDT"), (2, "BTC-USDT"), (1, "ETH-USDT")):
        pipeline.forecasts_made(round_forecasts(hour, symbol), now_us=CLOSE_US + HOUR_US + 2000)
        issued += [event.issued for event in pipeline.events() if isinstance(event, ForecastIssued)]
    assert [(each.forecast.symbol, each.reference_price) for each in issued] == [
        ("BTC-USDT", 100.0),
        ("BTC-USDT", 100.0),
        ("ETH-USDT", 55.0),
    ]


def test_a_round_that_is_done_leaves_nothing_behind() -> None:
    """An instrument that is never forecast costs no memory as the hours go by."""
    pipeline = started(BTC, ETH)
    for hour in range(1, 6):
        for each in (BTC, ETH):
            close(pipeline, each, at_us=START_US + hour * HOUR_US + 1000)
        (event,) = [event for event in pipeline.events() if isinstance(event, RoundClosed)]
        pipeline.forecasts_made(round_forecasts(hour, "BTC-USDT"), now_us=START_US + hour * HOUR_US + 2000)
        pipeline.round_done(event)
        assert pipeline.forecasts_waiting == 0


def leader_is_late(*, wait_for_leaders: bool) -> Pipeline:
    pipeline = started(BTC, ETH, OTHER, wait_for_leaders=wait_for_leaders)
    for each in (ETH, OTHER):
        close(pipeline, each, at_us=CLOSE_US + 1000)
    feed(pipeline, BTC, trade(4, 0.9))  # id 3 is missing
    advance(pipeline, CLOSE_US + GRACE_US + 2 * SECOND_US)
    return pipeline


def test_a_late_leader_is_not_waited_for_where_no_feature_reads_it() -> None:
    assert rounds(leader_is_late(wait_for_leaders=False)) == [(1, {ETH, OTHER})]


def test_where_features_read_the_leader_its_venue_waits_for_its_bar() -> None:
    """Until the leader's wait for proof is over, and at its venue only."""
    pipeline = leader_is_late(wait_for_leaders=True)
    assert rounds(pipeline) == [(1, {OTHER})]
    advance(pipeline, CLOSE_US + PROOF_WAIT_US)
    assert rounds(pipeline) == [(1, {BTC, ETH})]


def test_a_leader_that_does_not_come_releases_its_venue() -> None:
    """One that is stale is not waited for, and one that closes nothing holds its venue no longer than for proof."""
    pipeline = leader_is_late(wait_for_leaders=True)
    rounds(pipeline)
    pipeline.instruments[BTC]._state.set_symbol_state(SymbolState.STALE, CLOSE_US + 4 * SECOND_US, "silent")
    assert rounds(pipeline) == [(1, {ETH})]
    pipeline = leader_is_late(wait_for_leaders=True)
    rounds(pipeline)
    pipeline.instruments[BTC]._state.catching_up = True
    pipeline.time_advanced(CLOSE_US + PROOF_WAIT_US + 2 * SECOND_US, 1.0)
    assert rounds(pipeline) == [(1, {ETH})]


def test_a_venue_without_a_start_is_not_waited_for() -> None:
    pipeline = pipeline_of(BTC, OTHER)
    start_sequences(pipeline, BTC)
    close(pipeline, BTC, at_us=CLOSE_US + 1000)
    assert rounds(pipeline) == [(1, {BTC})]


def test_a_first_bar_counts_for_the_round_of_its_own_close() -> None:
    """An instrument that started in this hour has no bar of the last one."""
    pipeline = pipeline_of(BTC, ETH)
    start_sequences(pipeline, BTC)
    first = trade(1, 1.0005)
    start = SequenceStart([first], None)
    pipeline.start_sequence(ETH, start, from_time_us=CLOSE_US, now_us=first.time_us, wall_s=0.0)
    close(pipeline, BTC, at_us=first.time_us + 1000)
    assert rounds(pipeline) == [(1, {BTC})]
