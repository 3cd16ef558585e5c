"""What a start takes from the stored history."""

from __future__ import annotations

import msgspec

from daemon.runtime.startup import last_closes
from features.frames import bars_frame
from tests.daemon.forecasting.forecast_builders import bar


def test_the_last_close_is_of_the_last_bar_with_a_trade() -> None:
    """The newest bars may be empty."""
    quiet = [msgspec.structs.replace(bar(hour, 1.0), open=None, high=None, low=None, close=None) for hour in (2, 3)]
    frame = bars_frame([bar(0, 99.0), bar(1, 105.0), *quiet])
    assert last_closes(frame) == [("binance", "BTC-USDT", 105.0)]
    assert last_closes(bars_frame(quiet)) == []
