"""The MQTT client id of this daemon: the same after every restart, and unlike that of any other state directory."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from daemon.errors import ConfigError
from models.atomic_file import replace_file

FILE_NAME = "mqtt-client-id"
_SUFFIX = re.compile(r"[0-9a-f]{8}")


def mqtt_client_id(state_dir: Path, instance: str) -> str:
    """``forecastd-<instance>-<suffix>``; the suffix is drawn once and kept in the state directory.

    Two daemons with one name thus do not end one another's sessions. Raises ConfigError where the file cannot be used.
    """
    file = state_dir / FILE_NAME
    try:
        suffix = file.read_text(encoding="ascii").strip() if file.exists() else ""
        if not _SUFFIX.fullmatch(suffix):
            suffix = secrets.token_hex(4)
            replace_file(file, f"{suffix}\n".encode("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file} cannot be read or written: {error}; remove it or make it writable"]) from error
    return f"forecastd-{instance}-{suffix}"
