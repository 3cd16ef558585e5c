"""Malformed frames and trades with another id, made from valid ones."""

from __future__ import annotations

import re

from daemon.simulator.faults.plan import Form

_NUMBER = re.compile(r'(?<=":)("?)\d+(?:\.\d+)?("?)(?=[,}\]])')
_VALUE = re.compile(r'(?<=":)("[^"]*"|\d+(\.\d+)?|true|false)')
_DEEP = 100_000
_DIGITS = 5_000
_HUGE_NUMBERS = 20
# Larger than the frame limit of our client (1 MiB).
_OVERSIZED_BYTES = 2 * 1024 * 1024


def with_id(trade: str, field: str, trade_id: int) -> str:
    """A trade's JSON with another id, as a number or as text like the id that it replaces."""
    return re.sub(rf'("{field}":"?)\d+', rf"\g<1>{trade_id}", trade, count=1)


def malformed(form: Form, frame: str) -> str:
    """``frame``, or before the first frame an object of our own, damaged in the given way."""
    frame = frame or '{"price":"1.0","size":"1.0"}'
    match form:
        case "truncated":
            return frame[: len(frame) * 2 // 3]
        case "nested":
            return '{"data":' + "[" * _DEEP
        case "nan":
            return _NUMBER.sub(r"\1NaN\2", frame)
        case "types":
            return _VALUE.sub('{"a":[null]}', frame)
        case "huge":
            return _NUMBER.sub(rf"\g<1>{'9' * _DIGITS}.0\2", frame, count=_HUGE_NUMBERS)
        case "oversized":
            return frame + " " * _OVERSIZED_BYTES
