import os

# Before torch is imported: its threads wait for each other for seconds beside other busy processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

import pytest

from models.specification import DEFAULT_KIND
from tests.models.tiny_artifacts import trained_once


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one trained artifact."""
    return trained_once(DEFAULT_KIND, tmp_path_factory)
