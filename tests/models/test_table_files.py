"""Table files that other programs write: line ends, encodings and compressions are read, or named with the cure."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest

from daemon.recordings import RecordingRefused, read
from models.table_files import TableRefused, read_table

TEXT = "a,b\n1,x\n2,y\n"


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("table.csv", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", TEXT.encode()),
        ("t.csv", TEXT.replace("\n", "\r\n").encode()),
        ("t.csv", TEXT.replace("\n", "\r").encode()),
        ("t.tsv", TEXT.replace(",", "\t").encode()),
        ("t.TSV.gz", gzip.compress(TEXT.replace(",", "\t").encode("utf-8-sig"))),
        ("t.csv", gzip.compress(TEXT.encode()[:5]) + gzip.compress(TEXT.encode()[5:])),
    ],
)
def test_the_same_rows(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    table = read_table(tmp_path / name)
    assert table.rows.rows() == [("1", "x"), ("2", "y")]
    assert table.rows.columns == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bz2.compress(TEXT.encode()), "is compressed with bzip2; unpack it, or compress it with gzip"),
        (lzma.compress(TEXT.encode()), "is compressed with xz; "),
        (zipped(TEXT.encode()), "is compressed with zip; "),
        (TEXT.encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b",".join([b"price"] * 5_000) + b"\n1\n", "its header has a column twice or without a name: "),
    ],
)
def test_what_is_not_read_is_named_on_one_short_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    with pytest.raises(TableRefused) as refused:
        read_table(file)
    said = str(refused.value)
    assert said.startswith(f"{file}: {message}")
    assert len(said.splitlines()) == 1
    assert len(said) < 300


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, zipped])
def test_a_capture_in_another_compression(pack: object, tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl.packed"
    file.write_bytes(pack(b'{"e":"aggTrade"}\n'))  # type: ignore[operator]
    with pytest.raises(RecordingRefused, match="unpack it, or compress it with gzip"):
        read(file, venue_name="binance", symbol=None)


def test_a_capture_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_bytes(b'{"e":"\xff\xfe"}')
    with pytest.raises(RecordingRefused, match="is no text in UTF-8"):
        read(file, venue_name="binance", symbol=None)
