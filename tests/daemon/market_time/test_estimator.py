"""Market time follows independent witnesses that agree, and no single one that lies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.market_time.estimator import SINGLE_VENUE_PERSISTENCE_S, TOLERANCE_S, MarketTimeEstimator
from daemon.market_time.steering import Steering
from daemon.market_time.venue_clock import TimeSample

S = 1_000_000
HOUR = 3600 * S
ROUND_TRIP_US = 60_000
DELAY_US = 100_000


class Simulation:
    """A base clock, and venues whose answers and trades are off by ``time_us`` and ``trades_us``; None: silent."""

    def __init__(self, *venues: str) -> None:
        self.estimator = MarketTimeEstimator(venues)
        self.steering = Steering()
        self.now_us = 1_700_000_000 * S
        self.time_us: dict[str, int | None] = dict.fromkeys(venues, 0)
        self.trades_us: dict[str, int | None] = dict.fromkeys(venues, 0)
        self.resolution_us = 1_000
        self.set_aside: dict[str, str] = {}
        self.restart = False
        self.moved: list[int] = []  # the correction after every second

    @property
    def correction_us(self) -> int:
        return self.steering.correction_us(self.now_us)

    def begin(self, *, newest_trade_age_us: int | None = 0) -> bool:
        """The start; returns whether market time was stepped."""
        for venue in self.time_us:
            for _ in range(3):
                self.now_us += S // 3
                self._answer(venue)
            if newest_trade_age_us is not None:
                self._trade(venue, newest_trade_age_us)
        verdict = self.estimator.begin(self.now_us)
        self.steering.begin(verdict.target_us, self.now_us)
        self.set_aside = verdict.set_aside
        return verdict.step

    def run(self, seconds: int, *, every_s: int = 2) -> None:
        """Answers every ``every_s`` seconds and trades every second."""
        for second in range(seconds):
            self.now_us += S
            for venue in self.time_us:
                self._trade(venue, DELAY_US)
                if second % every_s == 0:
                    self._answer(venue)
            verdict = self.estimator.evaluate(self.now_us, self.correction_us)
            self.steering.steer(verdict.target_us, self.now_us, step=verdict.step)
            self.set_aside = verdict.set_aside
            self.restart = self.restart or verdict.restart
            self.moved.append(self.correction_us)

    def _answer(self, venue: str) -> None:
        off_us = self.time_us[venue]
        if off_us is not None:
            shown_us = (self.now_us + off_us) // self.resolution_us * self.resolution_us + self.resolution_us // 2
            sample = TimeSample(shown_us - self.now_us, (ROUND_TRIP_US + self.resolution_us) // 2)
            self.estimator.time_answered(venue, sample, self.now_us)

    def _trade(self, venue: str, age_us: int) -> None:
        off_us = self.trades_us[venue]
        if off_us is not None:
            self.estimator.trade_received(venue, self.now_us - age_us + off_us, self.now_us)


@pytest.mark.parametrize("lie_us", [10 * HOUR, -10 * HOUR, 20 * S, -20 * S, 5 * S, 3 * S])
def test_a_venue_whose_time_endpoint_lies_is_set_aside(lie_us: int) -> None:
    """The trades of the single venue contradict it: market time stays, and the venue is trusted again afterwards."""
    world = Simulation("a")
    world.begin()
    world.run(30)
    world.time_us["a"] = lie_us
    world.run(40)
    assert "its clock is" in world.set_aside["a"]
    world.time_us["a"] = 0
    world.run(30)
    assert world.set_aside == {}
    assert max(map(abs, world.moved)) < S // 10


@pytest.mark.parametrize("lie_us", [10 * HOUR, -10 * HOUR, 20 * S])
@pytest.mark.parametrize("age_us", [0, 60 * S, None])
def test_a_lie_at_the_start_moves_nothing(lie_us: int, age_us: int | None) -> None:
    """The system's clock, and the newest trade where there is one, outvote it."""
    world = Simulation("a")
    world.time_us["a"] = lie_us
    assert not world.begin(newest_trade_age_us=age_us)
    assert world.correction_us == 0
    assert "a" in world.set_aside
    world.run(40)
    assert max(map(abs, world.moved)) < S // 10


@pytest.mark.parametrize("off_us", [HOUR, -HOUR, 20 * S, -20 * S])
@pytest.mark.parametrize("age_us", [0, 5 * S])
def test_a_wrong_local_clock_is_set_at_the_start(off_us: int, age_us: int) -> None:
    """The venue's time and its newest trade agree against the system's clock."""
    world = Simulation("a")
    world.time_us["a"] = world.trades_us["a"] = off_us
    world.begin(newest_trade_age_us=age_us)
    world.run(20)
    assert abs(world.correction_us - off_us) < S // 10
    assert world.set_aside == {}


