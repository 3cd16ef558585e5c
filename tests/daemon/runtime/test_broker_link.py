"""What the publisher's callbacks do to metrics and health."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.clock import ManualClock
from daemon.publishing.outbox import DropReason
from daemon.publishing.publisher import PublisherState
from daemon.runtime.broker_link import BrokerObserver
from daemon.runtime.retained_topics import RetainedTopics
from daemon.serving.health import Health
from daemon.serving.metrics import Metrics
from tests.daemon.publishing.raw_client import RawClient
from tests.daemon.publishing.samples import message
from tests.e2e import rig


class Observed:
    """An observer over real metrics and health."""

    def __init__(self, folder: Path) -> None:
        clock = ManualClock()
        self.metrics = Metrics(version="0", market_us=clock.market_us)
        self.health = Health(clock, [])
        self.retained = RetainedTopics(folder, {"kept"})
        self.delivered: list[bytes] = []
        self.observer = BrokerObserver(
            self.metrics, self.health, self.retained, lambda each, _seconds: self.delivered.append(each.payload)
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"forecastd_{name}", labels)


@pytest.fixture
def observed(tmp_path: Path) -> Observed:
    return Observed(tmp_path)


@pytest.mark.parametrize("reason", list(DropReason))
def test_every_drop_is_counted_by_its_reason(observed: Observed, reason: DropReason) -> None:
    """The series exist before the first drop; nothing dropped counts as published."""
    assert observed.value("mqtt_dropped_total", reason=reason.value) == 0
    observed.observer.message_dropped(message("x/bar"), reason, "why")
    assert observed.value("mqtt_dropped_total", reason=reason.value) == 1
    assert observed.value("mqtt_published_total") == 0
    assert observed.value("mqtt_expired_total") == (1 if reason is DropReason.EXPIRED else 0)
    assert observed.delivered == []


def test_a_refused_topic_degrades_until_it_is_accepted(observed: Observed) -> None:
    """The reason names topic, broker's answer and cure; another topic's delivery does not clear it."""
    observed.observer.message_dropped(message("x/a"), DropReason.REFUSED, "not authorized; allow this user")
    observed.observer.message_dropped(message("x/b"), DropReason.TOO_LARGE, "the packet has 9 bytes")
    reason = observed.health.condition.reason
    assert "x/a is not published: not authorized; allow this user (and 1 topics more)" in reason
    observed.observer.message_delivered(message("x/c"), 0.1)
    assert observed.health.condition.reason == reason
    observed.observer.message_delivered(message("x/a"), 0.1)
    assert "x/b is not published: the packet has 9 bytes" in observed.health.condition.reason
    observed.observer.message_delivered(message("x/b"), 0.1)
    assert "x/" not in observed.health.condition.reason


def test_failed_connections_are_counted_by_their_reason(observed: Observed) -> None:
    """Once for each attempt, although the state changes more often."""
    for attempts in (1, 1, 2):
        state = PublisherState(
            connected=False, since_us=0, attempts=attempts, last_error="x", failure="session_taken_over"
        )
        observed.observer.state_changed(state)
    observed.observer.state_changed(PublisherState(connected=True, since_us=0))
    assert observed.value("mqtt_connection_failures_total", reason="session_taken_over") == 2
    assert observed.value("mqtt_connection_failures_total", reason="lost") == 0


def test_a_cleared_topic_is_no_delivery_of_a_payload(observed: Observed) -> None:
    """The empty message clears the record and reaches no listener."""
    observed.retained.leftover.add("old")
    observed.observer.message_delivered(message("old", b""), 0.1)
    assert observed.retained.leftover == set()
    assert observed.delivered == []


def test_a_rival_degrades_until_it_stops(observed: Observed) -> None:
    """The reason names the key to change."""
    for state in ("starting", "online"):
        observed.observer.rival_seen(state)
        assert "[instance] name" in observed.health.condition.reason
    observed.observer.rival_seen("stopped")
    assert "instance" not in observed.health.condition.reason


@pytest.mark.slow
async def test_a_daemons_embedded_broker_serves_its_tree_and_takes_nothing(tmp_path: Path) -> None:
    """Another client reads the daemon's status and nothing else, and cannot replace it."""
    status = "forecastd/v1/e2e/status"
    async with rig.exchange() as exchange, rig.daemon(tmp_path, exchange) as daemon:
        await daemon.until(lambda: daemon.app.components.publisher.state.connected)
        reader = await RawClient.connect(daemon.mqtt_port, "reader")
        assert await reader.subscribe("forecastd/v1/other/#") == 128
        assert await reader.subscribe(status) == 1
        assert rig.valid((await reader.receive()).payload)["state"] in ("starting", "online", "degraded")
        intruder = await RawClient.connect(daemon.mqtt_port, "intruder")
        await intruder.send(0x31, len(status).to_bytes(2, "big") + status.encode() + b"forged")
        assert await intruder.closed_by_broker()
        late = await RawClient.connect(daemon.mqtt_port, "late")
        await late.subscribe("#")
        assert b"forged" not in [message.payload for message in await late.receive_all()]
        assert daemon.app.components.health.condition.reason.find("instance name") == -1
