"""Bitstamp: a frame recorded in January 2022, documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from daemon.errors import DataFault
from daemon.exchanges.base import Acknowledged, ClosingSoon, Heartbeat, Refused, TradesWanted
from daemon.exchanges.bitstamp import Bitstamp
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample

KNOWN_AT_US = 1_641_343_800_000_000


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:  # Bitstamp repeats no number
    """One answer for the channel."""
    channels = [f"live_trades_{symbol.replace('-', '').lower()}" for symbol in symbols]
    return [
        json.dumps({"event": "bts:subscription_succeeded", "channel": channel, "data": {}}).encode()
        for channel in channels
    ]


SAMPLE = Sample(
    make=Bitstamp,
    symbol="ETH-USD",
    native="ethusd",
    trade_frame=(
        b'{"data":{"id":216000477,"timestamp":"1641343699","amount":0.0792,"amount_str":"0.07920000",'
        b'"price":3805.44,"price_str":"3805.44","type":0,"microtimestamp":"1641343699596000",'
        b'"buy_order_id":1443875737346049,"sell_order_id":1443875731320832},"channel":"live_trades_ethusd",'
        b'"event":"trade"}'
    ),
    trades=(Trade(216_000_477, 1_641_343_699_596_000, 3_805.44, 0.0792, taker_buys=True),),
    price=b'"3805.44"',
    size=b'"0.07920000"',
    time=b'"1641343699596000"',
    id=b"216000477",
    name=b'"live_trades_ethusd"',
    seconds_time=b'"1000000"',
    other_frames=(
        (
            b'{"event":"bts:subscription_succeeded","channel":"live_trades_ethusd","data":{}}',
            Acknowledged(None, ("ETH-USD",)),
        ),
        (b'{"event":"bts:subscription_succeeded","channel":"diff_order_book_ethusd","data":{}}', Heartbeat()),
        (
            b'{"event":"bts:error","channel":"","data":{"code":null,"message":"Invalid channel provided."}}',
            Refused(None, "Invalid channel provided."),
        ),
        (
            b'{"event":"bts:error","channel":"live_trades_ethusd","data":{"code":4009,"message":"Expired"}}',
            Refused(None, "Expired", ("ETH-USD",)),
        ),
        (b'{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}', Heartbeat()),
        (b'{"event":"bts:request_reconnect","channel":"","data":""}', ClosingSoon("bts:request_reconnect")),
        (b'{"event":"bts:request_reconnect","channel":"","data":null}', ClosingSoon("bts:request_reconnect")),
        (b'{"event":"data","channel":"order_book_ethusd","data":{"bids":[],"asks":[]}}', Heartbeat()),
        (b'{"event":"order_created","channel":"live_orders_ethusd","data":{"id":1}}', Heartbeat()),
    ),
    acknowledgement=acknowledgement,
    trades_body=(
        b'[{"amount":"0.07920000","date":"1641343699","price":"3805.44","tid":"216000477","type":"0"},'
        b'{"amount":"1.50000000","date":"1641343699","price":"3805.40","tid":"216000470","type":"1"},'
        b'{"amount":"0.10000000","date":"1641343690","price":"3805.00","tid":"216000461","type":"0"}]'
    ),
    trades_wanted=TradesWanted(
        symbol="ETH-USD",
        from_id=None,
        from_time_us=1_641_343_695_000_000,
        until_id=None,
        asked_at_us=KNOWN_AT_US,
    ),
    trades_page=(
        Trade(216_000_461, 1_641_343_690_000_000, 3_805.0, 0.1, taker_buys=True),
        Trade(216_000_470, 1_641_343_699_000_000, 3_805.4, 1.5, taker_buys=False),
        Trade(216_000_477, 1_641_343_699_000_000, 3_805.44, 0.0792, taker_buys=True),
    ),
    candles_body=(
        b'{"data":{"pair":"ETH/USD","ohlc":[{"timestamp":"1641343620","open":"3804.11","high":"3806.00",'
        b'"low":"3804.00","close":"3805.00","volume":"12.34567890"},{"timestamp":"1641343680","open":"3805.00",'
        b'"high":"3805.00","low":"3805.00","close":"3805.00","volume":"0.00000000"}]}}'
    ),
    candle_interval_us=60_000_000,
    candles=(
        Bar(
            venue="bitstamp",
            symbol="ETH-USD",
            interval_us=60_000_000,
            open_time_us=1_641_343_620_000_000,
            open=3_804.11,
            high=3_806.0,
            low=3_804.0,
            close=3_805.0,
            volume=12.3456789,
            quote_volume=None,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
        Bar(
            venue="bitstamp",
            symbol="ETH-USD",
            interval_us=60_000_000,
            open_time_us=1_641_343_680_000_000,
            open=None,
            high=None,
            low=None,
            close=None,
            volume=0.0,
            quote_volume=None,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
    ),
    candles_known_at_us=KNOWN_AT_US,
    instruments_body=(
        b'[{"name":"ETH/USD","url_symbol":"ethusd","base_decimals":8,"counter_decimals":2,"trading":"Enabled"},'
        b'{"name":"OLD/USD","url_symbol":"oldusd","base_decimals":8,"counter_decimals":2,"trading":"Disabled"},'
        b'{"name":"BTC/USD-PERP","url_symbol":"btcusd-perp","base_decimals":8,"counter_decimals":0,'
        b'"trading":"Enabled"}]'
    ),
    instruments={"ETH-USD": "TRADING", "OLD-USD": "Disabled"},
    time_body=b'{"timestamp":"1641343700","last":"46000.00","volume":"1000.0"}',
    time_date="Wed, 05 Jan 2022 00:48:20 GMT",
    time_us=1_641_343_700_500_000,
    complaints=(
        (b'{"status":"error","reason":"Invalid step","code":"API0000"}', DataFault),
        (b'{"error":"Wrong currency pair."}', DataFault),
    ),
)
