"""The demo's judge: a live bar beside the real one of its hour."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daemon.cli.commands.demo_tally import differences
from daemon.simulator.market_data import Timeline
from daemon.simulator.tape import Tape
from features.bars import OpenBar
from features.market import Bar, Completeness, Instrument, Trade
from tests.daemon.simulator.bars import HOUR_US, START_US, small_market

MARKET = small_market(bars=3)


def real_bar(index: int = 1) -> Bar:
    """A bar made from the trades that the simulated exchange makes of the market's bar."""
    open_bar = OpenBar(Instrument("binance", "BTC-USDT"), open_time_us=START_US + index * HOUR_US, interval_us=HOUR_US)
    for made in Tape(MARKET, Timeline.as_recorded(MARKET)).bar("BTCUSDT", index):
        count = made.last_id - made.first_id + 1
        price, size = made.price / 100, made.size / 10_000
        open_bar.add(Trade(made.id, made.time_ms * 1000, price, size, not made.buyer_is_maker, count))
    return open_bar.bar(
        completeness=Completeness.PROVEN, known_at_us=START_US, missing_trades=0, revision=0, decimals=8
    )


@pytest.mark.parametrize("index", range(3))
def test_the_trades_of_an_hour_add_up_to_it(index: int) -> None:
    """What the exchange plays and the daemon's bars add up is the market's bar."""
    assert differences(real_bar(index), MARKET) == ""


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("open", 0.01),
        ("high", 0.01),
        ("low", -0.01),
        ("close", 0.01),
        ("volume", 0.0001),
        ("taker_buy_volume", -0.0001),
        ("trades", 1),
    ],
)
def test_the_smallest_difference_is_named(name: str, change: float) -> None:
    """One tick, one lot or one trade too many is found, and only that field is named."""
    bar = real_bar()
    changed: dict[str, Any] = {name: getattr(bar, name) + change}
    assert differences(msgspec.structs.replace(bar, **changed), MARKET) == name


def test_quote_volumes_agree_to_a_millionth() -> None:
    """A float's rounding passes, two parts in a million do not."""
    bar = real_bar()
    assert bar.quote_volume is not None
    close = msgspec.structs.replace(bar, quote_volume=bar.quote_volume * (1 + 5e-7))
    assert differences(close, MARKET) == ""
    wrong = msgspec.structs.replace(bar, quote_volume=bar.quote_volume * (1 + 2e-6))
    assert differences(wrong, MARKET) == "quote_volume"


def test_a_bar_of_another_hour_is_different() -> None:
    """The comparison is by time."""
    moved = msgspec.structs.replace(real_bar(1), open_time_us=START_US + 2 * HOUR_US)
    assert "close" in differences(moved, MARKET)
