"""Tests of the scoreboard: each forecast is scored once, when it matures, beside baselines on the same target."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from daemon.forecasting.records import Score
from daemon.forecasting.scoreboard import PendingChanges, Scoreboard
from features.market import HOUR_US, Completeness, Instrument
from tests.daemon.forecasting.forecast_builders import LEVELS, SHAPE, START_US, bar, empty, forecast, issue


def board() -> Scoreboard:
    return Scoreboard(interval_us=HOUR_US, levels=LEVELS)


def play(scores: Scoreboard, hours: range, *, kind: str = "attention_lstm", seed: int = 0) -> list[Score]:
    """Scores forecasts over a random walk of closes; the model has the right width, HAR twice the width."""
    rng, price, matured = np.random.default_rng((seed, hours.start)), 100.0, []
    for hour in hours:
        price *= math.exp(0.01 * rng.standard_normal())
        matured += scores.bar_closed(bar(hour, price))
        baselines = [forecast("random_walk", hour, width=0.015), forecast("har", hour, width=0.02)]
        scores.register(issue(forecast(kind, hour), price), baselines)
    return matured


def test_a_score_by_hand() -> None:
    """100 to 101 is a log return of ln 1.01; loss, intervals and squared error follow from the quantiles."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0, horizons=(1,))), [])
    (score,) = scores.bar_closed(bar(1, 101.0))
    truth = math.log(1.01)
    levels, quantiles = np.array(LEVELS), 0.01 * SHAPE
    losses = [
        level * (truth - quantile) if truth >= quantile else (1 - level) * (quantile - truth)
        for level, quantile in zip(levels, quantiles, strict=True)
    ]
    assert score.log_return == pytest.approx(truth)
    assert score.pinball == pytest.approx(sum(losses) / 5)
    assert score.squared_error == pytest.approx(truth**2)
    assert (score.inside_80, score.inside_95, score.median) == (True, True, 0.0)
    assert (score.role, score.kind, score.model_id) == ("issued", "attention_lstm", "attention_lstm-1")
    assert (score.close_time_us, score.horizon_bars, score.scored_at_us) == (START_US, 1, START_US + HOUR_US + 7)


def test_a_horizon_is_scored_only_at_its_close() -> None:
    """A horizon of h bars is scored at the h-th close after its bar, and only there."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0, horizons=(1, 3))), [forecast("har", 0, horizons=(1, 3))])
    assert scores.bar_closed(bar(0, 100.0)) == []
    assert [(score.kind, score.horizon_bars) for score in scores.bar_closed(bar(1, 101.0))] == [
        ("attention_lstm", 1),
        ("har", 1),
    ]
    assert scores.bar_closed(bar(2, 102.0)) == []
    assert {score.horizon_bars for score in scores.bar_closed(bar(3, 103.0))} == {3}
    assert scores.pending == 0


def test_other_symbols_do_not_mature() -> None:
    """A bar scores its own instrument only."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0, symbol="ETH-USDT")), [])
    assert scores.bar_closed(bar(1, 101.0)) == []
    assert len(scores.bar_closed(bar(1, 101.0, symbol="ETH-USDT"))) == 1


def test_a_bar_seen_twice_or_revised_scores_once() -> None:
    """Only the first truth counts."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0, horizons=(1,))), [])
    assert len(scores.bar_closed(bar(1, 101.0))) == 1
    assert scores.bar_closed(bar(1, 101.0)) == []
    assert scores.bar_closed(bar(1, 105.0, revision=1)) == []
    assert scores.skill("binance", "BTC-USDT").scored == 1


def test_an_empty_bar_keeps_the_last_close() -> None:
    """After a close of 101 and a proven empty bar, the truth of two bars is still ln 1.01."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0)), [])
    scores.bar_closed(bar(1, 101.0))
    (score,) = scores.bar_closed(empty(2))
    assert score.log_return == pytest.approx(math.log(1.01))


