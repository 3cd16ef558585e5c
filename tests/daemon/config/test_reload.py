"""Reload: which changed keys are applied and which are refused."""

from __future__ import annotations

from daemon.config import load_config
from daemon.config.reload import reloadable_changes, with_reloadable
from tests.daemon.config.loading import HOME


def test_reload_separates_applied_from_refused_keys() -> None:
    """Log level, grace, retraining and store keys are applied; all others are refused by name."""
    old = load_config(environ=HOME)
    new = load_config(
        command_line={
            "log.level": "debug",
            "log.format": "json",
            "bars.grace_s": 1.0,
            "bars.interval": "4h",
            "retrain.every": "12h",
            "store.max_disk_mb": 100,
            "feeds": [{"venue": "binance", "symbols": ["SOL-USDT"]}],
        },
        environ=HOME,
    )
    changes = reloadable_changes(old, new)
    assert changes.applied == ("bars.grace_s", "retrain.every", "store.max_disk_mb", "log.level")
    assert changes.refused == ("feeds", "bars.interval", "log.format")
    merged = with_reloadable(old, new)
    assert reloadable_changes(merged, new).applied == ()
    assert reloadable_changes(old, merged).refused == ()
    assert str(merged.origin("log.level")) == "command line"
    assert reloadable_changes(old, old) == ((), ())
