from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.runtime.client_identity import FILE_NAME, mqtt_client_id


def test_the_id_is_stable_and_unlike_another_state_directorys(tmp_path: Path) -> None:
    """Two daemons with one name have two ids; a restart keeps the id."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = mqtt_client_id(one, "main")
    assert first.startswith("forecastd-main-")
    assert len(first) <= 23  # MQTT 3.1.1, section 3.1.3.1: every broker accepts so many
    assert mqtt_client_id(one, "main") == first
    assert mqtt_client_id(other, "main") != first


@pytest.mark.parametrize("content", ["", "deadbeef" * 9, "../..\n", "DEADBEEF"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    repaired = mqtt_client_id(tmp_path, "main")
    assert mqtt_client_id(tmp_path, "main") == repaired


def test_an_unusable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ConfigError, match=FILE_NAME):
        mqtt_client_id(tmp_path, "main")
