"""Binance's market data endpoints: their paging, limits and errors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from aiohttp import web

from daemon.intervals import parse_interval
from daemon.simulator.candles import SimulatedCandle
from daemon.simulator.dialects.base import Handler, Refusal, Reply, number
from daemon.simulator.market import Market
from daemon.simulator.market_data import RecordedSeries
from daemon.simulator.number_format import fixed
from daemon.simulator.tape import TapeTrade

# Binance's intervals up to a day; its 3d, 1w and 1M are not simulated.
INTERVALS = {
    name: parse_interval(name)
    for name in ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
}
_LARGEST_PAGE = 1_000
_DEFAULT_PAGE = 500

Kline = list[int | str]


def refusal(code: int, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> Reply:
    """An error in Binance's format."""
    return Reply({"code": code, "msg": message}, status, headers or {})


class BinanceRest:
    """The handlers of the routes."""

    weights: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"/api/v3/exchangeInfo": 20, "/api/v3/klines": 2, "/api/v3/aggTrades": 4}
    )

    def __init__(self, market: Market, weight_per_minute: int) -> None:
        self._market = market
        self._weight_per_minute = weight_per_minute

    def routes(self) -> Mapping[str, Handler]:
        return {
            "/api/v3/ping": lambda _: Reply({}),
            "/api/v3/time": lambda _: Reply({"serverTime": self._market.server_time_us() // 1000}),
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/klines": self._klines,
            "/api/v3/aggTrades": self._agg_trades,
        }

    def _exchange_info(self, request: web.Request) -> Reply:
        wanted = [self._symbol(request)] if "symbol" in request.query else self._market.listed
        limit = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": self._weight_per_minute,
        }
        listed = {
            "timezone": "UTC",
            "serverTime": self._market.server_time_us() // 1000,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [_listing(self._market.series(symbol)) for symbol in wanted],
        }
        return Reply(listed)

    def _klines(self, request: web.Request) -> Reply:
        symbol = self._symbol(request)
        interval_us = INTERVALS.get(_required(request, "interval"))
        if interval_us is None or not self._market.candles.serves(interval_us):
            raise Refusal(refusal(-1120, "Invalid interval."))
        start_ms, end_ms = _integer(request, "startTime"), _integer(request, "endTime")
        candles = self._market.candles.closed(
            symbol,
            interval_us,
            start_us=None if start_ms is None else start_ms * 1000,
            end_us=None if end_ms is None else end_ms * 1000,
            limit=_limit(request),
            now_us=self._market.happened_us(),
        )
        series = self._market.series(symbol)
        return Reply([kline(series, interval_us, candle) for candle in candles])

    def _agg_trades(self, request: web.Request) -> Reply:
        symbol, limit = self._symbol(request), _limit(request)
        from_id, start_ms, end_ms = (_integer(request, name) for name in ("fromId", "startTime", "endTime"))
        tape, now_us = self._market.tape, self._market.happened_us()
        if from_id is not None:
            if start_ms is not None or end_ms is not None:
                raise Refusal(refusal(-1128, "Combination of optional parameters invalid."))
            trades = tape.from_id(symbol, from_id, limit, now_us)
        elif start_ms is not None:
            trades = tape.between(symbol, start_ms, now_us // 1000 if end_ms is None else end_ms, limit, now_us)
        else:
            trades = tape.latest(symbol, limit, now_us if end_ms is None else min(now_us, end_ms * 1000))
        series = self._market.series(symbol)
        return Reply([trade_fields(series, trade) for trade in trades])

    def _symbol(self, request: web.Request) -> str:
        symbol = _required(request, "symbol")
        if symbol not in self._market:
            raise Refusal(refusal(-1121, "Invalid symbol."))
        return symbol


def trade_fields(series: RecordedSeries, trade: TapeTrade) -> dict[str, int | str | bool]:
    """A trade with Binance's keys, as both the REST answer and the stream carry it."""
    return {
        "a": trade.id,
        "p": fixed(trade.price, series.price_decimals),
        "q": fixed(trade.size, series.size_decimals),
        "f": trade.first_id,
        "l": trade.last_id,
        "T": trade.time_ms,
        "m": trade.buyer_is_maker,
        "M": True,
    }


def kline(series: RecordedSeries, interval_us: int, candle: SimulatedCandle) -> Kline:
    """Binance's twelve columns."""
    figures = candle.figures
    prices = (fixed(price, series.price_decimals) for price in figures[:4])
    return [
        candle.open_us // 1000,
        *prices,
        fixed(figures.volume, series.size_decimals),
        (candle.open_us + interval_us) // 1000 - 1,
        fixed(figures.quote_volume, series.quote_decimals),
        figures.trades,
        fixed(figures.taker_buy_volume, series.size_decimals),
        fixed(figures.taker_buy_quote_volume, series.quote_decimals),
        "0",
    ]


def _listing(series: RecordedSeries) -> dict[str, object]:
    tick, step = fixed(1, series.price_decimals), fixed(1, series.size_decimals)
    return {
        "symbol": series.symbol,
        "status": "TRADING",
        "baseAsset": series.base,
        "baseAssetPrecision": 8,
        "quoteAsset": series.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
        ],
        "permissions": ["SPOT"],
    }


def _required(request: web.Request, name: str) -> str:
    value = request.query.get(name, "")
    if not value:
        text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        raise Refusal(refusal(-1102, text))
    return value


def _integer(request: web.Request, name: str) -> int | None:
    try:
        return number(request.query.get(name))
    except ValueError as error:
        text = f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        raise Refusal(refusal(-1100, text)) from error


def _limit(request: web.Request) -> int:
    limit = _integer(request, "limit")
    if limit is None:
        return _DEFAULT_PAGE
    if limit == 0:
        raise Refusal(refusal(-1130, "Data sent for parameter 'limit' is not valid."))
    return min(limit, _LARGEST_PAGE)
