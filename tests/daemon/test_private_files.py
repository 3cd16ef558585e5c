"""Tests of the modes of state files, in processes of their own because they have one umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from daemon.private_files import prepare_state_dir
from daemon.store.ledger import LEDGER_NAME, Ledger
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The umask of most users, which lets others read; restored because the function under test changes it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def loose(folder: Path) -> list[Path]:
    """Everything below the folder that another user may read or change."""
    return [path for path in folder.rglob("*") if mode(path) & 0o077]


def test_a_new_state_directory_is_private_with_all_its_files(tmp_path: Path) -> None:
    """Parents too; SQLite's journal files follow the database."""
    state_dir = tmp_path / "new" / "state"
    prepare_state_dir(state_dir)
    with Ledger(state_dir / LEDGER_NAME):
        (state_dir / "models").mkdir()
        (state_dir / "models" / "champion").write_text("x")
        assert len(list(state_dir.glob(f"{LEDGER_NAME}*"))) >= 2
        assert not loose(tmp_path / "new")
    assert mode(state_dir) == 0o700
    assert mode(tmp_path / "new") == 0o700


def test_existing_files_are_tightened_and_the_folder_keeps_its_mode(tmp_path: Path) -> None:
    """An earlier version wrote them readable for all; other programs' files are left alone."""
    state_dir = tmp_path / "state"
    (state_dir / "models" / "a").mkdir(parents=True)
    own = [state_dir / LEDGER_NAME, state_dir / "models" / "a" / "weights.safetensors", state_dir / "retrain.lock"]
    foreign = tmp_path / "elsewhere"
    other = state_dir / "notes.txt"
    for path in (*own, foreign, other):
        path.write_text("x")
    (state_dir / "models" / "link").symlink_to(foreign)
    state_dir.chmod(0o755)
    prepare_state_dir(state_dir)
    assert [mode(path) for path in own] == [0o600] * 3
    assert mode(state_dir / "models" / "a") == 0o700
    assert mode(state_dir) == 0o755
    assert (mode(foreign), mode(other)) == (0o644, 0o644)


def test_history_import_leaves_a_private_store(tmp_path: Path) -> None:
    """The commands that write the store without a daemon keep it private too."""
    klines = tmp_path / "BTC-USDT.parquet"
    pl.DataFrame(
        {
            "open_time": [1_767_225_600_000, 1_767_229_200_000],
            "open": [1.0, 1.0],
            "high": [2.0, 2.0],
            "low": [0.5, 0.5],
            "close": [1.5, 1.5],
            "volume": [10.0, 10.0],
        }
    ).write_parquet(klines)
    state_dir = tmp_path / "state"
    command = [sys.executable, "-m", "daemon", "history", "import", str(klines), "--symbol", "BTC-USDT"]
    environment = {**os.environ, "FORECASTD__INSTANCE__STATE_DIR": str(state_dir)}
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert mode(state_dir) == 0o700
    assert not loose(state_dir)
