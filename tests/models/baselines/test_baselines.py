"""The baselines: their formulas, rejected inputs, and skill where variance clusters."""

import subprocess
import sys

import numpy as np
import pytest

from features.windows import RecentBars
from models.baselines import BoostedTrees, Ewma, Garch, Har, MissingExtra, RandomWalk, Reversal
from models.baselines.ewma import ewma_variance
from models.baselines.garch import GarchParameters, fit_parameters
from models.evaluation.losses import mean_pinball
from models.forecast import ForecastInput
from models.history import future_returns, tail, until
from tests.models.synthetic import HOUR_US, garch_bars, garch_recent

HORIZONS = (1, 6, 24)
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SERIES = ("binance", "BTC-USDT")


def given(recent: RecentBars) -> ForecastInput:
    return ForecastInput(*SERIES, int(recent.close_time_us[-1]), recent.interval_us, None, recent)


def test_random_walk_forecasts_the_last_720_returns() -> None:
    """Its one-bar quantiles are those of the last 720 returns, centred on their median."""
    recent = garch_recent(1000, seed=1)
    [forecast] = RandomWalk(HORIZONS, LEVELS).forecast([given(recent)])
    expected = np.quantile(np.diff(recent.log_close)[-720:], LEVELS)
    np.testing.assert_allclose(forecast.quantiles[0], expected - expected[3])
    np.testing.assert_allclose(forecast.quantiles[2], np.sqrt(24) * forecast.quantiles[0])
    np.testing.assert_array_equal(forecast.prob_up, 0.5)


def test_random_walk_rejects_too_little_history() -> None:
    """With fewer than 24 known returns it raises ValueError."""
    with pytest.raises(ValueError, match="needs 24"):
        RandomWalk(HORIZONS, LEVELS).forecast([given(tail(garch_recent(100, seed=1), 24))])


def test_har_beats_the_random_walk_where_variance_clusters() -> None:
    """On returns whose variance persists for days, HAR's pinball loss is clearly lower at one and six bars."""
    recent = garch_recent(6000, seed=2)
    har = Har.fit_histories({SERIES: until(recent, int(recent.close_time_us[4000]))}, horizons=HORIZONS, levels=LEVELS)
    walk = RandomWalk(HORIZONS, LEVELS)
    losses: dict[str, list[np.ndarray]] = {"har": [], "random_walk": []}
    for stop in range(4001, 5900, 5):
        now = given(until(recent, int(recent.close_time_us[stop])))
        truth = np.array([future_returns(recent.log_close, h)[stop] for h in HORIZONS[:2]])
        for name, forecaster in (("har", har), ("random_walk", walk)):
            [forecast] = forecaster.forecast([now])
            losses[name].append(mean_pinball(truth, forecast.quantiles[:2], LEVELS))
    ratio = np.mean(losses["har"], axis=0) / np.mean(losses["random_walk"], axis=0)
    assert (ratio < 0.97).all(), ratio


def test_har_volatility_is_the_standard_deviation_of_the_return() -> None:
    """Out of sample, returns over the predicted standard deviation have a mean square near one."""
    recent = garch_recent(8000, seed=3)
    har = Har.fit_histories({SERIES: until(recent, int(recent.close_time_us[5000]))}, horizons=(1, 6), levels=LEVELS)
    for column, horizon in enumerate((1, 6)):
        scaled = (future_returns(recent.log_close, horizon) / har.sigma(SERIES, recent)[:, column])[5001:-horizon]
        assert 0.8 < np.mean(scaled**2) < 1.25


def test_har_live_equals_har_over_the_whole_history() -> None:
    """The last 168 bars alone give what the whole series gives: the scale is the same in training and live."""
    recent = garch_recent(1500, seed=4)
    har = Har.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    for stop in (400, 777, 1500):
        cut = RecentBars(HOUR_US, recent.close_time_us[:stop], recent.log_close[:stop], recent.variance[:stop])
        np.testing.assert_allclose(har.sigma_now(SERIES, cut), har.sigma(SERIES, recent)[stop - 1], rtol=1e-9)


