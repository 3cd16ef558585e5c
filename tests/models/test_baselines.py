"""The baselines: what they claim, when they refuse, and that HAR earns its place."""

import json
import subprocess
import sys

import numpy as np
import pytest

from features.windows import RecentBars
from models.baselines import Har, RandomWalk
from models.forecast import ForecastInput
from models.history import future_returns, tail, until
from models.losses import mean_pinball
from tests.models.synthetic import HOUR_US, garch_recent

HORIZONS = (1, 6, 24)
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
SERIES = ("binance", "BTC-USDT")


def given(recent: RecentBars) -> ForecastInput:
    return ForecastInput(*SERIES, int(recent.close_time_us[-1]), recent.interval_us, None, recent)


def test_random_walk_says_the_last_720_returns() -> None:
    """Its one-bar quantiles are those of the last 720 returns, centred on their median."""
    recent = garch_recent(1000, seed=1)
    [forecast] = RandomWalk(HORIZONS, LEVELS).forecast([given(recent)])
    expected = np.quantile(np.diff(recent.log_close)[-720:], LEVELS)
    np.testing.assert_allclose(forecast.quantiles[0], expected - expected[3])
    np.testing.assert_allclose(forecast.quantiles[2], np.sqrt(24) * forecast.quantiles[0])
    np.testing.assert_array_equal(forecast.prob_up, 0.5)


def test_random_walk_refuses_too_little_history() -> None:
    """With fewer than 24 known returns it raises rather than guesses."""
    with pytest.raises(ValueError, match="needs 24"):
        RandomWalk(HORIZONS, LEVELS).forecast([given(tail(garch_recent(100, seed=1), 24))])


def test_har_beats_the_random_walk_where_variance_clusters() -> None:
    """On returns whose variance persists for days, HAR's pinball loss is clearly lower at one and six bars."""
    recent = garch_recent(6000, seed=2)
    har = Har.fit_histories({SERIES: until(recent, int(recent.close_time_us[4000]))}, horizons=HORIZONS, levels=LEVELS)
    walk = RandomWalk(HORIZONS, LEVELS)
    losses = {"har": [], "random_walk": []}
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
        cut = RecentBars(HOUR_US, *(a[:stop] for a in (recent.close_time_us, recent.log_close, recent.variance)))
        np.testing.assert_allclose(har.sigma_now(SERIES, cut), har.sigma(SERIES, recent)[stop - 1], rtol=1e-9)


def test_har_lives_on_beside_an_outage() -> None:
    """Bars without range or price are left out; neither fit nor forecast is poisoned by them."""
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


def test_har_refuses_too_little_history() -> None:
    """Fitting on too few bars and forecasting from too few both raise ValueError with the reason."""
    recent = garch_recent(2000, seed=7)
    with pytest.raises(ValueError, match="HAR needs 500"):
        Har.fit_histories({SERIES: tail(recent, 400)}, horizons=HORIZONS, levels=LEVELS)
    har = Har.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    with pytest.raises(ValueError, match="too few bars with a range"):
        har.forecast([given(tail(recent, 80))])


def test_har_knows_what_it_says_of_an_hour_that_it_never_saw() -> None:
    """Fitted on half a day of minutes, it forecasts the next hour as it forecast the last, not a thousandfold."""
    recent = garch_recent(1500, seed=5)
    minute_us = HOUR_US // 60
    first_us = int(recent.close_time_us[0])
    times = first_us - first_us % (24 * HOUR_US) + minute_us * np.arange(1, 1501)
    minutes = RecentBars(minute_us, times, recent.log_close, recent.variance)
    har = Har.fit_histories({SERIES: until(minutes, int(times[719]))}, horizons=HORIZONS, levels=LEVELS)
    before, after = (har.sigma_now(SERIES, until(minutes, int(times[at]))) for at in (718, 725))
    assert ((after / before < 5) & (after / before > 0.2)).all(), after / before


def test_har_state_survives_json() -> None:
    """The state read back gives the same forecast, bit for bit."""
    recent = garch_recent(2000, seed=8)
    har = Har.fit_histories({SERIES: recent}, horizons=HORIZONS, levels=LEVELS)
    again = Har.from_json(json.loads(json.dumps(har.to_json())))
    np.testing.assert_array_equal(
        har.forecast([given(recent)])[0].quantiles, again.forecast([given(recent)])[0].quantiles
    )
    assert again.info == har.info


def test_har_serves_a_series_it_was_not_fitted_on() -> None:
    """A symbol listed after the fit is forecast with coefficients pooled over all series."""
    recent = garch_recent(2000, seed=9)
    har = Har.fit_histories({("binance", "ETH-USDT"): recent}, horizons=HORIZONS, levels=LEVELS)
    assert np.isfinite(har.forecast([given(recent)])[0].quantiles).all()


def test_baselines_do_without_torch() -> None:
    """Importing the baselines imports neither torch nor safetensors."""
    code = "import sys, models.baselines; print([m for m in ('torch', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
