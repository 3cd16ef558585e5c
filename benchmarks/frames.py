"""Synthetic frames in each venue's format, generated from a random walk.

A few hours of three symbols, the last of them now. The same count gives the same frames but for their times. Ids
are without holes where the venue's are; one taker order often makes several trades, which some venues send in one
message and others merge into one record.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from features.market import HOUR_US, interval_start

_HOURS = 3
# How many trades a taker order makes, one to five: as in a page of Kraken's trades of a November morning.
_FILLS = (70, 16, 6, 4, 4)


class Frames(msgspec.Struct, frozen=True):
    """``symbols`` are BASE-QUOTE; ``trades`` is how many records the frames hold, ``times_us`` when each was sent."""

    venue: str
    symbols: tuple[str, ...]
    frames: list[bytes]
    times_us: list[int]
    trades: int
    begin_us: int


class Fill(NamedTuple):
    """One trade. ``number`` counts those of all symbols, ``id`` those of this one; ``price`` and ``size`` are text.

    merged: how many trades were made one, ``id`` being the last of them. record: counts the merged ones.
    """

    symbol: str
    number: int
    id: int
    record: int
    merged: int
    time_us: int
    price: str
    size: str
    buys: bool


class _Walk:
    """A symbol's price, in ticks of 10**-decimals, and its ids."""

    def __init__(self, symbol: str, price: float, decimals: int, draw: random.Random) -> None:
        self._symbol = symbol
        self._decimals = decimals
        self._ticks = round(price * 10**decimals)
        self._draw = draw
        self._record, self._id = draw.randrange(10**7, 10**8), draw.randrange(10**8, 10**9)

    def fill(self, number: int, time_us: int, *, buys: bool, merged: int) -> Fill:
        self._ticks += self._draw.choice((0, 0, 1)) * (1 if buys else -1)
        self._record, self._id = self._record + 1, self._id + merged
        price = f"{self._ticks / 10**self._decimals:.{self._decimals}f}"
        size = f"{self._draw.lognormvariate(-3, 2) + 1e-6:.8f}"
        return Fill(self._symbol, number, self._id, self._record, merged, time_us, price, size, buys)


class _Shape(NamedTuple):
    """How a venue sends trades. together: whether one message holds all that a taker order made.

    merges: whether one record does. crowds: whether a message may hold several symbols.
    """

    quote: str
    spell: Callable[[Sequence[Fill], random.Random], str]
    together: bool = False
    merges: bool = False
    crowds: bool = False


