"""The lock of a state directory: one holder, named in the refusal, and none after any death."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import EXIT_TRY_AGAIN, ConfigError, Retryable
from daemon.runtime.state_lock import LOCK_NAME, StateLock
from tests.limits import LIMIT_S
from tests.paths import ROOT

HOLD = """
import sys
from pathlib import Path
from daemon.runtime.state_lock import StateLock
with StateLock(Path(sys.argv[1]), "alpha"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    """The message names folder, instance and process, and what to do; the release frees it."""
    with StateLock(tmp_path, "alpha"):
        with pytest.raises(Retryable, match=r"another forecastd uses it \(instance 'alpha', process \d+\)") as caught:
            StateLock(tmp_path, "beta").__enter__()
        assert caught.value.exit_code == EXIT_TRY_AGAIN
        assert str(tmp_path) in str(caught.value)
    with StateLock(tmp_path, "beta"):
        assert "beta" in (tmp_path / LOCK_NAME).read_text()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """The kernel releases the lock of a process that was killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Retryable):
            StateLock(tmp_path, "beta").__enter__()
        holder.kill()
        holder.wait(LIMIT_S)
    with StateLock(tmp_path, "beta"):
        pass


def test_a_lock_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """A folder in the place of the file, for example."""
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(ConfigError, match="state_dir"):
        StateLock(tmp_path, "alpha").__enter__()
