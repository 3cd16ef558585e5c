"""Captures for tests: each venue's trade frames in the shapes of real ones, and the lines that recorders write."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

START_S = 1_700_000_100  # 22:15:00, the start of a quarter of an hour


def binance(trade_id: int, at_s: float, *, symbol: str = "BTCUSDT", price: str = "100.5") -> str:
    """An aggregate trade of two fills."""
    time_ms = round(at_s * 1000)
    fields = {"e": "aggTrade", "E": time_ms, "s": symbol, "a": trade_id, "p": price, "q": "0.5"}
    data = {**fields, "f": trade_id * 2, "l": trade_id * 2 + 1, "T": time_ms, "m": True, "M": True}
    return json.dumps({"stream": f"{symbol.lower()}@aggTrade", "data": data})


def binance_raw(trade_id: int, at_s: float, *, symbol: str = "BTCUSDT", price: str = "100.5") -> str:
    """A raw trade."""
    time_ms = round(at_s * 1000)
    data = {"e": "trade", "E": time_ms, "s": symbol, "t": trade_id, "p": price, "q": "0.5", "T": time_ms, "m": False}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data})


def coinbase(trade_id: int, at_s: float, *, kind: str = "match") -> str:
    """A match of the Exchange feed; its side is the maker's."""
    fields = {"type": kind, "trade_id": trade_id, "side": "sell", "size": "0.5", "price": "100.5"}
    return json.dumps({**fields, "product_id": "BTC-USD", "sequence": trade_id * 7, "time": _iso(at_s)})


def coinbase_snapshot(*trades: tuple[int, float]) -> str:
    """A snapshot of the Advanced Trade feed, newest first."""
    records = [
        {"product_id": "BTC-USD", "trade_id": str(number), "price": "100.5", "size": "0.5", "side": "SELL", "time": at}
        for number, at in ((number, _iso(at_s)) for number, at_s in sorted(trades, reverse=True))
    ]
    events = [{"type": "snapshot", "trades": records}]
    return json.dumps(
        {"channel": "market_trades", "timestamp": records[0]["time"], "sequence_num": 2, "events": events}
    )


def kraken(*trades: tuple[str, int, float]) -> str:
    """Trades of several pairs in one frame."""
    data = [
        {"symbol": pair, "side": "buy", "price": 100.5, "qty": 0.5, "ord_type": "market", "trade_id": number}
        | {"timestamp": _iso(at_s)}
        for pair, number, at_s in trades
    ]
    return json.dumps({"channel": "trade", "type": "update", "data": data})


def bybit(trade_id: int, at_s: float) -> str:
    """A push of Bybit spot."""
    return _bybit(str(trade_id), at_s)


def bybit_linear(trade_id: int, at_s: float) -> str:
    """A push of Bybit linear, where ids are UUIDs."""
    return _bybit(str(UUID(int=trade_id << 70)), at_s)


def _bybit(trade_id: str, at_s: float) -> str:
    time_ms = round(at_s * 1000)
    record = {"i": trade_id, "T": time_ms, "p": "100.5", "v": "0.5", "S": "Buy", "seq": 5, "s": "BTCUSDT", "BT": False}
    return json.dumps({"topic": "publicTrade.BTCUSDT", "ts": time_ms, "type": "snapshot", "data": [record]})


def okx(trade_id: int, at_s: float) -> str:
    """A push of OKX's ``trades``."""
    record = {"instId": "BTC-USDT", "tradeId": str(trade_id), "px": "100.5", "sz": "0.5", "side": "buy"}
    data = [record | {"ts": str(round(at_s * 1000))}]
    return json.dumps({"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": data})


def bitstamp(trade_id: int, at_s: float, *, pair: str = "btcusd") -> str:
    """A trade of Bitstamp."""
    sizes = {"amount": 0.5, "amount_str": "0.50000000", "price": 100.5, "price_str": "100.50", "type": 0}
    times = {"timestamp": str(int(at_s)), "microtimestamp": str(round(at_s * 1000) * 1000)}
    data = {"id": trade_id, **times, **sizes, "buy_order_id": 2, "sell_order_id": 1}
    return json.dumps({"data": data, "channel": f"live_trades_{pair}", "event": "trade"})


def bitstamp_ack(pair: str = "btcusd") -> str:
    return json.dumps({"event": "bts:subscription_succeeded", "channel": f"live_trades_{pair}", "data": {}})


def received(at_s: float, frame: str, **more: object) -> str:
    """A capture's line with a frame."""
    return json.dumps({"ts": at_s, "dir": "recv", **more, "data": frame})


def connected(at_s: float, **more: object) -> str:
    """A capture's line for an opened connection."""
    return json.dumps({"ts": at_s, "dir": "connect", "addr": "wss://venue.example", **more})


def capture(folder: Path, *lines: str) -> Path:
    """A file of lines."""
    file = folder / "capture.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
