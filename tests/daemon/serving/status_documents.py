"""The status document of a daemon at work, for tests of what serves it."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.serving.status import MqttStatus, StatusDocument, StoreStatus, SymbolStatus

LIVE = SymbolStatus(venue="binance", symbol="BTC-USDT", state="live", price=93250.1)


def status_document(symbols: Sequence[SymbolStatus] = (LIVE,)) -> StatusDocument:
    return StatusDocument(
        instance="main",
        version="0.1.0",
        state="online",
        reason="",
        since="2026-01-05T13:00:00Z",
        clock="2026-01-05T13:00:02Z",
        speed=1.0,
        interval="1h",
        symbols=list(symbols),
        mqtt=MqttStatus(url="mqtt://127.0.0.1:1883", connected=True),
        store=StoreStatus(path="/var/lib/forecastd"),
    )
