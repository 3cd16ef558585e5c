"""Continuity where ids prove nothing: what was heard without an interruption, and what the venue mends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.pipeline import time_continuity
from daemon.pipeline.continuity import Admission, CompletenessReport, MissingRange
from daemon.pipeline.fast_path import IdentityFastPath
from daemon.pipeline.sequence import Interruption, SequenceState
from daemon.pipeline.time_continuity import TimeContinuity
from features.bars import OpenBar
from features.market import Completeness, Instrument, MissingTrades, Trade
from tests.daemon.pipeline.stream_records import stream_records, traits_of

BEGIN_US = 1_000


def continuity(*interruptions: Interruption) -> TimeContinuity:
    return TimeContinuity(
        SequenceState(
            last_id=-1, last_time_us=BEGIN_US - 1, covered_from_us=BEGIN_US, interruptions=tuple(interruptions)
        )
    )


def trade(time_us: int, identity: int | None = None) -> Trade:
    return Trade(time_us if identity is None else identity, time_us, 1.0, 1.0, True)


def take_and_settle(
    sequence: TimeContinuity, trades: list[Trade], from_us: int, until_us: int
) -> tuple[int, list[Trade]]:
    """How many the flow into a bar of these bounds takes at once, and which of them are new."""
    heard = IdentityFastPath(traits_of())
    heard.continuity = sequence
    heard.bar = OpenBar(Instrument("bybit", "BTC-USDT"), open_time_us=from_us, interval_us=until_us - from_us)
    return heard.take_next(stream_records(trades)), heard.flush()


def take(sequence: TimeContinuity, trades: list[Trade], from_us: int, until_us: int) -> int:
    taken, new = take_and_settle(sequence, trades, from_us, until_us)
    assert new == trades[:taken]
    return taken


def known(
    sequence: TimeContinuity, open_us: int, close_us: int, *, now_us: int, grace_us: int = 0
) -> CompletenessReport:
    return sequence.completeness_of(open_us, close_us, now_us=now_us, grace_us=grace_us)


def answer(sequence: TimeContinuity, after_us: int, *, complete: bool, asked_at_us: int) -> None:
    sequence.record_answer(
        MissingRange(None, None, after_us), head_reached=True, complete=complete, asked_at_us=asked_at_us
    )


def test_trades_are_new_by_their_identity() -> None:
    """Order of ids and holes between them mean nothing; only a known identity is a duplicate."""
    sequence = continuity()
    assert sequence.admit(trade(2_000, 77)) is Admission.JOINED
    assert sequence.admit(trade(2_000, 5)) is Admission.JOINED
    assert sequence.admit(trade(1_500, 900)) is Admission.FILLED
    assert sequence.last_time_us == 2_000
    for time_us, identity in ((2_000, 77), (2_000, 5), (1_500, 900)):
        assert sequence.admit(trade(time_us, identity)) is Admission.DUPLICATE
    assert sequence.missing_trades == 0
    assert sequence.complete


def test_trades_of_before_the_beginning_are_not_asked() -> None:
    """A page that reaches back behind the beginning brings nothing of there."""
    sequence = continuity()
    assert sequence.admit(trade(BEGIN_US - 1)) is Admission.DUPLICATE
    assert sequence.admit(trade(BEGIN_US)) is Admission.JOINED


def test_take_is_admit_for_the_newest_alone() -> None:
    """It stops at the first trade that is known, older than the newest, or outside the bounds, and notes no other."""
    sequence = continuity()
    assert take(sequence, [trade(2_000, 1), trade(2_000, 2), trade(2_100, 3)], 2_000, 3_000) == 3
    assert (sequence.last_id, sequence.last_time_us) == (3, 2_100)
    before = sequence.state()
    for other in (trade(2_100, 2), trade(2_099, 4), trade(3_000, 4)):
        assert take(sequence, [other, trade(2_500, 5)], 2_000, 3_000) == 0
    assert take(sequence, [trade(2_500, 5)], 2_600, 3_000) == 0
    assert sequence.state() == before
    assert take(sequence, [trade(2_200, 4), trade(2_200, 4), trade(2_300, 5)], 2_000, 3_000) == 1
    assert sequence.last_time_us == 2_200
    assert sequence.admit(trade(2_300, 5)) is Admission.JOINED, "nothing was noted of it"


@given(
    st.lists(st.lists(st.tuples(st.integers(1_000, 1_400), st.integers(0, 30)), min_size=1), max_size=20),
    st.integers(1_000, 1_400),
    st.sampled_from([3, 16_384]),
)
def test_no_identity_is_counted_twice(batches: list[list[tuple[int, int]]], from_us: int, remembered: int) -> None:
    """Whatever the order and the way in, each comes once, and the quick way counts what the other would.

    Where more comes than is remembered, the ways may forget at other moments, and then take the late for known; an
    identity is then known by its time as well, of which a trade has one.
    """
    forgets = remembered == 3

    def identity_at(time_us: int, number: int) -> int:
        return 100 * time_us + number if forgets else number

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_continuity, "REMEMBERED_IDS", remembered)
        quick, plain = continuity(), continuity()
        counted: list[int] = []
        for batch in batches:
            trades = [trade(time_us, identity_at(time_us, identity)) for time_us, identity in batch]
            taken, new = take_and_settle(quick, trades, from_us, 1_300)
            new += [each for each in trades[taken:] if quick.admit(each) is not Admission.DUPLICATE]
            by_plain = [each for each in trades if plain.admit(each) is not Admission.DUPLICATE]
            assert forgets or new == by_plain
            counted += [each.trade_id for each in new]
        assert forgets or quick.state() == plain.state()
    told_ids = {identity_at(time_us, identity) for batch in batches for time_us, identity in batch}
    assert len(counted) == len(set(counted))
    assert forgets or set(counted) == told_ids


def test_identities_are_remembered_across_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least so many of the newest are known; what is older than those is taken for known, never for new."""
    monkeypatch.setattr(time_continuity, "REMEMBERED_IDS", 4)
    sequence = continuity()
    for number in range(2_000, 2_011):
        sequence.admit(trade(number))
        for recent in range(max(2_000, number - 3), number + 1):
            assert sequence.admit(trade(recent)) is Admission.DUPLICATE, "one of the newest four"
    for number in range(2_000, 2_011):
        assert sequence.admit(trade(number)) is Admission.DUPLICATE
    late = trade(2_000, identity=999)
    assert sequence.admit(late) is Admission.DUPLICATE, "nobody knows any more whether it was counted"
    assert sequence.admit(trade(2_010, identity=998)) is Admission.JOINED
    assert len(sequence.recent_ids) + len(sequence.earlier_ids) <= 8


