"""Text of the configuration file: marks of editors are read or named, with line, column and cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config import load_config
from tests.daemon.config.loading import HOME, problems

TEXT = '[log]\nlevel = "debug"\n'


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_windows_files_are_read(mark: str, line_end: str, tmp_path: Path) -> None:
    """A byte-order mark, and lines that end in CR LF."""
    file = tmp_path / "forecastd.toml"
    file.write_bytes((mark + TEXT.replace("\n", line_end)).encode())
    assert load_config(file, environ=HOME).log.level == "debug"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[log]\nlevel = “debug”", 'line 2, column 9 has the typographic quote “; write " there'),
        ("[log]\nlevel = ‘debug’", 'line 2, column 9 has the typographic quote ‘; write " there'),  # noqa: RUF001
        ('[log]\nlevel = "debug”', "line 2, column 15 has the typographic quote ”"),
        ("[log]\nlevel\u00a0= 'debug'", "line 2, column 6 has the character U+00A0; write a space there"),
        ("# “quoted”\n[log]\nlevel = debug", "Invalid value (at line 3, column 9); correct the syntax there"),
    ],
)
def test_characters_that_are_not_toml_s_are_named(content: str, says: str, tmp_path: Path) -> None:
    """Where they are, and what to write."""
    file = tmp_path / "forecastd.toml"
    file.write_text(content, "utf-8")
    (line,) = problems(file, environ=HOME)
    assert line.startswith(f"{file}: is not valid TOML: ")
    assert says in line


@pytest.mark.parametrize(
    ("content", "says"),
    [(TEXT.encode("utf-16"), "is UTF-16; save the file as UTF-8"), (b"a = '\xff'", "byte 5 is not UTF-8")],
)
def test_other_encodings_are_named(content: bytes, says: str, tmp_path: Path) -> None:
    """With the cure."""
    file = tmp_path / "forecastd.toml"
    file.write_bytes(content)
    (line,) = problems(file, environ=HOME)
    assert line.startswith(f"{file}: {says}")


def test_good_typographic_quotes_stay(tmp_path: Path) -> None:
    """In comments and texts they are the operator's."""
    file = tmp_path / "forecastd.toml"
    file.write_text('# “comment”\n[http]\ntoken_file = "" # “”\n', "utf-8")
    load_config(file, environ=HOME)
