"""Bybit linear: a frame recorded in August 2026, documentation. What equals spot is in its sample."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.exchanges.base import Acknowledged, Heartbeat, Refused, TradesWanted
from daemon.exchanges.bybit import BybitLinear
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample
from tests.daemon.exchanges.samples.bybit import KNOWN_AT_US
from tests.daemon.exchanges.samples.bybit import SAMPLE as SPOT

_ACKNOWLEDGED = (
    b'{"success":true,"ret_msg":"","conn_id":"3cd84cb1-4d06-4a05-930a-2efe5fc70f0f","req_id":"","op":"subscribe"}'
)


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:
    """One answer for the whole request, without its number."""
    return [_ACKNOWLEDGED]


SAMPLE = Sample(
    make=BybitLinear,
    symbol="BTC-USDT",
    native="BTCUSDT",
    trade_frame=(
        b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1786310819681,"data":[{"T":1786310819680,'
        b'"s":"BTCUSDT","S":"Sell","v":"0.004","p":"65114.20","L":"MinusTick",'
        b'"i":"a9188a0a-82bc-50de-be60-03eedbe3cdd7","BT":false,"RPI":false,"seq":753843954913}]}'
    ),
    trades=(Trade(0xA9188A0A82BC50DE >> 1, 1_786_310_819_680_000, 65_114.2, 0.004, taker_buys=False),),
    price=b'"65114.20"',
    size=b'"0.004"',
    time=b"1786310819680",
    id=b'"a9188a0a-82bc-50de-be60-03eedbe3cdd7"',
    name=b'"BTCUSDT"',
    seconds_time=b"1000",
    other_frames=(
        (_ACKNOWLEDGED, Acknowledged(None)),
        (
            b'{"success":false,"ret_msg":"Invalid topic: publicTrade.X","conn_id":"3cd84cb1","op":"subscribe"}',
            Refused(None, "Invalid topic: publicTrade.X"),
        ),
        (
            (
                b'{"success":true,"ret_msg":"pong","conn_id":"465772b1-7630-4fdc-a492-e003e6f0f260","req_id":"",'
                b'"op":"ping"}'
            ),
            Heartbeat(),
        ),
        (b'{"topic":"kline.60.BTCUSDT","type":"snapshot","ts":1786310819681,"data":[{"confirm":true}]}', Heartbeat()),
    ),
    acknowledgement=acknowledgement,
    trades_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"execId":'
        b'"a905d5c3-1ed0-4f37-83e4-9c73a2fe2f01","symbol":"BTCUSDT","price":"27450.50","size":"0.005","side":"Buy",'
        b'"time":"1709891679000","isBlockTrade":false},{"execId":"00000000-0000-0005-0000-000000000000",'
        b'"symbol":"BTCUSDT","price":"27450.40","size":"0.006","side":"Sell","time":"1709891678000",'
        b'"isBlockTrade":true,"isRPITrade":false,"seq":"753843954913"}]},"time":1709891679050}'
    ),
    trades_wanted=TradesWanted(
        symbol="BTC-USDT",
        from_id=None,
        from_time_us=1_709_891_678_500_000,
        until_id=None,
        asked_at_us=KNOWN_AT_US,
    ),
    trades_page=(
        Trade(2, 1_709_891_678_000_000, 27_450.4, 0.006, taker_buys=False),
        Trade(0xA905D5C31ED04F37 >> 1, 1_709_891_679_000_000, 27_450.5, 0.005, taker_buys=True),
    ),
    candles_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"category":"linear","symbol":"BTCUSDT","list":['
        b'["1709891640000","27450","27460","27440","27455","123.45","3390000"]]},"retExtInfo":{},'
        b'"time":1709891720050}'
    ),
    candle_interval_us=60_000_000,
    candles=(
        Bar(
            venue="bybit_linear",
            symbol="BTC-USDT",
            interval_us=60_000_000,
            open_time_us=1_709_891_640_000_000,
            open=27_450.0,
            high=27_460.0,
            low=27_440.0,
            close=27_455.0,
            volume=123.45,
            quote_volume=3_390_000.0,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
    ),
    candles_known_at_us=KNOWN_AT_US,
    # A contract with a delivery date has the base and the quote of the perpetual.
    instruments_body=(
        b'{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"symbol":"BTCUSDT",'
        b'"contractType":"LinearPerpetual","status":"Trading","baseCoin":"BTC","quoteCoin":"USDT"},'
        b'{"symbol":"BTCUSDT-25DEC26","contractType":"LinearFutures","status":"Delivering","baseCoin":"BTC",'
        b'"quoteCoin":"USDT"},{"symbol":"1000PEPEUSDT","contractType":"LinearPerpetual","status":"Trading",'
        b'"baseCoin":"1000PEPE","quoteCoin":"USDT"}],"nextPageCursor":""},"retExtInfo":{},"time":1709891679050}'
    ),
    instruments={"BTC-USDT": "TRADING", "1000PEPE-USDT": "TRADING"},
    time_body=SPOT.time_body,
    time_date="",
    time_us=SPOT.time_us,
    complaints=SPOT.complaints,
)
