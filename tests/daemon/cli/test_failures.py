"""Failures of commands: a full disk is exit code 75 without a partial file, a defect one line and exit code 70."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from daemon import cli
from daemon.cli.commands import replay as replay_command
from daemon.cli.failures import ERRORS_FILE, EXIT_READER_GONE, report
from daemon.errors import EXIT_CONFIG, EXIT_INTERNAL, EXIT_TRY_AGAIN, EXIT_USAGE, ConfigError, Fatal
from daemon.output_files import OutputNotWritable, OutputRefused, disk_refusal, write_file
from tests.daemon.cli.in_process import run_forecastd

TRADES = "trade_id,ts,price,size,side\n" + "".join(
    f"{number},{1_735_689_600 + 60 * number},100.5,1,buy\n" for number in range(2000)
)
MOST_BYTES = 1024  # of a file that a command on a full disk can write


def forecastd(*arguments: str, folder: Path, stdout: int = subprocess.PIPE, full: bool = False) -> tuple[int, str, str]:
    """Of a process: exit code, standard output and error; ``full``: no file may grow beyond ``MOST_BYTES``."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))

    done = subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        env={**os.environ, "FORECASTD__INSTANCE__STATE_DIR": str(folder), "XDG_STATE_HOME": str(folder)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit if full else None,
    )
    return done.returncode, done.stdout or "", done.stderr


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    file = tmp_path / "trades.csv"
    file.write_text(TRADES)
    return file


def is_one_line(error: str) -> bool:
    return error.startswith("forecastd: ") and error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "before"),
    [
        ("--bars", None),
        ("--forecasts", b"earlier"),
        pytest.param("--bars", b"earlier", marks=pytest.mark.long),
        pytest.param("--forecasts", None, marks=pytest.mark.long),
    ],
)
def test_a_full_disk_leaves_no_partial_file(option: str, before: bytes | None, trades: Path, tmp_path: Path) -> None:
    """Exit code 75, one line with the file, and the file that was there before."""
    out = tmp_path / "out"
    if before is not None:
        out.write_bytes(before)
    code, _, error = forecastd(
        "replay", str(trades), "--symbol", "BTC-USDT", option, str(out), folder=tmp_path, full=True
    )
    assert (code, is_one_line(error)) == (EXIT_TRY_AGAIN, True), error
    assert f"{out}: cannot be written: File too large" in error
    assert sorted(tmp_path.iterdir()) == sorted([trades, *([out] if before else [])])
    assert before is None or out.read_bytes() == before


@pytest.mark.parametrize("command", ["config show", "config schema", "history show --json"])
def test_standard_output_that_is_full(command: str, tmp_path: Path) -> None:
    """Exit code 75 and one line."""
    (tmp_path / "k.csv").write_text("open_time,open,high,low,close,volume\n1735689600,1,1,1,1,1\n")
    names = {"FORECASTD__INSTANCE__STATE_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    imported = run_forecastd("history", "import", str(tmp_path / "k.csv"), "--symbol", "BTC-USDT", environment=names)
    assert imported.returncode == 0, imported.stderr
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a file descriptor is needed
        done = run_forecastd(*command.split(), environment=names, stdout=full)
    assert (done.returncode, is_one_line(done.stderr)) == (EXIT_TRY_AGAIN, True), done.stderr
    assert "No space left on device" in done.stderr


@pytest.mark.slow
def test_the_end_of_the_process_adds_no_error_of_its_own(tmp_path: Path) -> None:
    """Exit code 75 and one line from a whole process whose standard output is full."""
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a file descriptor is needed
        code, _, error = forecastd("--help", folder=tmp_path, stdout=full.fileno())
    assert (code, is_one_line(error)) == (EXIT_TRY_AGAIN, True), error
    assert "No space left on device" in error


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["config schema", "config show --origin", "--help"])
def test_a_reader_that_ends_first_ends_the_command_quietly(arguments: str, tmp_path: Path) -> None:
    """As under ``head``: nothing on standard error, and the exit code of a program that SIGPIPE ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", *arguments.split()],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), error) == (EXIT_READER_GONE, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_is_no_reader_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where nothing reads standard output."""
    assert report(ConfigError(["one"])) == 78
    caused = Fatal("the daemon went away")
    caused.__cause__ = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert report(caused) == EXIT_INTERNAL
    assert capsys.readouterr().err == "forecastd: one\nforecastd: the daemon went away\n"


