"""Figures of messages: rounded to significant digits, always finite, times as text. No I/O."""

from __future__ import annotations

import math

from daemon.errors import DataFault
from daemon.publishing.wire import Model
from daemon.timestamps import iso
from models.forecast import ModelInfo

LOG_RETURN_DIGITS = 8
PRICE_DIGITS = 12
RATIO_DIGITS = 6


def significant(value: float, digits: int) -> float:
    """``value`` rounded to significant digits, with no negative zero. Raises DataFault if it is not finite."""
    return float(f"{finite(value, 'number'):.{digits}g}") + 0.0


def finite(value: float, what: str) -> float:
    """``value``. Raises DataFault, which names it ``what``, if it is not finite."""
    if not math.isfinite(value):
        raise DataFault(f"{what} was {value}, must be finite to be published")
    return value


def finite_or_none(value: float | None, what: str) -> float | None:
    return None if value is None else finite(value, what)


def iso_or_none(time_us: int | None) -> str | None:
    return None if time_us is None else iso(time_us, milliseconds=True)


def model_reference(info: ModelInfo) -> Model:
    """The model's id, kind and end of training data, as messages name it."""
    until_us = info.trained_until_us
    return Model(id=info.id, kind=info.kind, trained_until=None if until_us is None else iso(until_us))
