"""Valid frames and candles with figures that cannot be, on every venue: a huge trade id, a huge volume."""

from __future__ import annotations

import pytest

from daemon.errors import DataFault
from tests.daemon.simulator.bars import HOUR_US
from tests.daemon.simulator.running_exchange import LIVE_US
from tests.daemon.simulator.test_venue_faults import candles_of
from tests.daemon.simulator.venue_client import SYMBOLS, VenueClient

BTC, ETH = SYMBOLS
UNITS = 10**27


@pytest.mark.parametrize("trade_id", [9_000_000_000_000_000_000, pytest.param(4_000_000_000, marks=pytest.mark.long)])
async def test_a_valid_frame_with_a_huge_id(feed: VenueClient, trade_id: int) -> None:
    """One trade of the symbol at the last price and the present time; subscribers of others receive nothing."""
    async with feed.connect() as connection, feed.connect() as other:
        await feed.subscribe(connection)
        await feed.receive_trades(connection, quiet_s=0.3)
        await feed.subscribe(other, (ETH,))
        await feed.receive_trades(other, quiet_s=0.3)
        for trades in feed.received.values():
            trades.clear()
        feed.exchange.send_huge_id(BTC, trade_id)
        await feed.receive_trades(connection, quiet_s=0.3)
        first = dict(feed.received[BTC])
        feed.received[BTC].clear()
        await feed.receive_trades(other, quiet_s=0.3)
    assert not feed.received[BTC]
    assert not feed.received[ETH]
    if feed.name == "bybit_linear":
        assert not first
        return
    (trade,) = first.values()
    last = feed.exchange.tape.latest("BTCUSDT", 1, LIVE_US)[0]
    assert trade.trade_id == trade_id
    assert trade.time_us == LIVE_US if feed.name != "kraken" else 0 <= trade.time_us - LIVE_US < 1_000
    assert trade.price == last.price / 10 ** feed.exchange.tape.data.series["BTCUSDT"].price_decimals


async def test_the_trade_with_a_huge_id_is_not_served_by_rest(feed: VenueClient) -> None:
    """The bar's truth is unchanged: REST and the following frames have the venue's own ids."""
    async with feed.connect() as connection:
        await feed.subscribe(connection)
        feed.exchange.send_huge_id(BTC)
        feed.clock.set(LIVE_US + HOUR_US)
        await feed.receive_trades(connection)
    trades = [trade for trade in feed.between(BTC, LIVE_US, LIVE_US + HOUR_US) if trade.trade_id != 9 * 10**18]
    feed.check(trades, BTC, LIVE_US, HOUR_US)


@pytest.mark.parametrize("units", [UNITS, 10**13])
async def test_a_candle_with_a_huge_volume(feed: VenueClient, units: int) -> None:
    """The last closed hour of one symbol has it until the fault ends; the other symbol is right."""

    async def volumes(symbol: str) -> list[float]:
        body, _ = await feed.body(candles_of(feed, symbol))
        rejected: list[DataFault] = []
        bars = feed.protocol.decode_candles(
            body, symbol=symbol, interval_us=HOUR_US, known_at_us=LIVE_US, reject=rejected.append
        )
        if rejected:
            assert len(rejected) == 1, "only the candle with the figure is impossible"
            return [float(units)]
        return [bar.volume for bar in bars if LIVE_US - HOUR_US <= bar.open_time_us < LIVE_US]

    right = feed.exchange.truth(BTC, LIVE_US - HOUR_US, HOUR_US).volume
    other = feed.exchange.truth(ETH, LIVE_US - HOUR_US, HOUR_US).volume
    feed.exchange.enlarge_candle(BTC, units)
    assert await volumes(BTC) != [right]
    assert await volumes(ETH) == [other]
    feed.exchange.restore_candle(BTC)
    assert await volumes(BTC) == [right]
