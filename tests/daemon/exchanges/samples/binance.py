"""Binance: a frame recorded in April 2021 (three raw trades made of one), answers of October 2021, documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from daemon.exchanges.base import (
    Acknowledged,
    ClosingSoon,
    Heartbeat,
    Listed,
    Refused,
    TradesWanted,
)
from daemon.exchanges.binance import Binance
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample

KNOWN_AT_US = 1_634_950_000_000_000


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:  # Binance names none
    """One answer for the whole request."""
    return [json.dumps({"result": None, "id": request_id}).encode()]


SAMPLE = Sample(
    make=Binance,
    symbol="BTC-USDT",
    native="BTCUSDT",
    trade_frame=(
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1617566591315,"s":"BTCUSDT","a":665076760,'
        b'"p":"58001.03000000","q":"0.08620500","f":745522877,"l":745522879,"T":1617566591314,"m":true,"M":true}}'
    ),
    trades=(Trade(665_076_760, 1_617_566_591_314_000, 58_001.03, 0.086205, taker_buys=False, count=3),),
    price=b'"58001.03000000"',
    size=b'"0.08620500"',
    time=b"1617566591314",
    id=b"665076760",
    name=b'"BTCUSDT"',
    seconds_time=b"1000",
    other_frames=(
        (b'{"result":null,"id":1}', Acknowledged(1)),
        (b'{"result":["btcusdt@aggTrade"],"id":3}', Listed(3, ("BTC-USDT",))),
        (b'{"result":[],"id":4}', Listed(4, ())),
        (b'{"result":["xrpusdt@aggTrade","btcusdt@trade"],"id":5}', Listed(5, ())),
        (b'{"code":2,"msg":"Invalid request"}', Refused(None, "Invalid request (code 2)")),
        (b'{"code":2,"msg":"Invalid request","id":7}', Refused(7, "Invalid request (code 2)")),
        (b'{"error":{"code":3,"msg":"no"},"id":7}', Refused(7, "no (code 3)")),
        (b'{"e":"serverShutdown","E":1770123456789}', ClosingSoon("serverShutdown")),
        (
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
            ClosingSoon("serverShutdown"),
        ),
        (b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1,"s":"BTCUSDT","k":{}}}', Heartbeat()),
        (b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT"}}', Heartbeat()),
        (b'{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345}', Heartbeat()),
    ),
    acknowledgement=acknowledgement,
    # The third record is marked as Binance marks invalidated duplicates.
    trades_body=(
        b'[{"a":966492862,"p":"60759.60000000","q":"0.00841000","f":1111480471,"l":1111480471,"T":1634944096633,'
        b'"m":false,"M":true},'
        b'{"a":966492863,"p":"60759.59000000","q":"0.00037000","f":1111480472,"l":1111480474,"T":1634944096877,'
        b'"m":true,"M":true},'
        b'{"a":966492864,"p":"0.00000000","q":"0.00000000","f":-1,"l":-1,"T":1634944096878,"m":true,"M":true}]'
    ),
    trades_wanted=TradesWanted(
        symbol="BTC-USDT",
        from_id=966_492_862,
        from_time_us=1_634_944_096_000_000,
        until_id=None,
        asked_at_us=KNOWN_AT_US,
    ),
    trades_page=(
        Trade(966_492_862, 1_634_944_096_633_000, 60_759.6, 0.00841, taker_buys=True, count=1),
        Trade(966_492_863, 1_634_944_096_877_000, 60_759.59, 0.00037, taker_buys=False, count=3),
        Trade(966_492_864, 1_634_944_096_878_000, 0.0, 0.0, taker_buys=False, count=0),
    ),
    candles_body=(
        b'[[1634943780000,"60685.22000000","60729.84000000","60670.90000000","60719.27000000","21.63272000",'
        b'1634943839999,"1313200.01340410",617,"12.28492000","745719.41022840","0"]]'
    ),
    candle_interval_us=60_000_000,
    candles=(
        Bar(
            venue="binance",
            symbol="BTC-USDT",
            interval_us=60_000_000,
            open_time_us=1_634_943_780_000_000,
            open=60_685.22,
            high=60_729.84,
            low=60_670.9,
            close=60_719.27,
            volume=21.63272,
            quote_volume=1_313_200.0134041,
            trades=617,
            taker_buy_volume=12.28492,
            taker_buy_quote_volume=745_719.4102284,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
    ),
    candles_known_at_us=KNOWN_AT_US,
    instruments_body=(
        b'{"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","filters":[]},'
        b'{"symbol":"LUNABUSD","status":"BREAK","baseAsset":"LUNA","quoteAsset":"BUSD","filters":[]}]}'
    ),
    instruments={"BTC-USDT": "TRADING", "LUNA-BUSD": "BREAK"},
    time_body=b'{"serverTime":1499827319559}',
    time_date="",
    time_us=1_499_827_319_559_000,
)
