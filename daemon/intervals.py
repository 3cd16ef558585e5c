"""Formatting and parsing of bar intervals: ``3600000000`` microseconds are ``1h``."""

from __future__ import annotations

_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))


def interval_name(interval_us: int) -> str:
    """``3600000000`` as ``1h``, in the largest unit that divides it; raises ValueError unless it is whole seconds."""
    for unit, length_us in _UNITS:
        if interval_us % length_us == 0:
            return f"{interval_us // length_us}{unit}"
    raise ValueError(f"interval was {interval_us} us, must be whole seconds")


def parse_interval(text: str) -> int:
    """``"1h"`` as microseconds; raises ValueError unless it is 1s to 1d and divides a day."""
    units = dict(_UNITS)
    unit = text[-1:]
    if unit not in units or not text[:-1].isdecimal() or int(text[:-1]) == 0:
        raise ValueError(f"interval was {text!r}; write a number and s, m, h or d, e.g. 1h")
    interval_us = int(text[:-1]) * units[unit]
    if 86_400_000_000 % interval_us:
        raise ValueError(f"interval was {text!r}; it must divide a day, e.g. 5s, 1m, 15m, 1h, 4h, 1d")
    return interval_us
