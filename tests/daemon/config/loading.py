"""Loads configurations that must fail, and returns the problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.errors import EXIT_CONFIG, ConfigError

HOME = {"HOME": "/home/ann"}

Write = Callable[[str], Path]


def problems(path: Path | None = None, *, environ: dict[str, str] | None = None, **command_line: object) -> list[str]:
    """The problems of a configuration that must be refused."""
    with pytest.raises(ConfigError) as refused:
        load_config(path, command_line=command_line, environ=environ or HOME)
    assert refused.value.exit_code == EXIT_CONFIG
    return refused.value.problems


def problem(text: str, write: Write) -> str:
    """The only problem of a file with this text, without the prefix of the file's name."""
    path = write(text)
    (line,) = problems(path)
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")
