"""Renders the configuration as TOML, with origins, and its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Any

from daemon.config import Config, Feed, known_keys, value_of


def show(config: Config, *, origin: bool = False) -> str:
    """``config`` as TOML that loads to the same configuration; ``origin`` adds the source of each value as a comment.

    The output holds no secrets: the configuration contains only the paths of their files.
    """
    width = 0 if not origin else max(len(line) for line, _ in _lines(config))
    return "".join(
        _annotated(line, str(config.origin(key)) if origin and key else "", width) for line, key in _lines(config)
    )


def _annotated(line: str, origin: str, width: int) -> str:
    return f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n"


def config_schema() -> dict[str, Any]:
    """The configuration file as JSON Schema."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _lines(config: Config) -> Iterator[tuple[str, str]]:
    """Each line with the dotted key that it sets, or an empty text."""
    section = ""
    for key in known_keys():
        table, _, name = key.partition(".")
        if not name:
            yield from (line for feed in config.feeds for line in _feed_lines(feed))
            continue
        if table != section:
            section = table
            yield f"{'' if section == 'instance' else chr(10)}[{section}]", ""
        yield f"{name} = {_literal(value_of(config, key), key)}", key


def _feed_lines(feed: Feed) -> Iterator[tuple[str, str]]:
    yield "\n[[feeds]]", ""
    for name in Feed.model_fields:
        yield f"{name} = {_literal(getattr(feed, name), name)}", "feeds"


def _literal(value: Any, key: str) -> str:
    """``value`` as a TOML literal."""
    if value is None:
        return '"off"' if key == "retrain.every" else '""'
    if isinstance(value, time):
        return f'"{value:%H:%M}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) in (int, float):
        return repr(value)
    if type(value) is tuple:
        return f"[{', '.join(_literal(item, key) for item in value)}]"
    # JSON's escapes are valid in TOML; durations, paths, shards and addresses are strings.
    return json.dumps(str(value) if not isinstance(value, Path) else value.as_posix(), ensure_ascii=False)