def test_har_leaves_out_an_outage() -> None:
    """Bars without range or price are left out; fit and forecast stay finite."""
    recent = garch_recent(2000, seed=6)
    whole = Har.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    log_close, variance = recent.log_close.copy(), recent.variance.copy()
    for hole in (500, 1200, 1990):
        log_close[hole : hole + 5] = variance[hole : hole + 5] = np.nan
    recent = RecentBars(HOUR_US, recent.close_time_us, log_close, variance)
    holed = Har.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    now = given(recent)
    ratio = holed.forecast([now])[0].volatility / whole.forecast([now])[0].volatility
    assert (np.abs(ratio - 1.0) < 0.15).all()


def test_har_rejects_too_little_history() -> None:
    """Fitting on too few bars and forecasting from too few both raise ValueError with the reason."""
    recent = garch_recent(2000, seed=7)
    with pytest.raises(ValueError, match="HAR needs 500"):
        Har.fit_histories({SERIES: tail(recent, 400)}, horizons=HORIZONS, levels=LEVELS)
    har = Har.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    with pytest.raises(ValueError, match="too few bars with a range"):
        har.forecast([given(tail(recent, 80))])


def test_har_forecasts_an_hour_absent_from_its_fit() -> None:
    """Fitted on half a day of minutes, it forecasts the next hour like the last, not a thousand times larger."""
    recent = garch_recent(1500, seed=5)
    minute_us = HOUR_US // 60
    first_us = int(recent.close_time_us[0])
    times = first_us - first_us % (24 * HOUR_US) + minute_us * np.arange(1, 1501)
    minutes = RecentBars(minute_us, times, recent.log_close, recent.variance)
    har = Har.fit_histories({SERIES: until(minutes, int(times[719]))}, horizons=HORIZONS, levels=LEVELS)
    before, after = (har.sigma_now(SERIES, until(minutes, int(times[at]))) for at in (718, 725))
    assert ((after / before < 5) & (after / before > 0.2)).all(), after / before


def test_har_serves_a_series_it_was_not_fitted_on() -> None:
    """A symbol listed after the fit is forecast with coefficients pooled over all series."""
    recent = garch_recent(2000, seed=9)
    har = Har.fit_histories({("binance", "ETH-USDT"): recent}, horizons=HORIZONS, levels=LEVELS)
    assert np.isfinite(har.forecast([given(recent)])[0].quantiles).all()


def test_reversal_forecasts_the_opposite_of_the_last_bar() -> None:
    """Its median has the other sign, at every horizon, and its spread is the random walk's."""
    recent = garch_recent(1000, seed=11)
    for stop in range(900, 910):
        now = given(until(recent, int(recent.close_time_us[stop])))
        [rule], [walk] = Reversal(HORIZONS, LEVELS).forecast([now]), RandomWalk(HORIZONS, LEVELS).forecast([now])
        last = recent.log_close[stop] - recent.log_close[stop - 1]
        assert (np.sign(rule.quantiles[:, 3]) == -np.sign(last)).all()
        np.testing.assert_allclose(np.diff(rule.quantiles), np.diff(walk.quantiles), atol=1e-15)


def test_reversal_moves_by_the_mean_gain_of_the_rule() -> None:
    """On prices that reverse each move by half, the median is half of the mean move, against the last one."""
    random = np.random.default_rng(12)
    moves = np.empty(721)
    moves[0] = 0.01
    for index in range(1, 721):
        moves[index] = -0.5 * moves[index - 1] + 0.01 * random.standard_normal()
    log_close = np.cumsum(moves)
    recent = RecentBars(HOUR_US, HOUR_US * np.arange(1, 722), log_close, np.full(721, 1e-4))
    [forecast] = Reversal((1,), LEVELS).forecast([given(recent)])
    assert forecast.quantiles[0, 3] * np.sign(moves[-1]) == pytest.approx(-0.5 * np.abs(moves).mean(), rel=0.15)


