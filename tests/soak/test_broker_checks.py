"""The checks of a soak with an unreliable broker find each kind of broken promise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.soak.bar_checks import CheckResults
from tests.soak.broker_checks import _check_deliveries, _check_reasons
from tests.soak.broker_faults import BrokerFaults

FIGURES = {
    ("mqtt_published_total", ""): 2.0,
    ("mqtt_outbox_depth", ""): 0.0,
    ("queue_capacity", "outbox"): 10.0,
    ("mqtt_dropped_total", "refused"): 1.0,
}
REFUSED = {"event": "mqtt_message_refused", "topic": "a/b", "reason": "not authorized; allow it"}


def soak(folder: Path, *logged: dict[str, str], deepest: float = 3.0, **figures: float) -> BrokerFaults:
    """A run in which the broker confirmed two messages and refused one of the topic a/b."""
    (folder / "daemon.log").write_text("".join(json.dumps(line) + "\n" for line in logged), "utf-8")
    link = SimpleNamespace(accepted={("a/c", b"1"), ("a/c", b"2")}, refused=Counter({"a/b": 1}), oversized=Counter())
    changed = {(name, ""): value for name, value in figures.items()}
    made = SimpleNamespace(
        folder=folder, link=link, deepest=deepest, injected=[("denied", 0.0, 1.0)], figures={**FIGURES, **changed}
    )
    return cast("BrokerFaults", made)


def problems(run: BrokerFaults) -> list[str]:
    results = CheckResults()
    _check_deliveries(results, run)
    _check_reasons(results, run)
    return results.problems


def test_a_run_that_kept_every_promise(tmp_path: Path) -> None:
    assert problems(soak(tmp_path, REFUSED)) == []


@pytest.mark.parametrize(
    ("logged", "changes", "problem"),
    [
        (REFUSED, {"mqtt_published_total": 3.0}, "false delivery: 3 messages count as delivered, 2 were confirmed"),
        (REFUSED, {"mqtt_outbox_depth": 4.0}, "outbox: 4 messages still wait at the end"),
        (REFUSED, {"deepest": 11.0}, "outbox: 11 messages waited, the bound is 10"),
        ({**REFUSED, "topic": "a/c"}, {}, "no reason: refused and not in the log: a/b"),
        ({**REFUSED, "reason": "?"}, {}, "no reason: denied: no mqtt_message_refused says not authorized"),
    ],
)
def test_a_broken_promise(logged: dict[str, str], changes: dict[str, float], problem: str, tmp_path: Path) -> None:
    assert problems(soak(tmp_path, logged, **changes)) == [problem]


def test_a_fault_without_its_metric(tmp_path: Path) -> None:
    run = soak(tmp_path, REFUSED)
    del run.figures["mqtt_dropped_total", "refused"]
    assert problems(run) == ["no reason: denied: forecastd_mqtt_dropped_total has no refused"]
