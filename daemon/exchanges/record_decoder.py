"""RecordDecoder: base class of the venues, which decodes frames by way of their records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from daemon.exchanges.base import Message, ParsedFrame, TradeRecord, TradesBatch, TradesMessage
from features.market import Trade


class RecordDecoder(ABC):
    """Implements ``Venue.decode`` from a venue's ``read`` and ``to_trades``."""

    merges = False
    time_resolution_us = 1_000

    @abstractmethod
    def read(self, frame: bytes | str) -> ParsedFrame: ...

    @staticmethod
    @abstractmethod
    def to_trades(records: Sequence[Any]) -> list[Trade]: ...

    def decode(self, frame: bytes | str) -> Message:
        message = self.read(frame)
        if isinstance(message, TradesMessage):
            return self._with_trades(message)
        if isinstance(message, TradesBatch):
            return TradesBatch([self._with_trades(each) for each in message.messages])
        return message

    def _with_trades(self, message: TradesMessage[TradeRecord]) -> TradesMessage[Trade]:
        return TradesMessage(message.symbol, self.to_trades(message.trades))
