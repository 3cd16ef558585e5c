"""Frames that hold trades of several instruments, in whatever order, as one message."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from daemon.exchanges.base import Heartbeat, TradeRecord, TradesBatch, TradesMessage

_HEARTBEAT = Heartbeat()
_by_id = attrgetter("trade_id")


def sort_by_id(records: list[Any]) -> None:
    """Oldest first: venues differ in the order they send trades."""
    records.sort(key=_by_id)


def merge_messages(
    messages: list[TradesMessage[TradeRecord]],
) -> TradesMessage[TradeRecord] | TradesBatch[TradeRecord] | Heartbeat:
    """One message for a whole frame; a frame without trades shows only that the connection lives."""
    if len(messages) == 1:
        return messages[0]
    return TradesBatch(messages) if messages else _HEARTBEAT
