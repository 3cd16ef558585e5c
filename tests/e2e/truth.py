"""The true trades of a simulated exchange, read by REST."""

from __future__ import annotations

import json
import math
import urllib.request
from typing import Any

from daemon.timestamps import from_iso


def trades(rest_url: str, symbol: str, start_us: int, end_us: int) -> list[dict[str, Any]]:
    """Every aggregate trade with a time in ``[start_us, end_us)``."""
    found: list[dict[str, Any]] = []
    query = f"startTime={start_us // 1000}&endTime={end_us // 1000 - 1}"
    while page := _get(f"{rest_url}/api/v3/aggTrades?symbol={symbol}&limit=1000&{query}"):
        inside = [trade for trade in page if trade["T"] * 1000 < end_us]
        found += inside
        if len(inside) < 1000:
            break
        query = f"fromId={found[-1]['a'] + 1}"
    return found


def assert_real(bar: dict[str, Any], rest_url: str) -> None:
    """A bar message says exactly what its interval's trades add up to."""
    made = trades(rest_url, bar["symbol"].replace("-", ""), from_iso(bar["open_time"]), from_iso(bar["close_time"]))
    prices, sizes = [float(each["p"]) for each in made], [float(each["q"]) for each in made]
    bought = [not each["m"] for each in made]
    assert (bar["open"], bar["high"], bar["low"], bar["close"]) == (prices[0], max(prices), min(prices), prices[-1])
    assert bar["trades"] == sum(each["l"] - each["f"] + 1 for each in made)
    assert (bar["first_trade_id"], bar["last_trade_id"]) == (made[0]["a"], made[-1]["a"])
    quotes = [price * size for price, size in zip(prices, sizes, strict=True)]
    sums = {
        "volume": sizes,
        "quote_volume": quotes,
        "taker_buy_volume": [size for size, buy in zip(sizes, bought, strict=True) if buy],
        "taker_buy_quote_volume": [quote for quote, buy in zip(quotes, bought, strict=True) if buy],
    }
    for name, parts in sums.items():
        assert math.isclose(bar[name], math.fsum(parts), rel_tol=1e-9), name


def _get(url: str) -> Any:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return json.load(answer)