def test_identities_of_the_stored_trades_are_known_after_a_restart() -> None:
    """Trades that come again, on the new connection or in a page, are not counted again."""
    sequence = continuity()
    heard = [trade(2_000), trade(2_100), trade(2_100, 7)]
    for each in heard:
        sequence.admit(each)
    again = TimeContinuity(sequence.state(), heard[1:], known_from_us=2_100)
    assert [again.admit(each) for each in heard] == [Admission.DUPLICATE] * 3
    assert again.admit(trade(2_100, 8)) is Admission.JOINED
    assert again.state().covered_from_us == BEGIN_US


def test_an_interruption_is_news_once() -> None:
    """While nobody listens, further failures change nothing."""
    sequence = continuity()
    assert sequence.begin_interruption(5_000)
    assert not sequence.begin_interruption(6_000)
    assert sequence.interruptions == [Interruption(5_000)]
    sequence.end_interruption(7_000)
    sequence.end_interruption(8_000)
    assert sequence.interruptions == [Interruption(5_000, 7_000)]
    assert sequence.begin_interruption(9_000)
    assert sequence.interruptions == [Interruption(5_000, 7_000), Interruption(9_000)]


def test_what_is_known_of_a_bar_that_was_heard() -> None:
    """Nothing proves it, and it is as good as it gets once its end is heard, or grace has passed."""
    sequence = continuity()
    sequence.admit(trade(2_500))
    unproven = Completeness.UNPROVEN
    assert known(sequence, 2_000, 3_000, now_us=3_099, grace_us=100) == CompletenessReport(unproven, 0, final=False)
    assert known(sequence, 2_000, 3_000, now_us=3_100, grace_us=100) == CompletenessReport(unproven, 0, final=True)
    sequence.admit(trade(3_000))
    assert known(sequence, 2_000, 3_000, now_us=3_000, grace_us=100) == CompletenessReport(unproven, 0, final=True)


def test_an_interval_without_trades_is_proven_by_the_venue_itself() -> None:
    """Its own list, asked after close and grace and reaching back over the interval, holds none."""
    sequence = continuity()
    sequence.admit(trade(1_500))

    def verdict() -> CompletenessReport:
        return known(sequence, 2_000, 3_000, now_us=9_000, grace_us=100)

    assert verdict() == CompletenessReport(Completeness.UNPROVEN, 0, final=False)
    answer(sequence, 1_500, complete=True, asked_at_us=3_099)
    assert verdict() == CompletenessReport(Completeness.UNPROVEN, 0, final=False), "asked too early"
    answer(sequence, 1_500, complete=False, asked_at_us=3_500)
    assert verdict() == CompletenessReport(Completeness.UNPROVEN, 0, final=False), "the list did not reach back"
    answer(sequence, 2_001, complete=True, asked_at_us=3_500)
    assert verdict() == CompletenessReport(Completeness.UNPROVEN, 0, final=False), "it was not asked for all of it"
    answer(sequence, 2_000, complete=True, asked_at_us=3_100)
    assert verdict() == CompletenessReport(Completeness.PROVEN, 0, final=True)