@pytest.mark.slow
def test_a_device_is_written_to(trades: Path, tmp_path: Path) -> None:
    """Standard output may be named as the file."""
    code, output, error = forecastd(
        "replay", str(trades), "--symbol", "BTC-USDT", "--forecasts", "/dev/stdout", folder=tmp_path
    )
    assert code == 0, error
    assert json.loads(output.splitlines()[0])["schema"] == "forecastd.forecast.v1"


@pytest.mark.slow
def test_an_import_on_a_full_disk(tmp_path: Path) -> None:
    """The store says so in one line."""
    times = range(1_735_689_600, 1_735_689_600 + 3600 * 5000, 3600)
    table = pl.DataFrame({"open_time": times}).with_columns(
        pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume")
    )
    table.write_csv(tmp_path / "k.csv")
    code, _, error = forecastd(
        "history", "import", str(tmp_path / "k.csv"), "--symbol", "A-B", folder=tmp_path, full=True
    )
    assert (code, is_one_line(error)) == (EXIT_TRY_AGAIN, True), error


def test_a_defect_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 70; the traceback is in a file that only the user reads."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("first line\nsecond line")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr(replay_command, "run_replay", broken)
    monkeypatch.setattr(sys, "argv", ["forecastd", "replay", "file.csv"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    error = capsys.readouterr().err
    file = tmp_path / "forecastd" / ERRORS_FILE
    assert (ended.value.code, is_one_line(error)) == (EXIT_INTERNAL, True), error
    assert "internal error: KeyError: " in error
    assert str(file) in error
    assert "Traceback" in file.read_text()
    assert "forecastd" in file.read_text().splitlines()[0]
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_of_errors_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One earlier file is kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    file = tmp_path / "forecastd" / ERRORS_FILE
    file.parent.mkdir()
    file.write_bytes(b"x" * 1_000_001)
    report(ValueError("defect"))
    assert file.stat().st_size < 10_000
    assert sorted(each.name for each in file.parent.iterdir()) == [ERRORS_FILE, f"{ERRORS_FILE}.1"]


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/there/file")


def test_a_full_disk_is_found_behind_other_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """As the cause, in a group, and in the words of a library or of another process."""
    caused = Fatal("a run failed")
    caused.__cause__ = full_disk()
    for error in (
        full_disk(),
        caused,
        ExceptionGroup("tasks", [ValueError("other"), full_disk()]),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        Fatal("training ended as failed: OSError: [Errno 28] No space left on device"),
    ):
        assert disk_refusal(error) is not None
        assert report(error) == EXIT_TRY_AGAIN
        assert is_one_line(capsys.readouterr().err)
    assert disk_refusal(FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert report(ConfigError(["one", "two"])) == 78
    assert capsys.readouterr().err == "forecastd: one\nforecastd: two\n"


def test_where_a_file_cannot_be_written(tmp_path: Path) -> None:
    """A folder in its place or none above it is the user's to correct; a full device is not."""
    for path in (tmp_path, tmp_path / "nowhere" / "file"):
        with pytest.raises(OutputNotWritable, match="cannot be written") as refused:
            write_file(path, b"content")
        assert refused.value.exit_code == EXIT_USAGE
    with pytest.raises(OutputRefused):
        write_file(Path("/dev/full"), b"content")


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The file behind it is replaced, not the link."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_file(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize("kind", ["file", "dangling link"])
@pytest.mark.parametrize("command", ["import", "fetch", "train"])
def test_a_state_dir_that_cannot_be_made_is_a_fault_of_the_configuration(
    kind: str, command: str, tmp_path: Path, trades: Path
) -> None:
    """Every command that writes there says so on one line, as the daemon does: trying again would not help."""
    state_dir = tmp_path / "state"
    state_dir.touch() if kind == "file" else state_dir.symlink_to(tmp_path / "nowhere" / "else")
    arguments = {
        "import": ("history", "import", str(trades)),
        "fetch": ("history", "fetch", "--from", "2025-01-01"),
        "train": ("train", "--model", "lstm"),
    }[command]
    ended = run_forecastd(*arguments, environment={"FORECASTD__INSTANCE__STATE_DIR": str(state_dir)})
    assert ended.returncode == EXIT_CONFIG
    assert ended.stderr.startswith(f"forecastd: [instance] state_dir {state_dir}: ")
    assert ended.stderr.endswith("; make it writable or choose another\n")
    assert len(ended.stderr.splitlines()) == 1
