"""OKX: the documented frame of three trades made one, a recorded answer of May 2025, documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from daemon.errors import DataFault, RateLimited, Retryable
from daemon.exchanges.base import Acknowledged, ClosingSoon, Heartbeat, Refused, TradesWanted
from daemon.exchanges.okx import Okx
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample

KNOWN_AT_US = 1_747_087_500_000_000


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:
    """One answer for each symbol."""
    return [
        json.dumps(
            {
                "id": str(request_id),
                "event": "subscribe",
                "arg": {"channel": "trades", "instId": symbol},
                "connId": "a4d3ae55",
            }
        ).encode()
        for symbol in symbols
    ]


SAMPLE = Sample(
    make=Okx,
    symbol="BTC-USDT",
    native="BTC-USDT",
    # A space before the name in "arg" tells it apart from the one in "data".
    trade_frame=(
        b'{"arg":{"channel":"trades","instId": "BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474",'
        b'"px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3","source":"0","seqId":1234}]}'
    ),
    trades=(Trade(130_639_474, 1_630_048_897_897_000, 42_219.9, 0.12060306, taker_buys=True, count=3, span=3),),
    price=b'"42219.9"',
    size=b'"0.12060306"',
    time=b'"1630048897897"',
    id=b'"130639474"',
    name=b' "BTC-USDT"',
    seconds_time=b'"1000"',
    other_frames=(
        (
            b'{"id":"1512","event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
            Acknowledged(1512, ("BTC-USDT",)),
        ),
        (
            b'{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}',
            Acknowledged(None, ("BTC-USDT",)),
        ),
        (b'{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"}}', Heartbeat()),
        (
            b'{"id":"1512","event":"error","code":"60012","msg":"Invalid request: {}","connId":"a4d3ae55"}',
            Refused(1512, "Invalid request: {} (code 60012)"),
        ),
        (
            b'{"event":"error","code":"60014","msg":"Requests too frequent"}',
            Refused(None, "Requests too frequent (code 60014)"),
        ),
        (
            (
                b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. '
                b'Please reconnect.","connId":"a4d3ae55"}'
            ),
            ClosingSoon("The connection will soon be closed for a service upgrade. Please reconnect."),
        ),
        (b'{"event":"channel-conn-count","channel":"trades","connCount":"1","connId":"a4d3ae55"}', Heartbeat()),
        (b"pong", Heartbeat()),
        (b'{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"last":"42219.9"}]}', Heartbeat()),
        (b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[]}]}', Heartbeat()),
    ),
    acknowledgement=acknowledgement,
    trades_body=(
        b'{"code":"0","msg":"","data":[{"instId":"BTC-USDT","side":"sell","sz":"0.00013669","px":"102537.9",'
        b'"tradeId":"734864333","ts":"1747087163557"},{"instId":"BTC-USDT","side":"buy","sz":"0.0000125",'
        b'"px":"102537.9","tradeId":"734864332","ts":"1747087161666"}]}'
    ),
    trades_wanted=TradesWanted(
        symbol="BTC-USDT",
        from_id=734_864_332,
        from_time_us=1_747_087_161_000_000,
        until_id=None,
        asked_at_us=KNOWN_AT_US,
    ),
    trades_page=(
        Trade(734_864_332, 1_747_087_161_666_000, 102_537.9, 0.0000125, taker_buys=True),
        Trade(734_864_333, 1_747_087_163_557_000, 102_537.9, 0.00013669, taker_buys=False),
    ),
    # Newest first, the newest not confirmed, the one before it without a trade.
    candles_body=(
        b'{"code":"0","msg":"","data":[["1747087260000","102537.9","102600","102537.9","102600","1","102500",'
        b'"102500","0"],["1747087200000","102537.9","102537.9","102537.9","102537.9","0","0","0","1"],'
        b'["1747087140000","102530","102540.1","102529.9","102537.9","3.5","358880.25","358880.25","1"]]}'
    ),
    candle_interval_us=60_000_000,
    candles=(
        Bar(
            venue="okx",
            symbol="BTC-USDT",
            interval_us=60_000_000,
            open_time_us=1_747_087_140_000_000,
            open=102_530.0,
            high=102_540.1,
            low=102_529.9,
            close=102_537.9,
            volume=3.5,
            quote_volume=358_880.25,
            trades=None,
            taker_buy_volume=None,
            taker_buy_quote_volume=None,
            completeness=Completeness.VENUE_CANDLE,
            known_at_us=KNOWN_AT_US,
        ),
        Bar(
            venue="okx",
            symbol="BTC-USDT",
            interval_us=60_000_000,
            open_time_us=1_747_087_200_000_000,
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
        b'{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"BTC-USDT","baseCcy":"BTC","quoteCcy":"USDT",'
        b'"state":"live"},{"instType":"SPOT","instId":"LUNA-USDT","baseCcy":"LUNA","quoteCcy":"USDT",'
        b'"state":"suspend"}]}'
    ),
    instruments={"BTC-USDT": "TRADING", "LUNA-USDT": "suspend"},
    time_body=b'{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}',
    time_date="",
    time_us=1_597_026_383_085_000,
    complaints=(
        (b'{"code":"50011","msg":"Too Many Requests","data":[]}', RateLimited),
        (b'{"code":"50013","msg":"Systems are busy. Please try again later.","data":[]}', Retryable),
        (b'{"code":"50001","msg":"Service temporarily unavailable.","data":[]}', Retryable),
        (b'{"code":"51001","msg":"Instrument ID does not exist.","data":[]}', DataFault),
    ),
)
