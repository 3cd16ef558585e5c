"""File modes of the state directory: files 0600 in folders 0700, for the daemon's user alone.

The store holds what was traded and forecast, the models folder what the daemon loads and runs: no other user may read
the one or change the other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_UMASK = 0o077
# Everything that forecastd writes at the top of a state directory.
_OWN = ("ledger.sqlite*", "*.lock", "models", "retraining", "training")


def prepare_state_dir(state_dir: Path) -> None:
    """Makes the folder where it is missing, and private what this process writes from now on and what is already there.

    A folder that exists keeps its mode, because it may be shared with other programs. Raises OSError.
    """
    os.umask(_UMASK)
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in _own_files(state_dir):
        _tighten(path)


def _own_files(state_dir: Path) -> Iterator[Path]:
    for pattern in _OWN:
        for path in state_dir.glob(pattern):
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from path.rglob("*")


def _tighten(path: Path) -> None:
    """Takes all rights from group and others. A file of another user stays as it is: only that user may change it."""
    try:
        status = path.lstat()
    except FileNotFoundError:  # a journal file that another program removed meanwhile
        return
    mode = status.st_mode & 0o7777
    if not stat.S_ISLNK(status.st_mode) and mode & _UMASK and status.st_uid == os.geteuid():
        path.chmod(mode & ~_UMASK)
