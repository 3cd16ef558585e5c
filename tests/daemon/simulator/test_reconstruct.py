"""A bar's reconstructed trades add up to the bar again, to the last unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import MarketData
from daemon.simulator.reconstruct import MAX_RECORDS, BarFigures, Records, needed_records, reconstruct
from tests.daemon.simulator.bars import bar_of, series_of
from tests.properties import examples

TRADES = st.lists(
    st.tuples(st.integers(9_000, 9_400), st.integers(1, 50_000), st.booleans()), min_size=1, max_size=300
).map(lambda rows: bar_of(*(list(column) for column in zip(*rows, strict=True))))


@pytest.fixture(scope="module")
def sample() -> MarketData:
    return load_sample()


def quote_errors(bar: BarFigures, records: Records) -> tuple[int, int]:
    """Units by which the quote volume and the takers' quote volume miss the bar's."""
    bought = records.taker_buys
    total = int(records.price @ records.size) - bar.quote_volume
    return abs(total), abs(int(records.price[bought] @ records.size[bought]) - bar.taker_buy_quote_volume)


def assert_shape(bar: BarFigures, records: Records) -> None:
    """Everything but the quote volumes, which are exact in every bar."""
    bought = records.taker_buys
    assert len(records.price) == min(bar.trades, bar.volume, MAX_RECORDS)
    assert (records.price[0], records.price[-1]) == (bar.open, bar.close)
    assert (records.price.max(), records.price.min()) == (bar.high, bar.low)
    assert records.size.sum() == bar.volume
    assert records.size[bought].sum() == bar.taker_buy_volume
    assert records.raw_trades.sum() == bar.trades
    assert min(records.size.min(), records.raw_trades.min()) >= 1
    assert (np.diff(records.moment) >= 0).all()
    assert 0 < records.moment[0] <= records.moment[-1] < 1


def assert_exact(data: MarketData, symbol: str, indices: list[int]) -> None:
    for index in indices:
        bar = data.series[symbol].figures(index)
        records = reconstruct(bar, np.random.default_rng(index))
        assert_shape(bar, records)
        assert quote_errors(bar, records) == (0, 0), f"{symbol} bar {index}"


def edges(data: MarketData, symbol: str) -> list[int]:
    """The bars that are extreme in some way, and the first and the last."""
    series = data.series[symbol]
    measures = (
        series.volume,
        series.trades,
        series.high - series.low,
        (series.high - series.low) / series.low,
        series.taker_buy_volume / series.volume,
        series.quote_volume / series.volume / series.high,
        series.quote_volume / series.volume / series.low,
        np.abs(series.close - series.open),
    )
    extremes = {int(at) for measure in measures for at in np.argsort(measure)[[0, 1, 2, -3, -2, -1]]}
    return sorted(extremes | {0, len(data) - 1})


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_real_bars_come_back_exactly(sample: MarketData, symbol: str) -> None:
    """Every extreme bar and 300 random ones of the sample are matched without any error."""
    chosen = np.random.default_rng(5).choice(len(sample), 300, replace=False).tolist()
    assert_exact(sample, symbol, edges(sample, symbol) + chosen)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
def test_every_fourth_hour_of_the_sample_comes_back_exactly(sample: MarketData, symbol: str) -> None:
    """Every small bar has an exact solution, quote volumes included."""
    assert_exact(sample, symbol, list(range(0, len(sample), 4)))


# Four trades whose buyers' quote volume is met by one price and one division of the lots only.
FEW = bar_of([9000, 9000, 9164, 9150], [928, 1130, 12, 5], [False, True, True, False])


@examples(80)
@given(bar=TRADES, seed=st.integers(0, 2**32))
@example(bar=FEW, seed=0)
def test_any_bar_that_trades_made_is_made_again(bar: BarFigures, seed: int) -> None:
    """Whatever trades made a bar, prices, volumes and counts are exact; quote volumes miss by a lot a side at most."""
    records = reconstruct(bar, np.random.default_rng(seed))
    assert_shape(bar, records)
    # Each side may be left a lot away from its sum where it has too few records to give change.
    allowed = max(2 * (bar.high - bar.low), bar.quote_volume // 1_000_000)
    assert max(quote_errors(bar, records)) <= allowed


@examples(40)
@given(
    rows=st.lists(
        st.tuples(st.integers(9_000, 9_100), st.integers(500, 50_000), st.booleans()), min_size=40, max_size=120
    ),
    seed=st.integers(0, 2**32),
)
def test_bars_of_many_trades_are_exact(rows: list[tuple[int, int, bool]], seed: int) -> None:
    """With dozens of trades of some size on either side, quote volumes are exact too."""
    prices, sizes, buys = (list(column) for column in zip(*rows, strict=True))
    buys[:10], buys[10:20] = [True] * 10, [False] * 10
    bar = bar_of(prices, sizes, buys)
    assert quote_errors(bar, reconstruct(bar, np.random.default_rng(seed))) == (0, 0)


def test_the_same_seed_makes_the_same_trades() -> None:
    """Reconstruction is random by the given generator only."""
    bar = bar_of([100, 130, 90, 110] * 20, [7, 50, 3, 9] * 20, [True, False, False, True] * 20)
    first, second, other = (reconstruct(bar, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((left == right).all() for left, right in zip(first, second, strict=True))
    assert (first.price != other.price).any()


def test_a_bar_without_trades_has_no_records() -> None:
    """An empty bar stays empty."""
    records = reconstruct(BarFigures(100, 100, 100, 100, 0, 0, 0, 0, 0), np.random.default_rng(0))
    assert [len(column) for column in records] == [0] * 5


def test_one_trade_is_one_record_right_after_the_open() -> None:
    """One trade has the bar's volume and price."""
    bar = bar_of([100], [7], [True])
    records = reconstruct(bar, np.random.default_rng(0))
    assert_shape(bar, records)
    assert quote_errors(bar, records) == (0, 0)


def test_a_price_that_never_moved() -> None:
    """A bar of zero range is exact with any number of trades."""
    for trades in (1, 2, 3, 4, 500):
        bar = bar_of([100] * trades, [5] * trades, [index % 2 == 0 for index in range(trades)])
        records = reconstruct(bar, np.random.default_rng(trades))
        assert_shape(bar, records)
        assert quote_errors(bar, records) == (0, 0)


def test_records_are_capped_and_spread_over_the_bar() -> None:
    """A busy bar has 240 records, the first at once, the last near the end."""
    prices = np.random.default_rng(2).integers(900, 1_100, 5_000).tolist()
    bar = bar_of(prices, [3] * 5_000, [price % 2 == 0 for price in prices])
    records = reconstruct(bar, np.random.default_rng(0))
    assert len(records.price) == MAX_RECORDS
    assert records.moment[0] < 0.001
    assert records.moment[-1] > 0.99


def test_an_impossible_bar_is_refused() -> None:
    """Two trades cannot show four different prices."""
    bar = BarFigures(100, 120, 80, 110, 10, 1_000, 2, 5, 500)
    assert needed_records(series_of("BTCUSDT", [bar])).tolist() == [4]
    with pytest.raises(ValueError, match="cannot show"):
        reconstruct(bar, np.random.default_rng(0))
