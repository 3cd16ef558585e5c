"""Losses of one instrument's matured forecasts at one horizon: issued, raw and baselines on the same targets.

No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from daemon.forecasting.records import Score

BASELINES = ("random_walk", "har")
RAW = "raw"
"""Names the column of the issued kind before calibration."""
_COLUMN = {kind: column for column, kind in enumerate((*BASELINES, RAW), start=1)}
_COLUMNS = 1 + len(_COLUMN)
_FIRST_ROWS = 64

# 114 bytes a target: a month of hourly bars at six horizons is 0.5 MB an instrument.
_TARGET = np.dtype(
    [
        ("close_time_us", "i8"),
        ("kind", "i2"),
        ("pinball", "f8", (_COLUMNS,)),
        ("squared_error", "f8", (_COLUMNS,)),
        ("crps", "f8", (_COLUMNS,)),
        ("inside_80", "?", (_COLUMNS,)),
        ("inside_95", "?", (_COLUMNS,)),
    ]
)


class Targets:
    """Matured targets of one issued kind, oldest first. The loss of a baseline without a forecast is NaN."""

    def __init__(self, rows: npt.NDArray[np.void], kind: str) -> None:
        self._rows = rows
        self._kind = kind

    def __len__(self) -> int:
        return len(self._rows)

    def losses(self, name: str, kind: str) -> npt.NDArray[np.float64]:
        """``name`` is "pinball", "squared_error" or "crps"; ``kind`` a baseline's, the issued one or ``RAW``. (n,)"""
        return np.asarray(self._rows[name][:, self._column(kind)])

    def baseline_losses(self, name: str, kind: str) -> npt.NDArray[np.float64]:
        """The losses of the uncalibrated baseline ``kind``, also where its calibrated forecast was issued. (n,)"""
        return np.asarray(self._rows[name][:, _COLUMN[kind]])

    def hits(self, name: str, kind: str) -> npt.NDArray[np.bool_]:
        """``name`` is "inside_80" or "inside_95", of the targets that ``kind`` forecast. (at most n,)"""
        column = self._column(kind)
        forecast = np.isfinite(self._rows["pinball"][:, column])
        return np.asarray(self._rows[name][forecast, column])

    def _column(self, kind: str) -> int:
        return 0 if kind == self._kind else _COLUMN[kind]


class TargetHistory:
    """The newest ``capacity`` matured targets; older ones are dropped, which bounds the memory."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows = np.zeros(min(_FIRST_ROWS, capacity), _TARGET)
        self._size = 0
        self._kinds: list[str] = []

    def __len__(self) -> int:
        return self._size

    def append(self, issued: Score, baselines: Mapping[str, Score], raw: Score | None = None) -> None:
        """Adds one target: the scores of the issued forecast, of the baselines by kind, and of the raw forecast."""
        if self._size == len(self._rows):
            self._grow()
        row = self._rows[self._size]
        row["close_time_us"] = issued.close_time_us
        row["kind"] = self._kind_number(issued.kind)
        for column, score in enumerate((issued, *(baselines.get(kind) for kind in BASELINES), raw)):
            row["pinball"][column] = np.nan if score is None else score.pinball
            row["crps"][column] = np.nan if score is None or score.crps is None else score.crps
            row["squared_error"][column] = np.nan if score is None else score.squared_error
            row["inside_80"][column] = score is not None and score.inside_80
            row["inside_95"][column] = score is not None and score.inside_95
        self._size += 1

    def targets(self, kind: str, *, after_us: int) -> Targets:
        """The targets of forecasts that ``kind`` issued at bar closes later than ``after_us``."""
        rows = self._rows[: self._size]
        chosen = (rows["kind"] == self._kind_number(kind)) & (rows["close_time_us"] > after_us)
        return Targets(rows[chosen], kind)

    def _kind_number(self, kind: str) -> int:
        if kind not in self._kinds:
            self._kinds.append(kind)
        return self._kinds.index(kind)

    def _grow(self) -> None:
        kept = self._rows[max(0, self._size - self._capacity) : self._size]
        # An eighth of slack, so that rows are copied once in many appends.
        rows = min(2 * len(kept), self._capacity + self._capacity // 8 + 1)
        self._rows = np.concatenate([kept, np.zeros(rows - len(kept), _TARGET)])
        self._size = len(kept)
