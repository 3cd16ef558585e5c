"""kill -9 within a bar and a restart: the bar is complete all the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from daemon.timestamps import from_iso
from tests.daemon.publishing.brokers import Mosquitto
from tests.e2e import truth
from tests.e2e.listening import Listener, ReceivedMessage, listener
from tests.e2e.processes import TOPICS, configuration, process, simulator

pytestmark = [pytest.mark.slow, pytest.mark.long]

BAR_S = 6
SYMBOLS = ("BTC-USDT", "ETH-USDT")


class Story(NamedTuple):
    """What a subscriber received before the kill, between the kill and the restart, and after it."""

    received: Listener
    before: int
    killed: int
    rest_url: str

    def forecasts_before(self) -> dict[str, ReceivedMessage]:
        return {each.topic: each for each in self.received.messages[: self.before] if "/forecast/" in each.topic}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A daemon forecasts a bar, is killed in the next one, and started again before that one closes."""
    folder = tmp_path_factory.mktemp("restart")
    broker = Mosquitto(folder).start()
    try:
        with simulator(folder, interval=f"{BAR_S}s") as exchange, listener(broker.port) as received:
            at = {"ws_url": exchange["ws_url"], "rest_url": exchange["rest_url"]}
            file = configuration(folder, interval=f"{BAR_S}s", symbols=SYMBOLS, mqtt_url=broker.url, **at)
            with process(folder, "run", "-c", str(file)) as first:
                first.until(lambda: len(received.of("forecast")) == len(SYMBOLS))
                _sleep_into_bar(0.35)
                before = len(received.messages)
                first.end(signal.SIGKILL)
            time.sleep(0.3)
            killed = len(received.messages)
            with process(folder, "run", "-c", str(file)) as second:
                second.until(lambda: len(received.of("forecast")) == 3 * len(SYMBOLS))
                second.until(lambda: received.documents("status")[-1]["state"] == "online")
                yield Story(received, before, killed, exchange["rest_url"])
    finally:
        broker.kill()


def _sleep_into_bar(share: float) -> None:
    time.sleep((share * BAR_S - time.time()) % BAR_S)


def test_the_broker_speaks_the_last_will(story: Story) -> None:
    """When the daemon is killed the retained status turns to offline by itself; the new one says starting."""
    (will,) = story.received.messages[story.before : story.killed]
    assert will.topic == f"{TOPICS}/status"
    states = [each["state"] for each in story.received.documents("status")]
    assert states[states.index("offline") + 1] == "starting"
    assert states[-1] == "online"


def test_the_last_forecasts_are_published_again_byte_for_byte(story: Story) -> None:
    """A forecast is issued once: after the restart it is the same bytes."""
    issued = story.forecasts_before()
    assert len(issued) == len(SYMBOLS)
    for topic, message in issued.items():
        again = next(each for each in story.received.messages[story.killed :] if each.topic == topic)
        assert again.payload == message.payload


def test_the_bar_around_the_kill_is_whole(story: Story) -> None:
    """The bar in which the daemon was killed is proven and equals what was traded; no bar is missing or doubled."""
    bars = story.received.documents("bar")
    for bar in bars:
        assert (bar["completeness"], bar["revision"]) == ("proven", 0)
        truth.assert_real(bar, story.rest_url)
    for symbol in SYMBOLS:
        # each comes again with its audit, and the last one before the kill once more after the restart
        closes = [bar["close_time"] for bar in bars if bar["symbol"] == symbol]
        assert len(set(closes)) == 2
        assert closes == sorted(closes)
        assert from_iso(max(closes)) - from_iso(min(closes)) == BAR_S * 1_000_000
