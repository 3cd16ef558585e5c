"""Helpers for frames with trades of several instruments: sorting and merging into one message."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from daemon.exchanges.base import Heartbeat, TradeRecord, TradesBatch, TradesMessage

_HEARTBEAT = Heartbeat()
_by_id = attrgetter("trade_id")


def sort_by_id(records: list[Any]) -> None:
    """Sorts records by id, oldest first; venues send them in different orders."""
    records.sort(key=_by_id)


def merge_messages(
    messages: list[TradesMessage[TradeRecord]],
) -> TradesMessage[TradeRecord] | TradesBatch[TradeRecord] | Heartbeat:
    """One message for a frame; a frame without trades is a heartbeat."""
    if len(messages) == 1:
        return messages[0]
    return TradesBatch(messages) if messages else _HEARTBEAT
