"""The JSON Schemas of all messages, as files of this package."""

from __future__ import annotations

from importlib import resources
from typing import Any

import msgspec

from daemon.publishing.wire import SCHEMAS


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one of ``SCHEMAS``. Raises ValueError for any other name."""
    if name not in SCHEMAS:
        raise ValueError(f"unknown schema {name!r}; known: {', '.join(SCHEMAS)}")
    document: dict[str, Any] = msgspec.json.decode(
        resources.files("daemon.publishing").joinpath("schemas", f"{name}.json").read_bytes()
    )
    return document