def test_reversal_has_no_sign_after_a_bar_that_did_not_move() -> None:
    """A last return of zero has no opposite."""
    recent = garch_recent(100, seed=13)
    flat = recent.log_close.copy()
    flat[-1] = flat[-2]
    [forecast] = Reversal(HORIZONS, LEVELS).forecast(
        [given(RecentBars(HOUR_US, recent.close_time_us, flat, recent.variance))]
    )
    np.testing.assert_array_equal(forecast.quantiles[:, 3], 0.0)


def test_ewma_is_the_recursion_of_riskmetrics() -> None:
    """s2[t] = 0.94 s2[t-1] + 0.06 v[t], once its start has no weight; unknown bars are left out."""
    recent = garch_recent(900, seed=14)
    level = recent.variance[0]
    for variance in recent.variance[1:]:
        level = 0.94 * level + 0.06 * variance
    assert ewma_variance(recent)[-1] == pytest.approx(level, rel=1e-8)
    holed = recent.variance.copy()
    holed[-3:] = np.nan
    without = RecentBars(HOUR_US, recent.close_time_us, recent.log_close, holed)
    assert ewma_variance(without)[-1] == pytest.approx(ewma_variance(recent)[-4], rel=1e-8)


def test_garch_is_its_recursion_and_sums_the_expected_steps() -> None:
    """The filter unrolled over 720 returns is omega + alpha r^2 + beta s2; h bars are the sum of h expectations."""
    log_close = garch_recent(1500, seed=15).log_close
    fitted = GarchParameters(omega=1e-6, alpha=0.1, beta=0.85, nu=5.0, level=2e-5)
    variance = fitted.level
    for square in np.diff(log_close) ** 2:
        variance = fitted.omega + fitted.alpha * square + fitted.beta * variance
    steps = [variance]
    for _ in range(5):
        steps.append(fitted.omega + 0.95 * steps[-1])
    one, six = fitted.variance(log_close, (1, 6))[-1]
    assert one == pytest.approx(variance, rel=1e-9)
    assert six == pytest.approx(sum(steps), rel=1e-9)


def test_garch_finds_the_parameters_that_made_the_returns() -> None:
    """Fitted on 6000 returns of a GARCH(1,1) with t innovations it comes near all of its parameters."""
    random = np.random.default_rng(16)
    omega, alpha, beta, nu = 2e-6, 0.1, 0.85, 6.0
    variance, returns = omega / (1 - alpha - beta), np.empty(6000)
    for index in range(6000):
        returns[index] = np.sqrt(variance * (nu - 2) / nu) * random.standard_t(nu)
        variance = omega + alpha * returns[index] ** 2 + beta * variance
    fitted = fit_parameters(np.concatenate([[0.0], np.cumsum(returns)]))
    assert fitted is not None
    assert fitted.alpha == pytest.approx(alpha, abs=0.03)
    assert fitted.beta == pytest.approx(beta, abs=0.04)
    assert fitted.nu == pytest.approx(nu, abs=1.5)
    assert fitted.omega == pytest.approx(omega, rel=0.5)


@pytest.mark.parametrize("baseline", [Ewma, Garch])
def test_live_equals_the_whole_history(baseline: type[Ewma | Garch]) -> None:
    """From 721 bars, as live, the forecast equals that from all bars."""
    recent = garch_recent(2000, seed=17)
    fitted = baseline.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    [short], [long] = fitted.forecast([given(tail(recent, 721))]), fitted.forecast([given(recent)])
    np.testing.assert_allclose(short.volatility, long.volatility, rtol=1e-9)


