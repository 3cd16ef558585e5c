import os

# Before torch is imported: its threads wait for each other for seconds beside other busy processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

import pytest

from models.presets import PRESETS
from models.specification import DEFAULT_KIND
from tests.models.trained import tiny_spec


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one trained artifact."""
    from models.train import train

    return train(tiny_spec(tmp_path_factory.mktemp("trained")))


@pytest.fixture(scope="session", params=PRESETS)
def artifact_of_each_kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one trained artifact, one kind of network after the other."""
    from models.train import train

    if request.param == DEFAULT_KIND:
        artifact: Path = request.getfixturevalue("tiny_artifact")
        return artifact
    return train(tiny_spec(tmp_path_factory.mktemp(request.param), kind=request.param))
