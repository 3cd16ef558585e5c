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
from daemon.recordings.tables import read_trades
from models.table_files import is_table_file


def read(file: Path, *, venue_name: str, symbol: str | None) -> Recording:
    """Opens a recording, restricted to ``symbol`` if given. Raises RecordingRefused, also during iteration.

    Parquet and CSV, gzipped or not: trade_id, ts, price, size, side (buy | sell, the taker's), and a symbol column or
    ``symbol``. Files with other suffixes are captures of frames, see ``captures``.
    """
    if not file.exists():
        raise RecordingRefused(f"{file}: there is no such file")
    if file.is_dir():
        raise RecordingRefused(f"{file}: is a folder; name a file")
    reader = read_trades if is_table_file(file) else read_capture
    return reader(file, venue_name=venue_name, symbol=symbol)


__all__ = ["RecordedEvent", "StreamRestored", "RecordedTrades", "Recording", "RecordingRefused", "StreamLost", "read"]
