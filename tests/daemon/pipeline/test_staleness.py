"""Staleness: silence is measured from the last trade, and probes are spaced."""

from __future__ import annotations

from daemon.pipeline.staleness import StalenessTimer


def test_silence_is_measured_from_the_last_trade() -> None:
    """Before the first trade, from the first call."""
    staleness = StalenessTimer()
    assert staleness.silent_for_s(10.0) == 0.0
    assert staleness.silent_for_s(15.0) == 5.0
    staleness.received(16.0)
    assert staleness.silent_for_s(17.0) == 1.0


def test_a_probe_is_due_once_per_stale_period() -> None:
    """After a probe the same time passes before the next."""
    staleness = StalenessTimer()
    staleness.received(100.0)
    assert not staleness.probe_due(130.0, 30.0)
    assert staleness.probe_due(131.0, 30.0)
    staleness.probed(131.0)
    assert not staleness.probe_due(160.0, 30.0)
    assert staleness.probe_due(162.0, 30.0)