def load_frames(venue: str, count: int) -> Frames:
    """``count`` frames of trades in the venue's order, of hours that are over."""
    shape, draw = _SHAPES[venue], random.Random(venue)  # no secret
    symbols = tuple(f"{base}-{shape.quote}" for base in ("BTC", "ETH", "SOL"))
    walks = [
        _Walk(symbol, price, decimals, draw)
        for symbol, price, decimals in zip(symbols, (98_000, 3_400, 190), (2, 2, 3), strict=True)
    ]
    begin_us = interval_start(time.time_ns() // 1000, HOUR_US) - _HOURS * HOUR_US
    frames: list[bytes] = []
    times_us: list[int] = []
    trades = 0
    for fills in _messages(shape, walks, draw, begin_us=begin_us, pause_us=_HOURS * HOUR_US // (count + count // 10)):
        frames.append(shape.spell(fills, draw).encode())
        times_us.append(fills[-1].time_us)
        trades += len(fills)
        if len(frames) == count:
            break
    return Frames(venue, symbols, frames, times_us, trades, begin_us)


def _messages(
    shape: _Shape, walks: Sequence[_Walk], draw: random.Random, *, begin_us: int, pause_us: int
) -> Iterator[list[Fill]]:
    """Endless messages; ``pause_us`` is the mean pause between them."""
    time_us, number = begin_us, 0
    waiting: list[Fill] = []
    while True:
        time_us += draw.randrange(1, 2 * pause_us)
        (walk,) = draw.choices(walks, (5, 3, 2))
        buys, (count,) = draw.random() < 0.5, draw.choices((1, 2, 3, 4, 5), _FILLS)
        repeats, merged = (1, count) if shape.merges else (count if shape.together else 1, 1)
        fills = []
        for _ in range(repeats):
            number += 1
            fills.append(walk.fill(number, time_us, buys=buys, merged=merged))
        if shape.crowds and draw.random() < 0.01:
            waiting += fills  # it goes with the next order's message, whose symbol may be another
        else:
            yield waiting + fills
            waiting = []


# The venues' spellings


def _binance(fills: Sequence[Fill], _draw: random.Random) -> str:
    (fill,) = fills
    native, time_ms = fill.symbol.replace("-", ""), fill.time_us // 1000
    return (
        f'{{"stream":"{native.lower()}@aggTrade","data":{{"e":"aggTrade","E":{time_ms + 1},"s":"{native}",'
        f'"a":{fill.record},"p":"{float(fill.price):.8f}","q":"{fill.size}","f":{fill.id - fill.merged + 1},'
        f'"l":{fill.id},"T":{time_ms},"m":{_json(not fill.buys)},"M":true}}}}'
    )


def _coinbase(fills: Sequence[Fill], _draw: random.Random) -> str:
    """``side`` is the maker's, and the newest trade comes first."""
    trades = ",".join(
        f'{{"product_id":"{fill.symbol}","trade_id":"{fill.id}","price":"{fill.price}","size":"{fill.size}",'
        f'"time":"{_iso(fill.time_us)}","side":"{"SELL" if fill.buys else "BUY"}"}}'
        for fill in reversed(fills)
    )
    return (
        f'{{"channel":"market_trades","client_id":"","timestamp":"{_iso(fills[-1].time_us + 60_000)[:-1]}169Z",'
        f'"sequence_num":{fills[-1].number},"events":[{{"type":"update","trades":[{trades}]}}]}}'
    )


def _kraken(fills: Sequence[Fill], draw: random.Random) -> str:
    """Prices and sizes are JSON numbers."""
    trades = ",".join(
        f'{{"symbol":"{fill.symbol.replace("-", "/")}","side":"{"buy" if fill.buys else "sell"}",'
        f'"price":{fill.price},"qty":{fill.size},"ord_type":"{draw.choice(("limit", "market"))}",'
        f'"trade_id":{fill.id},"timestamp":"{_iso(fill.time_us)}"}}'
        for fill in fills
    )
    return f'{{"channel":"trade","type":"update","data":[{trades}]}}'


def _bybit(fills: Sequence[Fill], draw: random.Random) -> str:
    native, time_ms = fills[0].symbol.replace("-", ""), fills[0].time_us // 1000
    trades = ",".join(
        f'{{"i":"{2_280_000_000_000_000_000 + 2 * fill.number + draw.randrange(2)}","T":{time_ms},"p":"{fill.price}",'
        f'"v":"{fill.size}","S":"{"Buy" if fill.buys else "Sell"}","seq":{178_477_362_706 + fill.number},'
        f'"s":"{native}","BT":false,"RPI":false}}'
        for fill in fills
    )
    return f'{{"topic":"publicTrade.{native}","ts":{time_ms + 1},"type":"snapshot","data":[{trades}]}}'


def _bybit_linear(fills: Sequence[Fill], draw: random.Random) -> str:
    native, time_ms = fills[0].symbol.replace("-", ""), fills[0].time_us // 1000
    trades = ",".join(
        f'{{"T":{time_ms},"s":"{native}","S":"{"Buy" if fill.buys else "Sell"}","v":"{fill.size}",'
        f'"p":"{fill.price}","L":"{draw.choice(("PlusTick", "MinusTick", "ZeroPlusTick"))}","i":"{_uuid(draw)}",'
        f'"BT":false,"RPI":false,"seq":{753_843_954_913 + fill.number}}}'
        for fill in fills
    )
    return f'{{"topic":"publicTrade.{native}","type":"snapshot","ts":{time_ms + 1},"data":[{trades}]}}'


def _okx(fills: Sequence[Fill], _draw: random.Random) -> str:
    (fill,) = fills
    return (
        f'{{"arg":{{"channel":"trades","instId":"{fill.symbol}"}},"data":[{{"instId":"{fill.symbol}",'
        f'"tradeId":"{fill.id}","px":"{fill.price}","sz":"{fill.size}","side":"{"buy" if fill.buys else "sell"}",'
        f'"ts":"{fill.time_us // 1000}","count":"{fill.merged}","source":"0","seqId":{fill.number}}}]}}'
    )


def _bitstamp(fills: Sequence[Fill], _draw: random.Random) -> str:
    (fill,) = fills
    orders = 1_443_875_737_346_049 + 1000 * fill.number
    return (
        f'{{"data":{{"id":{216_000_477 + fill.number},"timestamp":"{fill.time_us // 1_000_000}",'
        f'"amount":{float(fill.size)!r},"amount_str":"{fill.size}","price":{float(fill.price)!r},'
        f'"price_str":"{fill.price}","type":{int(not fill.buys)},"microtimestamp":"{fill.time_us}",'
        f'"buy_order_id":{orders},"sell_order_id":{orders - 17}}},'
        f'"channel":"live_trades_{fill.symbol.replace("-", "").lower()}","event":"trade"}}'
    )


_SHAPES = {
    "binance": _Shape("USDT", _binance, merges=True),
    "coinbase": _Shape("USD", _coinbase, together=True),
    "kraken": _Shape("USD", _kraken, together=True, crowds=True),
    "bybit": _Shape("USDT", _bybit, together=True),
    "bybit_linear": _Shape("USDT", _bybit_linear, together=True),
    "okx": _Shape("USDT", _okx, merges=True),
    "bitstamp": _Shape("USD", _bitstamp),
}


def _iso(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06}Z"


def _uuid(draw: random.Random) -> str:
    digits = f"{draw.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _json(value: bool) -> str:
    return "true" if value else "false"
