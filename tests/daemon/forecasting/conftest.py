from pathlib import Path

import pytest

from models.specification import DEFAULT_KIND
from tests.models.tiny_artifacts import trained_once


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one trained artifact."""
    return trained_once(DEFAULT_KIND, tmp_path_factory)
