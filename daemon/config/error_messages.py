"""Renders validation errors as lines of source, key, fault and cure."""

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
_WRONG_CONTAINER = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be an array",
    "list_type": "must be an array",
}


def describe(error: ValidationError, origins: Mapping[str, Origin], keys: Sequence[str]) -> list[str]:
    """One line for each error. ``keys``: all dotted keys, from which the closest name is suggested."""
    return [_describe_one(details, origins, [*keys, *_FEED_KEYS]) for details in error.errors()]


def _describe_one(details: ErrorDetails, origins: Mapping[str, Origin], keys: Sequence[str]) -> str:
    path = _key_path(details)
    origin = _origin(path, origins)
    return f"{origin}: {path}: {_fault_and_cure(details, path, keys)}"


def _key_path(details: ErrorDetails) -> str:
    """The dotted key of the error, with indices, e.g. ``feeds[0].symbols[1]``."""
    path = ""
    for part in details["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, KeyProblem):
        path += f".{cause.key}"
    return path.lstrip(".")


def _origin(path: str, origins: Mapping[str, Origin]) -> str:
    """The source of the key, else of its section: a rule between keys may fail at a key that was not set."""
    section = path.partition(".")[0].partition("[")[0]
    for key in (path.partition("[")[0], section):
        if key in origins:
            return origins[key].location
    related = [origin for key, origin in origins.items() if key.startswith(f"{section}.")]
    return related[-1].location if related else "default"


def _fault_and_cure(details: ErrorDetails, path: str, keys: Sequence[str]) -> str:
    kind, given = details["type"], details["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {_suggest_key(path, keys)}"
    if kind == "missing":
        return "is missing; add it"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if path == "feeds" and kind in _WRONG_CONTAINER:
        return "must be an array of tables; write [[feeds]]"
    if kind in _WRONG_CONTAINER:
        section = path.partition(".")[0]
        return f"{_WRONG_CONTAINER[kind]}; " + (
            f"write [{section}] and its keys below" if "table" in _WRONG_CONTAINER[kind] else "write [...]"
        )
    if kind == "literal_error":
        expected = _PROTOCOLS if path == "mqtt.protocol" else details["ctx"]["expected"].replace("'", '"')
        return f"was {_quote(given, path)}; write {expected}"
    if kind == "string_pattern_mismatch":
        return f"was {_quote(given, path)}; {_cure_for_pattern(path)}"
    return f"was {_quote(given, path)}; {details['msg'].replace('Input should be', 'it must be')}"


def _cure_for_pattern(path: str) -> str:
    return {
        "instance.name": "write letters, digits, dot, dash and underscore, beginning with a letter or digit",
        "mqtt.base_topic": "write topic levels with single slashes between them and without +, # or spaces",
        "model.device": 'write "auto", "cpu", "cuda" or "cuda:N"',
    }[path]


def _suggest_key(path: str, keys: Sequence[str]) -> str:
    """The cure for an unknown key: its ``_file`` variant, the same key of another section, or the closest name."""
    section, _, name = path.replace("[", ".").rpartition(".")
    section = section.partition(".")[0]
    siblings = [key.partition(".")[2] for key in keys if key.startswith(f"{section}.")]
    if any(word in name for word in _SECRET_WORDS) and f"{name}_file" in siblings:
        return f"secrets stay out of the configuration: put it in a file and name that in {name}_file"
    if not section:
        siblings = sorted({key.partition(".")[0] for key in keys})
    elif same_name := [key for key in keys if key.endswith(f".{name}")]:
        return f"did you mean {same_name[0]}?"
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(siblings)}"


def _quote(given: object, path: str) -> str:
    """The given value as written, shortened to 80 characters; never a secret."""
    if any(word in path for word in _SECRET_WORDS):
        return "not usable"
    text = f'"{given}"' if isinstance(given, str) else repr(given)
    return text if len(text) <= 80 else f"{text[:77]}..."
