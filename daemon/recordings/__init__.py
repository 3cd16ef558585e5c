"""Reading of recordings: tables of trades (Parquet, CSV) and raw captures of a venue's frames."""

from __future__ import annotations

from pathlib import Path

from daemon.recordings.base import (
    RecordedEvent,
    RecordedTrades,
    Recording,
    RecordingRefused,
    StreamLost,
    StreamRestored,
)
from daemon.recordings.captures import read_capture
from daemon.recordings.tables import read_table

_TABLES = (".parquet", ".csv")


def read(file: Path, *, venue_name: str, symbol: str | None) -> Recording:
    """Opens a recording, restricted to ``symbol`` if given. Raises RecordingRefused, also during iteration.

    Parquet and CSV: trade_id, ts, price, size, side (buy | sell, the taker's), and a symbol column or ``symbol``.
    Files with other suffixes are captures of frames, see ``captures``.
    """
    if not file.is_file():
        raise RecordingRefused(f"{file}: there is no such file")
    reader = read_table if file.suffix in _TABLES else read_capture
    return reader(file, venue_name=venue_name, symbol=symbol)


__all__ = ["RecordedEvent", "StreamRestored", "RecordedTrades", "Recording", "RecordingRefused", "StreamLost", "read"]
