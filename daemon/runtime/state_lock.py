"""Lock of the state directory, for one daemon at a time; the kernel releases it at any death of its holder."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.errors import ConfigError, Retryable

LOCK_NAME = "forecastd.lock"
# Faults of a disk that pass: full, over quota, read-only after an error, out of descriptors.
TRANSIENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE})
_LONGEST_HOLDER = 200  # characters of the holder's description, in a message


class StateLock:
    """A context manager that holds the lock of ``state_dir``, an existing folder, for the instance called ``name``.

    Entering raises Retryable while another daemon holds the lock, and ConfigError where the file cannot be opened.
    The file stays after the release: removing it would let two processes lock two files of one name.
    """

    def __init__(self, state_dir: Path, name: str) -> None:
        self._state_dir = state_dir
        self._name = name
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        path = self._state_dir / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in TRANSIENT:
                raise Retryable(f"{path}: {error.strerror}") from error
            raise ConfigError([f"{path}: {error.strerror}; make [instance] state_dir writable"]) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, _LONGEST_HOLDER).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise Retryable(
                f"[instance] state_dir {self._state_dir}: another forecastd uses it ({holder or 'starting'}); "
                "stop that one, or give this instance a name and a state_dir of its own"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise ConfigError(
                [f"{path}: {error.strerror}; choose an [instance] state_dir on a file system with locks"]
            ) from error
        self._descriptor = descriptor
        with suppress(OSError):  # the description is for the other's message; a full disk does not end the start
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"instance {self._name!r}, process {os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
