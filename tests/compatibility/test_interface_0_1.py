"""Names that operators of forecastd 0.1 (commit a44baf2) rely on: configuration keys and log events."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from daemon.config.render import config_schema
from tests.paths import ROOT

HERE = Path(__file__).parent

# Patterns that accept more than in 0.1, and all that they accepted then.
WIDENED = {r"^([A-Z0-9]+-[A-Z0-9]+)$": r"^([^\s!-/:-@\[-`a-z{-~]+-[^\s!-/:-@\[-`a-z{-~]+)$"}  # symbols of any script


def without_descriptions(schema: Any) -> Any:
    """A JSON Schema without its prose."""
    if isinstance(schema, dict):
        return {
            key: without_descriptions(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [without_descriptions(each) for each in schema] if isinstance(schema, list) else schema


def missing(found: Any, expected: Any, path: str = "$") -> list[str]:
    """The paths of ``expected`` that ``found`` lacks or has otherwise; additions are allowed."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            problem
            for key, value in expected.items()
            for problem in ([f"{path}.{key}"] if key not in found else missing(found[key], value, f"{path}.{key}"))
        ]
    if isinstance(expected, list) and isinstance(found, list):
        return [f"{path}: {each}" for each in expected if each not in found]
    if found == expected or (path.endswith(".pattern") and found == WIDENED.get(expected)):
        return []
    return [f"{path}: {expected} became {found}"]


def logged_events(*packages: str) -> set[str]:
    """The first argument of every call of a logger, where it is a text."""
    return {
        node.args[0].value
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "_log", "logger"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }


def test_the_configuration_keeps_every_key() -> None:
    """Keys, types, defaults and bounds of ``forecastd config schema``."""
    expected = json.loads((HERE / "config_schema_0_1.json").read_text())
    assert missing(without_descriptions(config_schema()), without_descriptions(expected)) == []


def test_log_events_keep_their_names() -> None:
    """An operator's filters of the journal find the same events."""
    expected = set((HERE / "log_events_0_1.txt").read_text().split())
    assert expected - logged_events("daemon", "models") == set()