def test_a_quiet_market_does_not_hide_a_wrong_local_clock() -> None:
    """The newest trade is minutes old, and still in the future of a clock that is an hour behind."""
    world = Simulation("a")
    world.time_us["a"] = world.trades_us["a"] = HOUR
    assert world.begin(newest_trade_age_us=600 * S)
    assert abs(world.correction_us - HOUR) < S // 10


def test_trades_that_lie_move_nothing() -> None:
    """An exchange stamps trades in the future: its time endpoint and the current market time agree against them."""
    world = Simulation("a")
    world.begin()
    world.run(10)
    world.trades_us["a"] = 20 * S
    world.run(200)
    assert "its trades are stamped" in world.set_aside["a"]
    assert max(map(abs, world.moved)) < S // 10


def test_all_venues_against_a_local_clock_that_stepped() -> None:
    """The base clock stood still for an hour, as in a paused virtual machine: both venues say so."""
    world = Simulation("a", "b")
    world.begin()
    world.run(30)
    for venue in ("a", "b"):
        world.time_us[venue] = world.trades_us[venue] = HOUR
    world.run(20)
    assert abs(world.correction_us - HOUR) < S // 10
    assert world.set_aside == {}


def test_two_venues_without_trades_set_a_wrong_local_clock() -> None:
    """A second venue is as good a witness as trades."""
    world = Simulation("a", "b")
    for venue in ("a", "b"):
        world.time_us[venue], world.trades_us[venue] = HOUR, None
    assert world.begin()
    assert abs(world.correction_us - HOUR) < S // 10


def test_one_of_two_venues_lies_altogether() -> None:
    """Its time and its trades agree, but the other venue and the current market time are as many."""
    world = Simulation("a", "b")
    world.begin()
    world.run(30)
    world.time_us["a"] = world.trades_us["a"] = 20 * S
    world.run(200)
    assert list(world.set_aside) == ["a"]
    assert max(map(abs, world.moved)) < S // 10


def test_a_single_venue_must_persist_against_a_confirmed_market_time() -> None:
    """Its time and its trades jump together: a short jump is ridden out, a lasting one is followed."""
    world = Simulation("a")
    world.begin()
    world.run(30)
    world.time_us["a"] = world.trades_us["a"] = 20 * S
    world.run(40)
    assert max(map(abs, world.moved)) < S // 10
    assert "a" in world.set_aside
    world.run(int(SINGLE_VENUE_PERSISTENCE_S))
    assert abs(world.correction_us - 20 * S) < S // 10
    assert world.set_aside == {}