@pytest.mark.parametrize(
    ("interruption", "touched"),
    [
        (Interruption(2_500, 2_600), True),
        (Interruption(1_000, 2_001), True),
        (Interruption(2_999, 9_000), True),
        (Interruption(2_999), True),
        (Interruption(1_000, 2_000), False),
        (Interruption(3_000, 4_000), False),
        (Interruption(3_000), False),
        (Interruption(2_500, 2_600, given_up=True), True),
    ],
)
def test_an_interruption_makes_gaps_of_the_bars_it_touches(interruption: Interruption, touched: bool) -> None:
    """Nobody knows how many trades are lost, and the bar says between which times."""
    sequence = continuity(interruption)
    sequence.admit(trade(4_000))
    verdict = known(sequence, 2_000, 3_000, now_us=9_000)
    if touched:
        lost = MissingTrades(None, None, interruption.after_us, interruption.before_us)
        assert verdict == CompletenessReport(Completeness.GAP, None, final=False, ranges=(lost,))
    else:
        assert verdict == CompletenessReport(Completeness.UNPROVEN, 0, final=True)


def test_a_page_that_reaches_back_mends() -> None:
    """All that was lost since then is in it."""
    sequence = continuity(Interruption(2_000, 3_000), Interruption(4_000, 5_000))
    assert not sequence.complete
    assert sequence.next_missing() == MissingRange(None, None, 2_000)
    answer(sequence, 2_000, complete=True, asked_at_us=6_000)
    assert sequence.interruptions == []
    assert sequence.complete
    assert sequence.next_missing() is None


def test_a_page_mends_only_what_it_reaches_and_what_was_over() -> None:
    """Earlier interruptions, and what goes on while it is asked, stay."""
    earlier, later, open_one = Interruption(2_000, 3_000), Interruption(4_000, 9_000), Interruption(9_500)
    sequence = continuity(earlier, Interruption(3_500, 3_600), later, open_one)
    answer(sequence, 3_500, complete=True, asked_at_us=8_000)
    assert sequence.interruptions == [earlier, later, open_one]


def test_a_page_that_does_not_reach_back_gives_up() -> None:
    """The venue has only the newest, and they have gone by: it is not asked for these again, and the gap stays."""
    sequence = continuity(Interruption(2_000, 3_000), Interruption(4_000, 5_000))
    answer(sequence, 2_000, complete=False, asked_at_us=6_000)
    assert sequence.interruptions == [Interruption(2_000, 3_000, given_up=True), Interruption(4_000, 5_000)]
    assert sequence.next_missing() == MissingRange(None, None, 4_000)
    answer(sequence, 4_000, complete=False, asked_at_us=6_000)
    assert sequence.complete, "there is nothing that the venue could still give"
    assert sequence.next_missing() is None
    assert known(sequence, 2_000, 3_000, now_us=9_000).completeness is Completeness.GAP


def test_nothing_is_asked_of_an_interruption_that_goes_on() -> None:
    """Only what is over can be whole again."""
    sequence = continuity()
    sequence.begin_interruption(2_000)
    assert sequence.next_missing() is None
    assert not sequence.complete
    sequence.end_interruption(3_000)
    assert sequence.next_missing() == MissingRange(None, None, 2_000)


def test_what_the_venue_has_and_does_not_give_is_lost() -> None:
    """It makes a gap like any interruption, and is not asked for."""
    sequence = continuity()
    sequence.begin_interruption(9_000)
    sequence.add_lost_range(2_000, 3_000)
    assert sequence.interruptions == [Interruption(2_000, 3_000, given_up=True), Interruption(9_000)]
    sequence.end_interruption(9_500)
    assert sequence.next_missing() == MissingRange(None, None, 9_000)


def test_newest_is_what_lies_beyond_the_last_trade() -> None:
    """By time: at the very microsecond of the last trade there may be more."""
    sequence = continuity()
    sequence.admit(trade(2_345))
    assert sequence.beyond_newest() == MissingRange(None, None, 2_345)


def test_interruptions_of_bars_that_nobody_keeps_are_forgotten() -> None:
    """Those that ended before; never one that goes on."""
    sequence = continuity(Interruption(2_000, 3_000), Interruption(4_000, 5_000), Interruption(6_000))
    sequence.forget_before(3_000)
    assert sequence.interruptions == [Interruption(4_000, 5_000), Interruption(6_000)]
    sequence.forget_before(99_000)
    assert sequence.interruptions == [Interruption(6_000)]


def test_a_restart_keeps_the_interruptions() -> None:
    """What is in doubt stays in doubt, given up or not."""
    sequence = continuity(Interruption(2_000, 3_000, given_up=True), Interruption(4_000))
    sequence.admit(trade(4_500))
    again = TimeContinuity(sequence.state())
    assert again.state() == sequence.state()
    assert again.interruptions == sequence.interruptions