@pytest.mark.parametrize("completeness", [Completeness.UNPROVEN, Completeness.GAP])
def test_a_bar_without_price_or_proof_is_not_scored(completeness: Completeness) -> None:
    """No price and no proof of emptiness: no truth is invented, the target is counted."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0, horizons=(1,))), [])
    assert scores.bar_closed(bar(1, None, completeness=completeness)) == []
    assert scores.unscored == {"no_price": 1, "no_bar": 0, "other_configuration": 0}
    assert scores.pending == 0


def test_a_target_without_a_bar_expires() -> None:
    """48 bars after its time a target is counted as lost; one bar earlier it is still pending."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0, horizons=(1,))), [])
    scores.bar_closed(bar(49, 100.0))
    assert (scores.pending, scores.unscored["no_bar"]) == (1, 0)
    scores.bar_closed(bar(50, 100.0))
    assert (scores.pending, scores.unscored["no_bar"]) == (0, 1)


def test_a_model_equal_to_the_baseline_has_the_ratio_one() -> None:
    """Where HAR itself is issued, its ratio to HAR is exactly 1 without error."""
    scores = board()
    for hour in range(40):
        scores.bar_closed(bar(hour, 100.0 + hour % 3))
        made = forecast("har", hour)
        scores.register(issue(made, 100.0 + hour % 3), [forecast("random_walk", hour, width=0.03), made])
    skill = scores.skill("binance", "BTC-USDT")
    assert (skill.scored, skill.pinball_vs_har, skill.pinball_vs_har_se) == (39, 1.0, 0.0)
    assert skill.pinball_vs_random_walk is not None
    assert skill.pinball_vs_random_walk < 1.0


def test_skill_is_none_until_enough_is_scored() -> None:
    """With 23 scored targets there is only a count; with 24 there is skill and its standard error."""
    scores = board()
    play(scores, range(24))
    before = scores.skill("binance", "BTC-USDT")
    assert (before.window, before.scored, before.pinball_vs_har, before.coverage_80) == ("30d", 23, None, None)
    play(scores, range(24, 25))
    after = scores.skill("binance", "BTC-USDT")
    assert after.scored == 24
    assert after.pinball_vs_har is not None
    assert after.pinball_vs_har_se is not None
    assert 0.5 < after.pinball_vs_har < 1.0
    assert after.rmse_vs_random_walk == 1.0  # both medians are 0
    assert after.coverage_95 is not None
    assert after.coverage_95 > 0.75


def test_an_unknown_symbol_has_no_skill() -> None:
    """Nothing scored: a count of 0 and no numbers."""
    assert board().skill("binance", "DOGE-USDT").scored == 0


def test_each_kind_keeps_its_own_targets() -> None:
    """The baseline's targets never count for the model, and the model's never for the baseline."""
    scores = board()
    play(scores, range(30), kind="har")
    assert scores.skill("binance", "BTC-USDT").scored == 29
    scores.register(issue(forecast("attention_lstm", 30), 100.0), [])
    assert scores.skill("binance", "BTC-USDT").scored == 0
    assert scores.skill("binance", "BTC-USDT", kind="har").scored == 29


def test_only_the_window_counts() -> None:
    """After 40 days of hourly targets, 30 days of them are left: 720."""
    scores = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    for hour in range(40 * 24):
        scores.bar_closed(bar(hour, 100.0))
        scores.register(issue(forecast("attention_lstm", hour, horizons=(1,))), [])
    assert scores.skill("binance", "BTC-USDT").scored == 720


def test_short_bars_shorten_the_window() -> None:
    """5-second bars are scored over twelve hours, which the window states."""
    assert Scoreboard(interval_us=5_000_000, levels=LEVELS).window == "12h"


def test_the_table_compares_all_kinds_on_the_same_targets() -> None:
    """One row per horizon and kind, with equal counts, and a ratio of 1 to itself."""
    scores = board()
    play(scores, range(40))
    rows = {(row.horizon_bars, row.kind): row for row in scores.table()}
    assert list(rows) == [(horizon, kind) for horizon in (1, 2) for kind in ("attention_lstm", "random_walk", "har")]
    assert {row.count for (horizon, _), row in rows.items() if horizon == 1} == {39}
    model, har = rows[1, "attention_lstm"], rows[1, "har"]
    assert har.pinball_vs_har == 1.0
    assert model.pinball_bp is not None
    assert har.pinball_bp is not None
    assert model.pinball_vs_har == pytest.approx(model.pinball_bp / har.pinball_bp)
    assert model.pinball_bp > 1  # basis points, not log returns


