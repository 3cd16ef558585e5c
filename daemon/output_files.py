"""Output files of commands: whole or not there, and one line where the disk refuses them."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from daemon.errors import EXIT_USAGE, Fatal, Retryable
from models.atomic_file import replace_file

_REFUSED_BY_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_CURE = "free space there or write elsewhere"
# The words of libraries that report an error of the disk without its number.
_WORDS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


class OutputRefused(Retryable):
    """The disk takes no output now; the file that was there before is unchanged."""


class OutputNotWritable(Fatal):
    """There is no such folder, or this user may not write there."""

    exit_code = EXIT_USAGE


def write_file(path: Path, content: bytes) -> None:
    """Writes ``content`` under a temporary name and renames it: ``path`` is never a part of a file.

    What exists and is no regular file, such as /dev/stdout or a pipe, is written to directly. Raises OutputRefused or
    OutputNotWritable.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.write(content)
            return
        replace_file(path.resolve(), content)
    except OSError as error:
        fault = f"{path}: cannot be written: {error.strerror}"
        if error.errno in _REFUSED_BY_DISK:
            raise OutputRefused(f"{fault}; {_CURE}") from error
        raise OutputNotWritable(f"{fault}; write elsewhere, or correct the permissions there") from error


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, see ``write_file``."""
    write_file(path, text.encode("utf-8"))


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Writes ``frame`` as Parquet, see ``write_file``."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_file(path, buffer.getvalue())


def disk_refusal(error: BaseException) -> str | None:
    """The reason where ``error`` or what caused it is a full or failing disk; None for any other error."""
    for each in causes(error):
        if isinstance(each, OSError) and each.errno in _REFUSED_BY_DISK:
            where = f"{each.filename}: " if each.filename else "the output "
            return f"{where}cannot be written: {each.strerror}; {_CURE}"
        if any(words in str(each) for words in _WORDS):
            return " ".join(str(each).split())
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and the members of groups."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
