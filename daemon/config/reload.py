"""Reload rules: which keys of a running daemon's configuration a reload may change."""

from __future__ import annotations

from typing import Any, NamedTuple

from daemon.config import Config, known_keys, value_of

# Each has an owner that `App.reload` gives the new value or that reads the configuration in force every time;
# tests/daemon/runtime/test_reload.py has a test of the effect of each.
RELOADABLE_KEYS = (
    "bars.grace_s",
    "retrain.every",
    "retrain.at",
    "retrain.history",
    "retrain.quiet_before_close_s",
    "store.keep_bars",
    "store.keep_forecasts",
    "store.keep_open_bar_trades",
    "store.max_disk_mb",
    "log.level",
)


class ReloadChanges(NamedTuple):
    """Dotted keys whose value changed: ``applied`` by a reload, or ``refused`` because they need a restart."""

    applied: tuple[str, ...]
    refused: tuple[str, ...]


def reloadable_changes(old: Config, new: Config) -> ReloadChanges:
    """Keys that differ between ``old`` and ``new``, split into those a reload applies and those it refuses."""
    changed = [key for key in known_keys() if value_of(old, key) != value_of(new, key)]
    applied = tuple(key for key in changed if key in RELOADABLE_KEYS)
    return ReloadChanges(applied, tuple(key for key in changed if key not in RELOADABLE_KEYS))


def with_reloadable(old: Config, new: Config) -> Config:
    """``old`` with the reloadable values of ``new``: the configuration in force after a reload."""
    sections: dict[str, Any] = {}
    for key in RELOADABLE_KEYS:
        section, _, name = key.partition(".")
        values = {name: value_of(new, key)}
        sections[section] = sections.get(section, getattr(old, section)).model_copy(update=values)
    applied = reloadable_changes(old, new).applied
    return old.model_copy(update=sections).with_origins({key: new.origin(key) for key in applied})
