"""Validation errors as lines that a person can act on: where, which key, what was wrong, the cure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from daemon.config.sources import Origin
from daemon.config.types import KeyProblem

_FEED_KEYS = ("feeds.venue", "feeds.symbols", "feeds.ws_url", "feeds.rest_url")
_SECRET_WORDS = ("password", "token", "secret")
_PROTOCOLS = '"auto", 5 for MQTT 5, or 311 for MQTT 3.1.1'
_SHAPES = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
}


def describe(error: ValidationError, origins: Mapping[str, Origin], keys: Sequence[str]) -> list[str]:
    """One line for every error; ``keys`` are all dotted keys, for the nearest name."""
    return [_line(details, origins, [*keys, *_FEED_KEYS]) for details in error.errors()]


def _line(details: ErrorDetails, origins: Mapping[str, Origin], keys: Sequence[str]) -> str:
    path = _path(details)
    origin = _origin(path, origins)
    return f"{origin}: {path}: {_problem(details, path, keys)}"


def _path(details: ErrorDetails) -> str:
    path = ""
    for part in details["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, KeyProblem):
        path += f".{cause.key}"
    return path.lstrip(".")


def _origin(path: str, origins: Mapping[str, Origin]) -> str:
    """The source of the key itself, else of its section: a rule between keys may fail at one that nobody set."""
    section = path.partition(".")[0].partition("[")[0]
    for key in (path.partition("[")[0], section):
        if key in origins:
            return origins[key].location
    related = [origin for key, origin in origins.items() if key.startswith(f"{section}.")]
    return related[-1].location if related else "default"


def _problem(details: ErrorDetails, path: str, keys: Sequence[str]) -> str:
    kind, given = details["type"], details["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {_nearest(path, keys)}"
    if kind == "missing":
        return "is missing; add it"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if path == "feeds" and kind in _SHAPES:
        return "must be an array of tables; write [[feeds]]"
    if kind in _SHAPES:
        section = path.partition(".")[0]
        return f"{_SHAPES[kind]}; " + (
            f"write [{section}] and its keys below" if "table" in _SHAPES[kind] else "write [...]"
        )
    if kind == "literal_error":
        expected = _PROTOCOLS if path == "mqtt.protocol" else details["ctx"]["expected"].replace("'", '"')
        return f"was {_show(given, path)}; write {expected}"
    if kind == "string_pattern_mismatch":
        return f"was {_show(given, path)}; {_pattern_cure(path)}"
    return f"was {_show(given, path)}; {details['msg'].replace('Input should be', 'it must be')}"


def _pattern_cure(path: str) -> str:
    return {
        "instance.name": "write letters, digits, dot, dash and underscore, beginning with a letter or digit",
        "mqtt.base_topic": "write topic levels with single slashes between them and without +, # or spaces",
        "model.device": 'write "auto", "cpu", "cuda" or "cuda:N"',
    }[path]


def _nearest(path: str, keys: Sequence[str]) -> str:
    section, _, name = path.replace("[", ".").rpartition(".")
    section = section.partition(".")[0]
    siblings = [key.partition(".")[2] for key in keys if key.startswith(f"{section}.")]
    if any(word in name for word in _SECRET_WORDS) and f"{name}_file" in siblings:
        return f"secrets stay out of the configuration: put it in a file and name that in {name}_file"
    if not section:
        siblings = sorted({key.partition(".")[0] for key in keys})
    elif elsewhere := [key for key in keys if key.endswith(f".{name}")]:
        return f"did you mean {elsewhere[0]}?"
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(siblings)}"


def _show(given: object, path: str) -> str:
    if any(word in path for word in _SECRET_WORDS):
        return "not usable"
    text = f'"{given}"' if isinstance(given, str) else repr(given)
    return text if len(text) <= 80 else f"{text[:77]}..."