@pytest.mark.parametrize("baseline", [Ewma, Garch])
def test_a_variance_baseline_beats_the_random_walk_where_variance_clusters(baseline: type[Ewma | Garch]) -> None:
    """Its pinball loss at one bar is clearly lower, out of sample."""
    recent = garch_recent(5000, seed=18)
    fitted = baseline.fit_histories(
        {SERIES: until(recent, int(recent.close_time_us[3500]))}, horizons=(1,), levels=LEVELS
    )
    losses = np.empty((2, 298))
    for column, stop in enumerate(range(3501, 4991, 5)):
        now = given(until(recent, int(recent.close_time_us[stop])))
        truth = future_returns(recent.log_close, 1)[stop]
        for row, forecaster in enumerate((fitted, RandomWalk((1,), LEVELS))):
            losses[row, column] = mean_pinball(np.array([truth]), forecaster.forecast([now])[0].quantiles, LEVELS)[0]
    means = losses.mean(axis=1)
    assert means[0] < 0.97 * means[1]


def test_garch_rejects_a_series_it_was_not_fitted_on() -> None:
    """Its parameters are fitted per series."""
    recent = garch_recent(2000, seed=19)
    fitted = Garch.fit_histories({("binance", "ETH-USDT"): recent}, horizons=HORIZONS, levels=LEVELS)
    with pytest.raises(ValueError, match="BTC-USDT was not in GARCH's fit"):
        fitted.forecast([given(recent)])


@pytest.mark.parametrize(
    ("baseline", "package", "extra"),
    [(Garch, "arch", r"forecastd\[garch\]"), (BoostedTrees, "lightgbm", r"forecastd\[lightgbm\]")],
)
def test_a_missing_extra_is_named(
    baseline: type[Garch | BoostedTrees], package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its package a baseline raises an error that names the extra."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=extra):
        baseline.fit(garch_bars(600), interval_us=HOUR_US, horizons=HORIZONS, levels=LEVELS)


def test_baselines_do_without_torch_and_extras() -> None:
    """Importing the baselines imports no torch, safetensors or optional package."""
    code = (
        "import sys, models.baselines, models.evaluation.candidates; "
        "print([m for m in ('torch', 'safetensors', 'arch', 'lightgbm', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_many_instruments_are_forecast_as_each_alone() -> None:
    """Outages, short histories and different lengths; the reason stands where one cannot be forecast."""
    recents = [garch_recent(900, seed=seed) for seed in range(6)]
    holed = recents[1].variance.copy(), recents[1].log_close.copy()
    holed[0][-14:-3], holed[1][-14:-3] = np.nan, np.nan
    recents[1] = RecentBars(HOUR_US, recents[1].close_time_us, holed[1], holed[0])
    recents[2], recents[3], recents[4] = tail(recents[2], 200), tail(recents[3], 20), tail(recents[4], 90)
    inputs = [
        ForecastInput("binance", f"S{number}-USDT", int(each.close_time_us[-1]), HOUR_US, None, each)
        for number, each in enumerate(recents)
    ]
    histories = {("binance", f"S{number}-USDT"): garch_recent(900, seed=number) for number in range(3)}
    har = Har.fit_histories(histories, horizons=HORIZONS, levels=LEVELS)
    for forecaster in (har, RandomWalk(HORIZONS, LEVELS)):
        outcomes = forecaster.forecast_each(inputs)
        reasons = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert [("S3-USDT" in reason) for reason in reasons] == [True]
        for given_input, outcome in zip(inputs, outcomes, strict=True):
            if isinstance(outcome, str):
                with pytest.raises(ValueError, match="S3-USDT"):
                    forecaster.forecast([given_input])
                continue
            [alone] = forecaster.forecast([given_input])
            assert alone.symbol == outcome.symbol == given_input.symbol
            assert (alone.quantiles == outcome.quantiles).all()
            assert (alone.prob_up == outcome.prob_up).all()
            if forecaster is har:
                sigma = har.sigma_now((given_input.venue, given_input.symbol), given_input.recent)
                np.testing.assert_allclose(outcome.volatility, sigma, rtol=1e-12)
