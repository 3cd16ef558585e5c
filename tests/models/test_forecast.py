"""Properties of every forecaster, tested on the network and the baselines."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.buffer import FeatureBuffer
from features.catalogue import FEATURE_NAMES
from features.market import Instrument
from models.baselines import Har, RandomWalk
from models.forecast import Forecast, Forecaster, ForecastInput, ModelInfo
from tests.models.synthetic import HOUR_US, START_US, garch_bars
from tests.models.tiny_artifacts import HORIZONS, LEVELS

KINDS = ("random_walk", "har", "attention_lstm")
SYMBOLS = ("BTC-USDT", "ETH-USDT", "NEW-USDT")
NOW_US = START_US + 1200 * HOUR_US


@pytest.fixture(params=KINDS)
def forecaster(request: pytest.FixtureRequest, tiny_artifact: Path) -> Forecaster:
    if request.param == "random_walk":
        return RandomWalk(HORIZONS, LEVELS)
    if request.param == "har":
        return Har.fit(garch_bars(1500), interval_us=HOUR_US, horizons=HORIZONS, levels=LEVELS)
    from models.networks.network_forecaster import NetworkForecaster

    return NetworkForecaster.load(tiny_artifact)


def inputs(bars: pl.DataFrame | None = None, names: tuple[str, ...] = FEATURE_NAMES) -> list[ForecastInput]:
    """Inputs of three instruments after 1,200 hours; the third was not in training."""
    bars = garch_bars(1300, SYMBOLS) if bars is None else bars
    known = bars.filter(pl.col("open_time_us") < NOW_US)
    instruments = [Instrument("binance", symbol) for symbol in SYMBOLS]
    buffer = FeatureBuffer(instruments, interval_us=HOUR_US)
    buffer.load(known)
    return [
        ForecastInput(*each, NOW_US, HOUR_US, buffer.window(each, NOW_US, names), buffer.recent(each, NOW_US))
        for each in instruments
    ]


def for_(forecaster: Forecaster, bars: pl.DataFrame | None = None) -> list[ForecastInput]:
    manifest = getattr(forecaster, "manifest", None)
    return inputs(bars, manifest.feature_names if manifest else FEATURE_NAMES)


def test_shapes_order_and_finiteness(forecaster: Forecaster) -> None:
    """One forecast per input, in order: ascending quantiles (H, Q), positive volatility, probabilities in (0, 1)."""
    given = for_(forecaster)
    forecasts = forecaster.forecast(given)
    assert [forecast.symbol for forecast in forecasts] == list(SYMBOLS)
    for forecast in forecasts:
        assert forecast.quantiles.shape == (len(HORIZONS), len(LEVELS))
        assert (np.diff(forecast.quantiles, axis=1) >= 0).all()
        assert (forecast.volatility > 0).all()
        assert ((forecast.prob_up > 0) & (forecast.prob_up < 1)).all()
        assert (forecast.close_time_us, forecast.interval_us) == (NOW_US, HOUR_US)
        assert forecast.model == forecaster.info


def test_uncertainty_grows_with_the_horizon(forecaster: Forecaster) -> None:
    """Three bars ahead is less certain than one."""
    for forecast in forecaster.forecast(for_(forecaster)):
        assert forecast.volatility[1] > forecast.volatility[0]
        width = forecast.quantiles[:, -1] - forecast.quantiles[:, 0]
        assert width[1] > width[0]


def test_the_same_input_gives_the_same_forecast(forecaster: Forecaster) -> None:
    """Two calls give bit for bit the same forecast."""
    given = for_(forecaster)
    for first, second in zip(forecaster.forecast(given), forecaster.forecast(given), strict=True):
        np.testing.assert_array_equal(first.quantiles, second.quantiles)
        np.testing.assert_array_equal(first.volatility, second.volatility)


def test_a_forecast_does_not_depend_on_the_rest_of_its_batch(forecaster: Forecaster) -> None:
    """An instrument alone gets the same forecast as in a batch, up to float32 rounding."""
    given = for_(forecaster)
    together, alone = forecaster.forecast(given)[1], forecaster.forecast(given[1:2])[0]
    np.testing.assert_allclose(together.quantiles, alone.quantiles, rtol=1e-4, atol=1e-8)


def test_nothing_after_the_cut_off_changes_the_forecast(forecaster: Forecaster) -> None:
    """With every later bar multiplied by a hundred the inputs, and so the forecasts, are the same."""
    bars = garch_bars(1300, SYMBOLS)
    later = pl.when(pl.col("open_time_us") >= NOW_US).then(100.0).otherwise(1.0)
    changed = bars.with_columns(pl.col("open", "high", "low", "close", "volume") * later)
    pairs = zip(
        forecaster.forecast(for_(forecaster, bars)), forecaster.forecast(for_(forecaster, changed)), strict=True
    )
    for before, after in pairs:
        np.testing.assert_array_equal(before.quantiles, after.quantiles)


def test_the_last_bar_does_change_the_forecast(forecaster: Forecaster) -> None:
    """A large last bar widens the forecast, so the equality above is not trivial."""
    bars = garch_bars(1300, SYMBOLS)
    last = pl.col("open_time_us") == NOW_US - HOUR_US
    wild = bars.with_columns(
        pl.when(last).then(pl.col("high") * 1.2).otherwise(pl.col("high")).alias("high"),
        pl.when(last).then(pl.col("low") * 0.8).otherwise(pl.col("low")).alias("low"),
        pl.when(last).then(pl.col("low") * 0.9).otherwise(pl.col("close")).alias("close"),
    )
    calm, stirred = forecaster.forecast(for_(forecaster, bars))[0], forecaster.forecast(for_(forecaster, wild))[0]
    assert stirred.volatility[0] > calm.volatility[0]


def test_only_networks_have_attention(forecaster: Forecaster) -> None:
    """A network's attention is a distribution over the window's hours; a baseline has none."""
    for forecast in forecaster.forecast(for_(forecaster)):
        if forecaster.info.kind == "attention_lstm":
            assert forecast.attention.shape == (48,)
            assert forecast.attention.sum() == pytest.approx(1.0, abs=1e-6)
        else:
            assert forecast.attention is None


def test_no_inputs_no_forecasts(forecaster: Forecaster) -> None:
    """No inputs give an empty list."""
    assert forecaster.forecast([]) == []


@pytest.mark.parametrize(
    ("quantiles", "message"),
    [([[0.0, 1.0]], "shape"), ([[0.1, 0.0, 0.2]], "cross"), ([[0.0, np.nan, 1.0]], "not finite")],
)
def test_an_invalid_forecast_is_rejected(quantiles: list[list[float]], message: str) -> None:
    """The record rejects wrong shapes, crossing quantiles and NaN."""
    with pytest.raises(ValueError, match=message):
        Forecast(
            venue="binance", symbol="BTC-USDT", close_time_us=0, interval_us=1, horizons=(1,), levels=(0.1, 0.5, 0.9),
            quantiles=np.array(quantiles), volatility=np.ones(1), prob_up=np.ones(1), attention=None,
            model=ModelInfo("x", "x", None),
        )  # fmt: skip
