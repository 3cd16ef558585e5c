"""Bybit spot: a frame recorded in August 2026, documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from daemon.errors import DataFault, RateLimited, Retryable
from daemon.exchanges.base import Acknowledged, Heartbeat, Refused, TradesWanted
from daemon.exchanges.bybit import Bybit
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample

KNOWN_AT_US = 1_786_311_000_000_000


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:  # Bybit names none
    """One answer for the whole request."""
    answer = {"success": True, "ret_msg": "subscribe", "conn_id": "2324d924-aa4d-45b0-a858-7b8be29ab52b"}
    return [json.dumps(answer | {"req_id": str(request_id), "op": "subscribe"}).encode()]


SAMPLE = Sample(
    make=Bybit,
    symbol="ETH-USDT",
    native="ETHUSDT",
    # The time of the push is one millisecond later than recorded, to tell it apart from the trade's.
    trade_frame=(
        b'{"topic":"publicTrade.ETHUSDT","ts":1786310821918,"type":"snapshot","data":[{"i":"2280000001739247417",'
        b'"T":1786310821917,"p":"1923.28","v":"0.04537","S":"Sell","seq":178477362706,"s":"ETHUSDT","BT":false,'
        b'"RPI":false}]}'
    ),
    trades=(Trade(2_280_000_001_739_247_417, 1_786_310_821_917_000, 1_923.28, 0.04537, taker_buys=False),),
    price=b'"1923.28"',
    size=b'"0.04537"',
    time=b"1786310821917",
    id=b'"2280000001739247417"',
    name=b'"ETHUSDT"',
    seconds_time=b"1000",
    other_frames=(
        (
            (
                b'{"success":true,"ret_msg":"subscribe","conn_id":"2324d924-aa4d-45b0-a858-7b8be29ab52b",'
                b'"req_id":"10001","op":"subscribe"}'
            ),
            Acknowledged(10001),
        ),
        (
            (
                b'{"success":true,"ret_msg":"","conn_id":"cejreaspqfm9se7usbrg-2xh","req_id":"sub-orderbook-1",'
                b'"op":"subscribe"}'
            ),
            Acknowledged(None),
        ),
        (
            b'{"success":false,"ret_msg":"Invalid topic: publicTrade.X","conn_id":"2324d924","op":"subscribe"}',
            Refused(None, "Invalid topic: publicTrade.X"),
        ),
        (
            b'{"success":false,"ret_msg":"Invalid topic","conn_id":"2324d924","req_id":"7","op":"subscribe"}',
            Refused(7, "Invalid topic"),
        ),
        (
            b'{"success":true,"ret_msg":"pong","conn_id":"0970e817-426e-429a-a679-ff7f55e0b16a","op":"ping"}',
            Heartbeat(),
        ),
        (b'{"topic":"kline.60.ETHUSDT","type":"snapshot","ts":1786310821918,"data":[{"confirm":false}]}', Heartbeat()),
        (b'{"topic":"tickers.ETHUSDT","type":"snapshot","ts":1786310821918,"data":{"lastPrice":"1"}}', Heartbeat()),
    ),
    acknowledgement=acknowledgement,
    trades_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"execId":"2280000001739247417",'
        b'"symbol":"ETHUSDT","price":"1923.28","size":"0.04537","side":"Sell","time":"1786310821917",'
        b'"isBlockTrade":false},{"execId":"2280000001739247416","symbol":"ETHUSDT","price":"1923.29",'
        b'"size":"0.1","side":"Buy","time":"1786310821917","isBlockTrade":false},{"execId":"2280000001739247394",'
        b'"symbol":"ETHUSDT","price":"1923.3","size":"0.2","side":"Buy","time":"1786310821000",'
        b'"isBlockTrade":false}]},"retExtInfo":{},"time":1786310822358}'
    ),
    trades_wanted=TradesWanted(
        symbol="ETH-USDT",
        from_id=None,
        from_time_us=1_786_310_821_500_000,
        until_id=None,
        asked_at_us=KNOWN_AT_US,
    ),
    trades_page=(
        Trade(2_280_000_001_739_247_394, 1_786_310_821_000_000, 1_923.3, 0.2, taker_buys=True),
        Trade(2_280_000_001_739_247_416, 1_786_310_821_917_000, 1_923.29, 0.1, taker_buys=True),
        Trade(2_280_000_001_739_247_417, 1_786_310_821_917_000, 1_923.28, 0.04537, taker_buys=False),
    ),
    # Newest first; the newest has no volume.
    candles_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"category":"spot","symbol":"ETHUSDT","list":['
        b'["1786310820000","1923.3","1923.3","1923.3","1923.3","0","0"],'
        b'["1786310760000","1922.48","1924.01","1922.48","1923.3","12.5","24038.9"]]},"retExtInfo":{},'
        b'"time":1786311000000}'
    ),
    candle_interval_us=60_000_000,
    candles=(
        Bar(
            venue="bybit",
            symbol="ETH-USDT",
            interval_us=60_000_000,
            open_time_us=1_786_310_760_000_000,
            open=1_922.48,
            high=1_924.01,
            low=1_922.48,
            close=1_923.3,
            volume=12.5,
            quote_volume=24_038.9,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
        Bar(
            venue="bybit",
            symbol="ETH-USDT",
            interval_us=60_000_000,
            open_time_us=1_786_310_820_000_000,
            open=None,
            high=None,
            low=None,
            close=None,
            volume=0.0,
            quote_volume=0.0,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
    ),
    candles_known_at_us=KNOWN_AT_US,
    instruments_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbol":"ETHUSDT","baseCoin":"ETH",'
        b'"quoteCoin":"USDT","innovation":"0","status":"Trading"},{"symbol":"LUNAUSDT","baseCoin":"LUNA",'
        b'"quoteCoin":"USDT","innovation":"0","status":"PreLaunch"}]},"retExtInfo":{},"time":1786311000000}'
    ),
    instruments={"ETH-USDT": "TRADING", "LUNA-USDT": "PreLaunch"},
    time_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"},'
        b'"retExtInfo":{},"time":1688639403423}'
    ),
    time_date="",
    time_us=1_688_639_403_423_213,
    complaints=(
        (b'{"retCode":10006,"retMsg":"Too many visits!","result":{},"time":1688639403423}', RateLimited),
        (b'{"retCode":10018,"retMsg":"Exceeded the IP Rate Limit","result":{},"time":1688639403423}', RateLimited),
        (b'{"retCode":10016,"retMsg":"Server error.","result":null,"time":1688639403423}', Retryable),
        (b'{"retCode":10001,"retMsg":"Not supported symbols","result":{},"time":1688639403423}', DataFault),
    ),
)
