"""What REST returned for one request of the pipeline, as whole records. No I/O."""

from __future__ import annotations

import msgspec

from features.market import Bar, Trade


class SequenceStart(msgspec.Struct, frozen=True):
    """Where a sequence begins: the trades from a time on, or if there are none the latest trade before it.

    complete: whether ``trades`` lack no trade of their first interval; otherwise that bar can never be proven.
    """

    trades: list[Trade]
    latest: Trade | None
    complete: bool = True


class TradesAnswer(msgspec.Struct, frozen=True):
    """Trades, oldest first.

    head_reached: at market time ``asked_at_us`` the venue had no newer trade. complete: no wanted trade is missing;
    otherwise a further call may return more.
    """

    trades: list[Trade]
    head_reached: bool
    complete: bool
    asked_at_us: int


class CandleAnswer(msgspec.Struct, frozen=True):
    """The venue's candle; None where the venue has none yet."""

    candle: Bar | None


class CandlesUnavailable(msgspec.Struct, frozen=True):
    """The venue has no candles that fit the interval."""


class RequestFailed(msgspec.Struct, frozen=True):
    """The venue did not answer; ``reason`` is for the operator."""

    reason: str


Answer = SequenceStart | TradesAnswer | CandleAnswer | CandlesUnavailable | RequestFailed


def trades_of(answer: Answer) -> list[Trade]:
    """The trades in an answer of any kind."""
    return answer.trades if isinstance(answer, SequenceStart | TradesAnswer) else []
