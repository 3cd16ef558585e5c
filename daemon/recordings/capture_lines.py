"""Lines of a capture in the formats of the recorders, independent of the venue."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from daemon.exchanges.decoding import EARLIEST_MS, LATEST_MS
from daemon.recordings.base import RecordingRefused
from models.table_files import other_compression

_GZIP = b"\x1f\x8b"
_KEEP_ALIVES = ("ping", "pong")  # OKX frames that are no JSON


class Line(NamedTuple):
    """A received frame, or where ``frame`` is None an opened connection.

    number: line number, from 1. received_us: by the recorder's clock, None where it is missing or out of range.
    connection: its name, None where the recorder gave none.
    """

    number: int
    frame: str | None
    received_us: int | None = None
    connection: str | None = None


class _Entry(msgspec.Struct):
    """``{"ts": epoch seconds, "dir": "connect" | "send" | "recv", "conn"?, "addr"?, "data"?: "a frame"}``."""

    dir: str | None = None
    ts: float | None = None
    conn: str | int | None = None
    addr: str | None = None
    data: msgspec.Raw = msgspec.Raw()


_decode_entry = msgspec.json.Decoder(_Entry).decode


def read_lines(file: Path) -> Iterator[Line]:
    """Reads lines of JSON as ``_Entry``, ``<receive ns> <frame>`` or plain frames; the file may be gzipped.

    Sent frames are skipped. Raises RecordingRefused for any other line.
    """
    try:
        if packer := other_compression(file):
            raise RecordingRefused(f"{file}: is compressed with {packer}; unpack it, or compress it with gzip")
        with file.open("rb") as head:
            unpack = gzip.open if head.read(len(_GZIP)) == _GZIP else open
        with unpack(file, "rt", encoding="utf-8-sig") as texts:
            for number, text in enumerate(texts, start=1):
                line = _line(file, number, text.strip())
                if line is not None:
                    yield line
    except UnicodeDecodeError as error:
        raise RecordingRefused(f"{file}: is no text in UTF-8: a capture is lines of JSON") from error
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingRefused(f"{file}: cannot be read as a capture: {error}") from error


def _line(file: Path, number: int, text: str) -> Line | None:
    head, _, rest = text.partition(" ")
    if rest and head.isascii() and head.isdecimal():
        return Line(number, rest, _market_time_us(int(head) // 1000))
    if not text:
        return None
    if text in _KEEP_ALIVES:
        return Line(number, text)
    try:
        entry = _decode_entry(text)
    except msgspec.ValidationError:
        return Line(number, text)  # a frame with fields of the same names
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordingRefused(f"{file}: line {number} is no line of a capture: {error}; remove it") from None
    data = bytes(entry.data)
    is_text = data.startswith(b'"')
    if entry.dir is None and not (is_text and entry.ts is not None):
        return Line(number, text)
    received_us = None if entry.ts is None else _receipt_us(entry.ts)
    connection = entry.addr if entry.conn is None else str(entry.conn)
    if entry.dir == "connect":
        return Line(number, None, received_us, connection)
    if entry.dir not in ("recv", None):
        return None
    frame = msgspec.json.decode(data, type=str) if is_text else data.decode()
    return Line(number, frame, received_us, connection)


def _receipt_us(seconds: float) -> int | None:
    return _market_time_us(round(seconds * 1e6)) if abs(seconds) < LATEST_MS else None


def _market_time_us(time_us: int) -> int | None:
    return time_us if EARLIEST_MS <= time_us // 1000 < LATEST_MS else None
