"""Coinbase: a frame recorded in August 2026, hours of April 2024, documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence

from daemon.exchanges.base import Acknowledged, Heartbeat, Refused, TradesMessage, TradesWanted
from daemon.exchanges.coinbase import Coinbase
from features.market import Bar, Completeness, Trade
from tests.daemon.exchanges.sample import Sample

HOUR_US = 3_600_000_000
KNOWN_AT_US = 1_712_200_000_000_000


def acknowledgement(request_id: int, symbols: Sequence[str]) -> list[bytes]:  # Coinbase repeats no number
    """The list of subscriptions after the opening request, and the one after the subscription."""
    lists: list[dict[str, list[str]]] = [
        {"heartbeats": ["heartbeats"]},
        {"heartbeats": ["heartbeats"], "market_trades": list(symbols)},
    ]
    return [
        json.dumps(
            {
                "channel": "subscriptions",
                "timestamp": "2026-08-09T21:05:48.228846629Z",
                "sequence_num": number,
                "events": [{"subscriptions": subscriptions}],
            }
        ).encode()
        for number, subscriptions in enumerate(lists)
    ]


def hour(open_time_s: int, prices: tuple[float, float, float, float], volume: float) -> Bar:
    """A bar with open, high, low and close, the only values in Coinbase's candles."""
    return Bar(
        venue="coinbase",
        symbol="BTC-USD",
        interval_us=HOUR_US,
        open_time_us=open_time_s * 1_000_000,
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume,
        quote_volume=None,
        trades=None,
        taker_buy_volume=None,
        taker_buy_quote_volume=None,
        completeness=Completeness.VENUE_CANDLE,
        known_at_us=KNOWN_AT_US,
    )


SAMPLE = Sample(
    make=Coinbase,
    symbol="BTC-USD",
    native="BTC-USD",
    trade_frame=(
        b'{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.251397169Z","sequence_num":9,"events":[{"type":'
        b'"update","trades":[{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67","size":"0.01034361",'
        b'"time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}'
    ),
    trades=(Trade(1_068_572_091, 1_786_309_548_167_634, 65_083.67, 0.01034361, taker_buys=True),),
    price=b'"65083.67"',
    size=b'"0.01034361"',
    time=b'"2026-08-09T21:05:48.167634Z"',
    id=b'"1068572091"',
    name=b'"BTC-USD"',
    seconds_time=b'"1970-01-01T00:00:01Z"',
    other_frames=(
        (
            (
                b'{"channel":"subscriptions","timestamp":"2026-08-09T21:05:48.228846629Z","sequence_num":2,"events":'
                b'[{"subscriptions":{"market_trades":["BTC-USD"]}}]}'
            ),
            Acknowledged(None, ("BTC-USD",)),
        ),
        (
            (
                b'{"channel":"subscriptions","timestamp":"2026-08-09T21:05:48.1Z","sequence_num":0,"events":'
                b'[{"subscriptions":{"heartbeats":["heartbeats"]}}]}'
            ),
            Heartbeat(),
        ),
        (
            (
                b'{"channel":"heartbeats","client_id":"","timestamp":"2023-06-23T20:31:26.122969572Z","sequence_num":0,'
                b'"events":[{"current_time":"2023-06-23 20:31:56.121961769 +0000 UTC","heartbeat_counter":"3049"}]}'
            ),
            Heartbeat(),
        ),
        (b'{"channel":"l2_data","sequence_num":4,"events":[]}', Heartbeat()),
        (b'{"channel":"market_trades","sequence_num":4,"events":[{"type":"snapshot","trades":[]}]}', Heartbeat()),
        (b'{"type":"error","message":"no such product"}', Refused(None, "no such product")),
        (b'{"type":"error","message":"no","reason":"BTC-X"}', Refused(None, "no: BTC-X")),
        (
            (
                b'{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8",'
                b'"taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","time":"2014-11-07T08:19:27.028459Z",'
                b'"product_id":"BTC-USD","size":"5.23512","price":"400.23","side":"sell"}'
            ),
            TradesMessage("BTC-USD", [Trade(10, 1_415_348_367_028_459, 400.23, 5.23512, taker_buys=True)]),
        ),
        (
            (
                b'{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["ETH-USD"]},'
                b'{"name":"matches","product_ids":["BTC-USD"]}]}'
            ),
            Acknowledged(None, ("BTC-USD",)),
        ),
        (
            (
                b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD",'
                b'"time":"2014-11-07T08:19:28.464459Z"}'
            ),
            Heartbeat(),
        ),
        (b'{"type":"l2update","product_id":"BTC-USD","changes":[["buy","22356.27","0.0"]]}', Heartbeat()),
    ),
    acknowledgement=acknowledgement,
    trades_body=(
        b'[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.00000000","size":"0.01000000",'
        b'"side":"buy"},'
        b'{"time":"2014-11-07T01:08:43.64226Z","trade_id":73,"price":"100.00000000","size":"0.01000000",'
        b'"side":"sell"}]'
    ),
    trades_wanted=TradesWanted(
        symbol="BTC-USD", from_id=73, from_time_us=1_415_322_000_000_000, until_id=74, asked_at_us=KNOWN_AT_US
    ),
    trades_page=(
        Trade(73, 1_415_322_523_642_260, 100.0, 0.01, taker_buys=True),
        Trade(74, 1_415_398_768_578_544, 10.0, 0.01, taker_buys=False),
    ),
    candles_body=(
        b"[[1712192400,66055.14,66331.99,66312.4,66181.6,355.82896243],"
        b"[1712188800,65857.35,66387.77,65984.18,66314.59,358.74851052]]"
    ),
    candle_interval_us=HOUR_US,
    candles=(
        hour(1_712_188_800, (65_984.18, 66_387.77, 65_857.35, 66_314.59), 358.74851052),
        hour(1_712_192_400, (66_312.4, 66_331.99, 66_055.14, 66_181.6), 355.82896243),
    ),
    candles_known_at_us=KNOWN_AT_US,
    instruments_body=(
        b'[{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online","trading_disabled":false},'
        b'{"id":"USDT-USDC","base_currency":"USDT","quote_currency":"USDC","status":"online"},'
        b'{"id":"LUNA-EUR","base_currency":"LUNA","quote_currency":"EUR","status":"delisted"}]'
    ),
    instruments={"BTC-USD": "TRADING", "BTC-USDC": "TRADING", "USDT-USDC": "TRADING", "LUNA-EUR": "delisted"},
    time_body=b'{"iso":"2015-01-07T23:47:25.201Z","epoch":1420674445.201}',
    time_date="",
    time_us=1_420_674_445_201_000,
)
