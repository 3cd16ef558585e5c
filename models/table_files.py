"""Table files: Parquet or CSV, gzipped or not, as a table whose rows can be named in an error."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".parquet.gz", ".csv.gz", ".tsv.gz")

_GZIP = b"\x1f\x8b"
_OTHER_COMPRESSION = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
_UTF_8_BOM, _UTF_16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = ",;\t|"


class TableRefused(ValueError):
    """A file that is no usable table; the message names the file, the row where there is one, and the cure."""


@dataclass(frozen=True, slots=True, eq=False)
class FileTable:
    """The rows of one file, in its order; all columns of a CSV file are texts, and an empty field is null.

    first_line: the line of the first row in a CSV file, None in a Parquet file.
    """

    path: Path
    rows: pl.DataFrame
    first_line: int | None = None

    def place(self, index: int) -> str:
        """``row 5``, counted from 1 without the header, and the line where that is another number."""
        row = index + 1
        if self.first_line is None or self.first_line == 1:
            return f"row {row}"
        return f"row {row} (line {index + self.first_line})"

    def refuse(self, wrong: pl.Series, column: str, fault: str) -> None:
        """Raises TableRefused for the first row where ``wrong`` is true.

        fault: the predicate of the message; ``{value}`` in it is replaced by the value, and where that is null or
        empty the message says that it is missing.
        """
        found = wrong.fill_null(value=False).arg_true()
        if not len(found):
            return
        index = int(found[0])
        if "{value}" in fault:
            value = self.rows[column][index]
            missing = value is None or (isinstance(value, str) and not value.strip())
            fault = "is missing" if missing else fault.replace("{value}", _quoted(value))
        raise TableRefused(f"{self.path}: {self.place(index)}, column {column}: {fault}")

    def require(self, columns: Sequence[str]) -> None:
        """Raises TableRefused where there are no rows, or ``columns`` are absent."""
        if absent := [name for name in columns if name not in self.rows.columns]:
            has = ", ".join(self.rows.columns)
            raise TableRefused(f"{self.path}: lacks the columns {', '.join(absent)}; it has {has}")
        if self.rows.is_empty():
            raise TableRefused(f"{self.path}: holds no rows")

    def named(self, other_names: Mapping[str, str]) -> FileTable:
        """The table with column names stripped, in lower case, and as ``other_names`` translates them."""
        names = {name: other_names.get(name.strip().lower(), name.strip().lower()) for name in self.rows.columns}
        if len(set(names.values())) < len(names):
            raise TableRefused(f"{self.path}: two columns mean the same; its columns are {', '.join(names)}")
        return replace(self, rows=self.rows.rename(names))


def is_table_file(path: Path) -> bool:
    """Whether the name of ``path`` is that of a table."""
    return path.name.lower().endswith(TABLE_SUFFIXES)


def read_table(path: Path, *, without_header: Sequence[str] = ()) -> FileTable:
    """Reads one file whole.

    without_header: the columns of a CSV file whose first line begins with a number; empty refuses such a file. Raises
    TableRefused where the file is missing, unreadable, truncated or of another kind.
    """
    if not is_table_file(path):
        raise TableRefused(f"{path}: is neither {' nor '.join(TABLE_SUFFIXES)}; unpack or convert it first")
    if path.is_dir():
        raise TableRefused(f"{path}: is a folder; name a file")
    name = path.name.lower().removesuffix(".gz")
    kind = "Parquet" if name.endswith(".parquet") else "CSV"
    try:
        if packer := other_compression(path):
            raise TableRefused(f"{path}: is compressed with {packer}; unpack it, or compress it with gzip")
        packed = _is_gzip(path)
        if kind == "Parquet":
            return _parquet(path, io.BytesIO(gzip.decompress(path.read_bytes())) if packed else path)
        return _csv(path, gzip.decompress(path.read_bytes()) if packed else path.read_bytes(), without_header)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TableRefused(
            f"{path}: cannot be read: {reason}; correct the path, its permissions or the file"
        ) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableRefused(f"{path}: cannot be read as {kind}: {str(error).splitlines()[0]}") from error


def other_compression(path: Path) -> str | None:
    """The name of a compression that is not read, by the file's first bytes."""
    with path.open("rb") as file:
        head = file.read(max(map(len, _OTHER_COMPRESSION)))
    return next((name for start, name in _OTHER_COMPRESSION.items() if head.startswith(start)), None)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _parquet(path: Path, source: Path | io.BytesIO) -> FileTable:
    rows = pl.read_parquet(source, glob=False)
    texts = [name for name, kind in rows.schema.items() if isinstance(kind, pl.Categorical | pl.Enum)]
    return FileTable(path, rows.with_columns(pl.col(texts).cast(pl.String)))


def _csv(path: Path, content: bytes, without_header: Sequence[str]) -> FileTable:
    if content.startswith(_UTF_16_BOMS):
        raise TableRefused(f"{path}: is UTF-16; save it as UTF-8")
    content = content.removeprefix(_UTF_8_BOM).rstrip()
    if not content:
        raise TableRefused(f"{path}: holds no rows")
    if b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # lines as old spreadsheets end them
    raw = pl.read_csv(content, has_header=False, infer_schema=False, separator=_separator(content))
    first = [text or "" for text in raw.row(0)]
    if not first[0].strip().isdecimal():
        if len({name.strip().lower() for name in first}) < len(first):
            names = _quoted(", ".join(first))
            raise TableRefused(f"{path}: its header has a column twice or without a name: {names}")
        return FileTable(path, raw[1:].rename(dict(zip(raw.columns, first, strict=True))), first_line=2)
    if raw.width != len(without_header):
        columns = f" or give its {len(without_header)} columns: {', '.join(without_header)}" if without_header else ""
        raise TableRefused(f"{path}: has {raw.width} columns and no header; write a header{columns}")
    return FileTable(path, raw.rename(dict(zip(raw.columns, without_header, strict=True))), first_line=1)


def _quoted(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _separator(content: bytes) -> str:
    """The most frequent separator of the first line."""
    line = content.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    return max(_SEPARATORS, key=line.count)
