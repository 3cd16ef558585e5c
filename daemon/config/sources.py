"""Sources of configuration values, merged in order of precedence before validation."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from daemon.config.toml_text import TextRefused, decoded, foreign_character

ENVIRONMENT_PREFIX = "FORECASTD__"


class Origin(NamedTuple):
    """The source of one value: its ``kind``, and the ``name`` of the file or variable."""

    kind: str
    name: str = ""

    @property
    def location(self) -> str:
        """The prefix of an error line."""
        return self.name or self.kind

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


DEFAULT = Origin("default")
COMMAND_LINE = Origin("command line")


@dataclass(slots=True)
class Gathered:
    """Values by dotted key (``mqtt.url``; ``feeds`` is one key); a later source replaces an earlier one.

    ``problems`` holds one line for each value or file that could not be read.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, key: str, value: Any, origin: Origin) -> None:
        self.values[key] = value
        self.origins[key] = origin

    def tree(self) -> dict[str, Any]:
        """The values as nested tables, like a parsed TOML file."""
        tables: dict[str, Any] = {}
        for key, value in self.values.items():
            section, _, name = key.partition(".")
            table = tables.setdefault(section, {})
            if not name:
                tables[section] = {**value, **table} if isinstance(value, dict) and isinstance(table, dict) else value
            elif isinstance(table, dict):
                table[name] = value
        return tables


def gather(
    path: Path | None, *, command_line: Mapping[str, Any], environ: Mapping[str, str], keys: Mapping[str, bool]
) -> Gathered:
    """Reads all sources. ``keys``: each known key with whether its value is a string.

    Raises nothing: an unreadable value or file is added to ``problems``.
    """
    gathered = Gathered()
    _read_file(path, gathered)
    _read_credentials(environ, keys, gathered)
    _read_environment(environ, keys, gathered)
    _read_command_line(command_line, keys, gathered)
    return gathered


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """``$STATE_DIRECTORY`` (set by systemd; the first of several), else ``$XDG_STATE_HOME/forecastd``."""
    if from_systemd := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(from_systemd)
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return Path(home) / "forecastd"


def _read_file(path: Path | None, gathered: Gathered) -> None:
    if path is None:
        return
    text = ""
    try:
        text = decoded(path.read_bytes())
        tables = tomllib.loads(text)
    except FileNotFoundError:
        gathered.problems.append(f"{path}: there is no such file; create it or correct the path given with -c")
    except OSError as error:
        gathered.problems.append(f"{path}: cannot be read: {error.strerror}; correct its permissions or the path")
    except TextRefused as error:
        gathered.problems.append(f"{path}: {error}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        fault = foreign_character(text) or f"{error}; correct the syntax there"
        gathered.problems.append(f"{path}: is not valid TOML: {fault}")
    else:
        for key, value in _flatten(tables):
            gathered.put(key, value, Origin("file", str(path)))


def _flatten(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, value in tables.items():
        if isinstance(value, dict) and value:
            yield from ((f"{section}.{name}", inner) for name, inner in value.items())
        else:
            yield section, value


def _read_credentials(environ: Mapping[str, str], keys: Mapping[str, bool], gathered: Gathered) -> None:
    """Sets ``mqtt.password_file`` from a systemd credential (LoadCredential=) named ``mqtt-password``, and so on."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return
    for key in keys:
        name = key.removesuffix("_file").replace(".", "-").replace("_", "-")
        if key.endswith("_file") and (credential := Path(folder) / name).is_file():
            gathered.put(key, str(credential), Origin("credentials file", str(credential)))


def _read_environment(environ: Mapping[str, str], keys: Mapping[str, bool], gathered: Gathered) -> None:
    for variable in sorted(environ):
        if variable.startswith(ENVIRONMENT_PREFIX):
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            _put_text(key, environ[variable], Origin("environment", variable), keys, gathered)


def _read_command_line(command_line: Mapping[str, Any], keys: Mapping[str, bool], gathered: Gathered) -> None:
    for key, value in command_line.items():
        if isinstance(value, str):
            _put_text(key, value, COMMAND_LINE, keys, gathered)
        elif value is not None:
            gathered.put(key, value, COMMAND_LINE)


def _put_text(key: str, text: str, origin: Origin, keys: Mapping[str, bool], gathered: Gathered) -> None:
    if key.startswith("feeds."):
        gathered.problems.append(
            f"{origin.location}: {key}: feeds are set as a whole; write "
            'FORECASTD__FEEDS=[{venue = "binance", symbols = ["BTC-USDT"]}]'
        )
    elif keys.get(key, True):
        gathered.put(key, text, origin)
    else:
        try:
            gathered.put(key, _parse(text), origin)
        except ValueError:
            gathered.problems.append(
                f'{origin.location}: {key}: was "{text}"; write a JSON or TOML value, e.g. 2 or [1]'
            )


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return tomllib.loads(f"value = {text}")["value"]
