"""Frames as Binance spells them: recorded ones where a recording lies beside the repository, else reconstructed.

They begin now, as live frames do. A recording of a few thousand is repeated with its ids and times moved on, so
that every symbol's sequence stays without a hole and several hours go by. The reconstruction is the simulator's, of
the shipped sample, an hour of it in a minute.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from daemon.simulator.loading import load_sample
from daemon.simulator.market_data import Timeline
from daemon.simulator.tape import AggregateTrade, Tape

_RECORDING = Path(__file__).parents[2] / "shared/recordings/binance/spot_2021-04-04_BTC-ETH-DOT_aggTrade_kline.jsonl"


class Frames(msgspec.Struct, frozen=True):
    """``source`` says where they come from; ``symbols`` are BASE-QUOTE."""

    source: str
    symbols: tuple[str, ...]
    frames: list[bytes]


def load_frames(count: int) -> Frames:
    """``count`` combined-stream frames of aggregate trades in the venue's order, ids without holes per symbol."""
    if _RECORDING.exists():
        return Frames("recorded", ("BTC-USDT", "DOT-USDT", "ETH-USDT"), list(islice(_repeated(_recorded()), count)))
    return Frames("reconstructed", ("BTC-USDT", "ETH-USDT", "SOL-USDT"), list(islice(_reconstructed(), count)))


def _recorded() -> list[dict[str, Any]]:
    """The recorded aggregate trades, later copies of an id left out."""
    trades: dict[tuple[str, int], dict[str, Any]] = {}
    for line in _RECORDING.read_bytes().splitlines():
        message = msgspec.json.decode(line)
        if message["dir"] == "recv" and "aggTrade" in message["data"]:
            trade = msgspec.json.decode(message["data"])["data"]
            trades.setdefault((trade["s"], trade["a"]), trade)
    return list(trades.values())


def _repeated(trades: list[dict[str, Any]]) -> Iterator[bytes]:
    times = [trade["T"] for trade in trades]
    span_ms = max(times) - min(times) + 1
    later_ms = int(time.time() * 1000) - min(times)
    next_id: dict[str, int] = {}
    while True:
        for trade in trades:
            trade_id = next_id.setdefault(trade["s"], trade["a"])
            next_id[trade["s"]] += 1
            moved = {name: trade[name] + later_ms for name in ("E", "T")}
            yield _encoded(trade | moved | {"a": trade_id})
        later_ms += span_ms


def _reconstructed() -> Iterator[bytes]:
    data = load_sample()
    first = data.live_index(live_days=60.0)
    now_us = int(time.time()) * 1_000_000
    tape = Tape(data, Timeline.retimed(interval_us=60_000_000, live_index=first, live_from_us=now_us))
    for index in range(first, len(data)):
        trades = [(trade.time_ms, symbol, trade) for symbol in data.series for trade in tape.bar(symbol, index)]
        for _, symbol, trade in sorted(trades, key=lambda each: each[:2]):
            series = data.series[symbol]
            yield _encoded(_as_binance(symbol, trade, series.price_decimals, series.size_decimals))


def _as_binance(symbol: str, trade: AggregateTrade, price_decimals: int, size_decimals: int) -> dict[str, Any]:
    return {
        "e": "aggTrade",
        "E": trade.time_ms + 1,
        "s": symbol,
        "a": trade.id,
        "p": f"{trade.price / 10**price_decimals:.8f}",
        "q": f"{trade.size / 10**size_decimals:.8f}",
        "f": trade.first_id,
        "l": trade.last_id,
        "T": trade.time_ms,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def _encoded(trade: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"stream": f"{trade['s'].lower()}@aggTrade", "data": trade})
