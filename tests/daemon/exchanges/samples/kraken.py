"""Kraken: answers recorded in November 2025 (XBTUSDT's, under XBTUSD's name), documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from daemon.errors import DataFault, RateLimited, Retryable
from daemon.exchanges.base import Acknowledged, Heartbeat, Refused, TradesMessage, TradesWanted
from daemon.exchanges.kraken import Kraken
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample

MINUTE_US = 60_000_000
KNOWN_AT_US = 1_762_777_320_000_000


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:
    """One answer for each symbol."""
    return [
        json.dumps(
            {
                "method": "subscribe",
                "result": {"channel": "trade", "snapshot": True, "symbol": symbol.replace("-", "/")},
                "success": True,
                "time_in": "2023-09-25T09:21:10.428340Z",
                "time_out": "2023-09-25T09:21:10.428375Z",
                "req_id": request_id,
            }
        ).encode()
        for symbol in symbols
    ]


def minute(open_time_s: int, prices: Sequence[float | None], volume: float, trades: int) -> Bar:
    """A bar with open, high, low, close, volume and count, the only values in Kraken's candles."""
    return Bar(
        venue="kraken",
        symbol="BTC-USD",
        interval_us=MINUTE_US,
        open_time_us=open_time_s * 1_000_000,
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume,
        quote_volume=None,
        trades=trades,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        completeness=Completeness.VENUE_CANDLE,
        known_at_us=KNOWN_AT_US,
    )


SAMPLE = Sample(
    make=Kraken,
    symbol="BTC-USD",
    native="XBTUSD",
    trade_frame=(
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":81011.5,'
        b'"qty":0.00123440,"ord_type":"limit","trade_id":100320028,"timestamp":"2026-05-14T15:06:09.020392Z"}]}'
    ),
    trades=(Trade(100_320_028, 1_778_771_169_020_392, 81_011.5, 0.0012344, taker_buys=True),),
    price=b"81011.5",
    size=b"0.00123440",
    time=b'"2026-05-14T15:06:09.020392Z"',
    id=b"100320028",
    name=b'"BTC/USD"',
    seconds_time=b'"1970-01-01T00:00:01Z"',
    other_frames=(
        (
            (
                b'{"method":"subscribe","result":{"channel":"trade","snapshot":true,"symbol":"BTC/USD"},"success":true,'
                b'"time_in":"2023-09-25T09:21:10.428340Z","time_out":"2023-09-25T09:21:10.428375Z","req_id":7}'
            ),
            Acknowledged(7, ("BTC-USD",)),
        ),
        (
            (
                b'{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD","snapshot":true},'
                b'"success":true,"req_id":1}'
            ),
            Heartbeat(),
        ),
        (
            (
                b'{"error":"Currency pair not supported BTC/USD","method":"subscribe","req_id":999,"success":false,'
                b'"symbol":"BTC/USD","time_in":"...","time_out":"..."}'
            ),
            Refused(999, "Currency pair not supported BTC/USD", ("BTC-USD",)),
        ),
        (
            b'{"error":"Malformed request","method":"subscribe","req_id":3,"success":false}',
            Refused(3, "Malformed request"),
        ),
        (
            (
                b'{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"maintenance",'
                b'"api_version":"v2","connection_id":16389994220698793191}]}'
            ),
            Heartbeat(),
        ),
        (b'{"channel":"heartbeat"}', Heartbeat()),
        (
            (
                b'{"method":"pong","req_id":42,"time_in":"2023-09-25T09:05:00.123456Z",'
                b'"time_out":"2023-09-25T09:05:00.123500Z"}'
            ),
            Heartbeat(),
        ),
        (b'{"channel":"trade","type":"snapshot","data":[]}', Heartbeat()),
        (
            (
                b'{"channel":"trade","type":"snapshot","data":[{"symbol":"BTC/USD","side":"sell","price":2284,"qty":1,'
                b'"ord_type":"market","trade_id":62886870,"timestamp":"2026-05-14T15:03:41Z"}]}'
            ),
            TradesMessage("BTC-USD", [Trade(62_886_870, 1_778_771_021_000_000, 2284.0, 1.0, taker_buys=False)]),
        ),
    ),
    acknowledgement=acknowledgement,
    trades_body=(
        b'{"error":[],"result":{"XXBTZUSD":[["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208],'
        b'["105383.70000","0.00007235",1762795483.306824,"s","l","",10218212]],"last":"1762795483306824114"}}'
    ),
    trades_wanted=TradesWanted(
        symbol="BTC-USD",
        from_id=10_218_208,
        from_time_us=1_762_795_433_971_744,
        until_id=None,
        asked_at_us=1_762_795_500_000_000,
    ),
    trades_page=(
        Trade(10_218_208, 1_762_795_433_971_744, 105_433.6, 0.00027625, taker_buys=True),
        Trade(10_218_212, 1_762_795_483_306_824, 105_383.7, 0.00007235, taker_buys=False),
    ),
    candles_body=(
        b'{"error":[],"result":{"XXBTZUSD":['
        b'[1762777140,"106038.3","106038.3","106038.3","106038.3","106038.3","0.00032101",1],'
        b'[1762777200,"106038.1","106044.3","106038.1","106040.1","106039.6","0.08317981",3],'
        b'[1762777260,"106040.1","106040.1","106040.1","106040.1","0.0","0.00000000",0]],"last":1762777200}}'
    ),
    candle_interval_us=MINUTE_US,
    candles=(
        minute(1_762_777_140, (106_038.3,) * 4, 0.00032101, 1),
        minute(1_762_777_200, (106_038.1, 106_044.3, 106_038.1, 106_040.1), 0.08317981, 3),
        minute(1_762_777_260, (None,) * 4, 0.0, 0),
    ),
    candles_known_at_us=KNOWN_AT_US,
    instruments_body=(
        b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","base":"XXBT","quote":"ZUSD",'
        b'"status":"online"},"XDGEUR":{"altname":"XDGEUR","wsname":"XDG/EUR","base":"XXDG","quote":"ZEUR",'
        b'"status":"post_only"},"XETHXXBT":{"altname":"ETHXBT","wsname":"ETH/XBT","status":"online"},'
        b'"TSLAxUSD":{"altname":"TSLAxUSD","wsname":"TSLAx/USD","status":"online"},'
        b'"XBTUSD.d":{"altname":"XBTUSD.d","status":"online"}}}'
    ),
    instruments={"BTC-USD": "TRADING", "DOGE-EUR": "post_only", "ETH-BTC": "TRADING"},
    time_body=b'{"error":[],"result":{"unixtime":1616336594,"rfc1123":"Sun, 21 Mar 21 14:23:14 +0000"}}',
    time_date="",
    time_us=1_616_336_594_500_000,
    complaints=(
        (b'{"error":["EAPI:Rate limit exceeded"]}', RateLimited),
        (b'{"error":["EGeneral:Too many requests"]}', RateLimited),
        (b'{"error":["EService:Unavailable"]}', Retryable),
        (b'{"error":["EService:Busy"]}', Retryable),
        (b'{"error":["EService:Market in cancel_only mode"]}', Retryable),
        (b'{"error":["EGeneral:Internal error"]}', Retryable),
        (b'{"error":["EQuery:Unknown asset pair"]}', DataFault),
        (b'{"error":["EGeneral:Invalid arguments"],"result":{}}', DataFault),
    ),
)