@pytest.mark.parametrize("lie_us", [2 * S, 5 * S, 10 * S])
@pytest.mark.parametrize("paused_us", [300 * S, 600 * S, HOUR])
def test_a_lie_after_a_pause_moves_market_time_no_further_than_the_trades(paused_us: int, lie_us: int) -> None:
    """The base clock stood still; the longer it stood, the later the trades may be, and the more a lie resembles."""
    market = Simulation("one")
    market.begin()
    market.run(20)
    market.time_us["one"] = paused_us + lie_us
    market.trades_us["one"] = paused_us
    market.run(200)
    assert max(market.moved) <= paused_us
    market.time_us["one"] = paused_us
    market.run(100)
    assert market.correction_us == pytest.approx(paused_us, abs=S // 2)


def test_two_clocks_that_agree_go_past_trades_that_are_late() -> None:
    """Trades may come late on a slow line; the clocks of two venues show the time without them."""
    market = Simulation("one", "two")
    market.begin()
    market.run(20)
    for venue in market.time_us:
        market.time_us[venue] = HOUR
        market.trades_us[venue] = HOUR - 10 * S
    market.run(100, every_s=1)
    assert market.correction_us == pytest.approx(HOUR, abs=S // 2)


def test_market_time_goes_back_by_running_slower() -> None:
    """After a lasting lie of the single venue it takes a while, and never a step."""
    world = Simulation("a")
    world.begin()
    world.time_us["a"] = world.trades_us["a"] = 20 * S
    world.run(100)
    world.time_us["a"] = world.trades_us["a"] = 0
    world.run(200)
    assert abs(world.correction_us) < S // 10
    assert min(after - before for before, after in zip(world.moved, world.moved[1:], strict=False)) >= -S // 2
    assert not world.restart


def test_market_time_far_ahead_asks_for_a_restart() -> None:
    """An hour cannot be waited for."""
    world = Simulation("a")
    world.begin()
    world.time_us["a"] = world.trades_us["a"] = -HOUR
    world.run(100)
    assert world.restart


@pytest.mark.parametrize("off_us", [0, 123_456, -400_000, 499_999])
def test_whole_seconds_never_step_market_time(off_us: int) -> None:
    """Kraken and Bitstamp serve whole seconds: every answer is off by up to half a second, and nothing moves for it."""
    world = Simulation("a")
    world.resolution_us = S
    world.time_us["a"] = world.trades_us["a"] = off_us
    world.begin(newest_trade_age_us=None)
    for _ in range(100):
        world.now_us += 37_123
        world.run(3, every_s=1)
    assert world.set_aside == {}
    steps = [abs(after - before) for before, after in zip(world.moved, world.moved[1:], strict=False)]
    assert max(steps) <= S // 10
    assert abs(world.moved[-1] - off_us) < S // 2
    assert len(set(world.moved[100:])) < 10


def test_without_any_answer_nothing_is_known() -> None:
    """A venue that never answers and never trades is no witness."""
    world = Simulation("a")
    world.time_us["a"] = world.trades_us["a"] = None
    world.begin(newest_trade_age_us=None)
    world.run(10)
    assert not world.estimator.confirmed
    assert set(world.moved) == {0}


def test_trades_alone_move_market_time_within_the_tolerance() -> None:
    """Without an answer to a time request, trades of one venue are a single witness."""
    world = Simulation("a")
    world.time_us["a"], world.trades_us["a"] = None, 800_000
    world.begin(newest_trade_age_us=None)
    world.run(200)
    assert 0 < world.correction_us <= TOLERANCE_S * S
    world.trades_us["a"] = 20 * S
    world.run(200)
    assert world.correction_us <= TOLERANCE_S * S


def test_a_creeping_lie_is_stopped_at_the_tolerance() -> None:
    """A time endpoint that drifts away slowly, in a market without trades, takes market time along for a second."""
    world = Simulation("a")
    world.trades_us["a"] = None
    world.begin(newest_trade_age_us=None)
    for step in range(40):
        world.time_us["a"] = step * 100_000
        world.run(10)
    assert max(world.moved) <= TOLERANCE_S * S + S // 10


SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.booleans(),
        st.one_of(st.integers(-3 * S, 3 * S), st.integers(-20 * HOUR, 20 * HOUR)),
        st.integers(0, 90 * S),
    ),
    max_size=60,
)


@given(SAMPLES)
def test_no_samples_move_market_time_backwards_or_beyond_the_evidence(
    samples: Sequence[tuple[str, bool, int, int]],
) -> None:
    """Any samples at all: time goes forward, and its correction lies within what some witness has said."""
    world = Simulation("a", "b")
    last_us, least_us, most_us = 0, 0, 0
    for venue, is_trade, offset_us, pause_us in samples:
        world.now_us += pause_us
        if is_trade:
            world.estimator.trade_received(venue, world.now_us + offset_us, world.now_us)
        else:
            world.estimator.time_answered(venue, TimeSample(offset_us, ROUND_TRIP_US // 2), world.now_us)
        least_us, most_us = min(least_us, offset_us), max(most_us, offset_us)
        verdict = world.estimator.evaluate(world.now_us, world.correction_us)
        margin_us = S + abs(most_us - least_us) // 50
        assert least_us - margin_us <= verdict.target_us <= most_us + margin_us
        assert verdict.step or abs(verdict.target_us - world.correction_us) <= TOLERANCE_S * S
        world.steering.steer(verdict.target_us, world.now_us, step=verdict.step)
        assert world.now_us + world.correction_us >= last_us
        last_us = world.now_us + world.correction_us


@given(st.integers(-20 * HOUR, 20 * HOUR), st.integers(0, 12))
def test_one_witness_alone_never_steps(lie_us: int, honest: int) -> None:
    """However often one venue's time endpoint repeats it, and whatever it says."""
    estimator, now_us = MarketTimeEstimator(["a"]), 1_700_000_000 * S
    for index in range(40):
        now_us += 2 * S
        offset_us = 0 if index < honest else lie_us
        estimator.time_answered("a", TimeSample(offset_us, ROUND_TRIP_US // 2), now_us)
        verdict = estimator.evaluate(now_us, 0)
        assert not verdict.step
        assert abs(verdict.target_us) <= TOLERANCE_S * S
