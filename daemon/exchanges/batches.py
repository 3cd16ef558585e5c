"""Frames that hold trades of several instruments, in whatever order, as one message."""

from __future__ import annotations

from operator import attrgetter

from daemon.exchanges.base import Heartbeat, TradesBatch, TradesMessage
from features.market import Trade

_HEARTBEAT = Heartbeat()
_by_id = attrgetter("trade_id")


def in_order(trades: list[Trade]) -> list[Trade]:
    """The list itself, by ascending id: venues differ in the order they send trades."""
    trades.sort(key=_by_id)
    return trades


def joined(messages: list[TradesMessage]) -> TradesMessage | TradesBatch | Heartbeat:
    """One message for a whole frame; a frame without trades shows only that the connection lives."""
    if len(messages) == 1:
        return messages[0]
    return TradesBatch(messages) if messages else _HEARTBEAT
