from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.config.loading import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file and returns its path."""

    def to_file(text: str) -> Path:
        path = tmp_path / "forecastd.toml"
        path.write_text(text)
        return path

    return to_file
