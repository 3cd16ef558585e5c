"""Reload rules: which keys of a running daemon's configuration a reload may change."""

from __future__ import annotations

from typing import Any, NamedTuple

from daemon.config import Config, known_keys, value_of

_RELOADABLE_SECTIONS = ("retrain", "store")
_RELOADABLE_KEYS = ("log.level", "bars.grace_s")


class ReloadChanges(NamedTuple):
    """Dotted keys whose value changed: ``applied`` by a reload, or ``refused`` because they need a restart."""

    applied: tuple[str, ...]
    refused: tuple[str, ...]


def reloadable_changes(old: Config, new: Config) -> ReloadChanges:
    """Keys that differ between ``old`` and ``new``, split into those a reload applies and those it refuses."""
    changed = [key for key in known_keys() if value_of(old, key) != value_of(new, key)]
    applied = tuple(key for key in changed if _is_reloadable(key))
    return ReloadChanges(applied, tuple(key for key in changed if not _is_reloadable(key)))


def with_reloadable(old: Config, new: Config) -> Config:
    """``old`` with the reloadable values of ``new``: the configuration in force after a reload."""
    sections: dict[str, Any] = {
        "retrain": new.retrain,
        "store": new.store,
        "log": old.log.model_copy(update={"level": new.log.level}),
        "bars": old.bars.model_copy(update={"grace_s": new.bars.grace_s}),
    }
    applied = reloadable_changes(old, new).applied
    return old.model_copy(update=sections).with_origins({key: new.origin(key) for key in applied})


def _is_reloadable(key: str) -> bool:
    return key in _RELOADABLE_KEYS or key.partition(".")[0] in _RELOADABLE_SECTIONS