def test_a_target_without_its_baseline_is_not_paired() -> None:
    """The ratio uses the targets that both forecast; the count is of all that were issued."""
    scores = board()
    play(scores, range(30))
    for hour in range(30, 40):
        scores.bar_closed(bar(hour, 100.0))
        scores.register(issue(forecast("attention_lstm", hour)), [])
    rows = {row.kind: row for row in scores.table() if row.horizon_bars == 1}
    assert (rows["attention_lstm"].count, rows["har"].count) == (39, 30)


def test_a_restart_changes_nothing() -> None:
    """Dumped and loaded in the middle, the board gives the same scores, skill and table as one that ran through."""
    through, before = board(), board()
    first = play(through, range(60))
    assert play(before, range(60)) == first
    after = board()
    after.load(before.dump().values(), reversed(first))
    assert after.pending == through.pending == 3
    assert after.bar_closed(empty(60)) == through.bar_closed(empty(60)) != []
    assert play(after, range(61, 90)) == play(through, range(61, 90))
    assert after.skill("binance", "BTC-USDT") == through.skill("binance", "BTC-USDT")
    assert after.table() == through.table()


def test_what_was_scored_after_the_dump_is_not_scored_again() -> None:
    """A pending record older than the scores: its scored horizon is not pending again."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0)), [])
    record = scores.pending_record("binance:BTC-USDT:1h:2023-11-14T22:00:00Z", Instrument("binance", "BTC-USDT"))
    matured = scores.bar_closed(bar(1, 101.0))
    after = board()
    after.load([record], matured)
    assert after.bar_closed(bar(1, 101.0)) == []
    assert after.pending == 1


def test_records_of_another_configuration_are_counted() -> None:
    """A record with other quantile levels cannot be scored beside the new ones: it is left out and counted."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0)), [])
    other = Scoreboard(interval_us=HOUR_US, levels=(*LEVELS[:3], 0.75, *LEVELS[3:]))
    other.load(scores.dump().values(), [])
    assert (other.pending, other.unscored["other_configuration"]) == (0, 2)
    assert other.take_changes().settled == ("binance:BTC-USDT:1h:2023-11-14T22:00:00Z",)


def test_changes_list_pending_and_settled_forecasts() -> None:
    """After the first of two horizons a record with the second is left, after both the forecast is settled."""
    scores = board()
    scores.register(issue(forecast("attention_lstm", 0)), [])
    assert scores.take_changes() == PendingChanges((), {})
    scores.bar_closed(bar(1, 101.0))
    ((name, record),) = scores.take_changes().still_pending.items()
    after = board()
    after.load([record], [])
    assert (name, after.pending) == ("binance:BTC-USDT:1h:2023-11-14T22:00:00Z", 1)
    scores.bar_closed(bar(2, 101.0))
    assert scores.take_changes() == PendingChanges((name,), {})


def test_garbage_is_refused() -> None:
    """Bytes that no scoreboard wrote raise an error."""
    with pytest.raises(msgspec.DecodeError):
        board().load([b"\xc1 nonsense"], [])


def test_levels_without_the_intervals_are_refused() -> None:
    """The 80% and 95% intervals and the median must be among the levels."""
    with pytest.raises(ValueError, match=r"0\.025, 0\.975"):
        Scoreboard(interval_us=HOUR_US, levels=(0.1, 0.5, 0.9))


def test_a_baseline_of_another_bar_close_is_refused() -> None:
    """Baselines are compared on the same target or not at all."""
    with pytest.raises(ValueError, match="other targets"):
        board().register(issue(forecast("attention_lstm", 1)), [forecast("har", 0)])
