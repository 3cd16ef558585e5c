"""kill -9 within a bar and a restart: the bar is complete all the same."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from daemon.timestamps import from_iso
from tests.daemon.publishing.brokers import Mosquitto
from tests.e2e import truth
from tests.e2e.processes import configuration, process, simulator
from tests.e2e.subscriber import Listener, ReceivedMessage, listener

pytestmark = [pytest.mark.slow, pytest.mark.long]

BAR_S = 12  # the last forecasts are valid for so long that a slow restart still publishes them again
SYMBOLS = ("BTC-USDT", "ETH-USDT")


class Story(NamedTuple):
    """What a subscriber received: ``before`` messages before the kill at ``killed_us``, the others after it."""

    received: Listener
    before: int
    killed_us: int
    rest_url: str

    def forecasts_before(self) -> dict[str, ReceivedMessage]:
        return {each.topic: each for each in self.received.messages[: self.before] if "/forecast/" in each.topic}

    def bars(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The last revision of each bar by symbol and close time."""
        return {(bar["symbol"], bar["close_time"]): bar for bar in self.received.documents("bar")}

    def bars_around_the_kill(self) -> list[dict[str, Any]]:
        return [
            bar
            for bar in self.bars().values()
            if from_iso(bar["open_time"]) <= self.killed_us < from_iso(bar["close_time"])
        ]

    def states(self) -> list[str]:
        return [each["state"] for each in self.received.documents("status")]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A daemon forecasts a bar, is killed in the next one, and started again."""
    folder = tmp_path_factory.mktemp("restart")
    broker = Mosquitto(folder).start()
    try:
        with simulator(folder, interval=f"{BAR_S}s") as exchange, listener(broker.port) as received:
            at = {"ws_url": exchange["ws_url"], "rest_url": exchange["rest_url"]}
            file = configuration(folder, interval=f"{BAR_S}s", symbols=SYMBOLS, mqtt_url=broker.url, **at)
            with process(folder, "run", "-c", str(file)) as first:
                first.until(lambda: len({each.topic for each in received.of("forecast")}) == len(SYMBOLS))
                _sleep_into_bar(0.25)
                story = Story(received, len(received.messages), time.time_ns() // 1000, exchange["rest_url"])
                first.end(signal.SIGKILL)
            with process(folder, "run", "-c", str(file)) as second:
                second.until(lambda: {bar["completeness"] for bar in story.bars_around_the_kill()} == {"proven"})
                second.until(lambda: len(story.bars_around_the_kill()) == len(SYMBOLS))
                second.until(lambda: "offline" in story.states() and story.states()[-1] == "online")
                yield story
    finally:
        broker.kill()


def _sleep_into_bar(share: float) -> None:
    time.sleep((share * BAR_S - time.time()) % BAR_S)


def test_the_broker_speaks_the_last_will(story: Story) -> None:
    """When the daemon is killed the retained status turns to offline by itself; the new one says starting."""
    states = story.states()
    assert states.count("offline") == 1
    assert states[states.index("offline") + 1] == "starting"


def test_the_last_forecasts_are_published_again_byte_for_byte(story: Story) -> None:
    """A forecast is issued once: after the restart it is the same bytes."""
    issued = story.forecasts_before()
    assert len(issued) == len(SYMBOLS)
    for topic, message in issued.items():
        again = next(each for each in story.received.messages[story.before :] if each.topic == topic)
        assert again.payload == message.payload


def test_the_bar_around_the_kill_is_whole(story: Story) -> None:
    """The bar in which the daemon was killed is proven and equals what was traded; no bar is missing or doubled."""
    bars = story.bars()
    for bar in bars.values():
        if bar["completeness"] == "proven":
            truth.assert_real(bar, story.rest_url)
    assert [bar["completeness"] for bar in story.bars_around_the_kill()] == ["proven"] * len(SYMBOLS)
    for name in SYMBOLS:
        closes = sorted(from_iso(close) for symbol, close in bars if symbol == name)
        assert closes == list(range(closes[0], closes[-1] + 1, BAR_S * 1_000_000))
        # each comes again with its audit, and the last one before the kill once more after the restart
        order = [bar["close_time"] for bar in story.received.documents("bar") if bar["symbol"] == name]
        assert order == sorted(order)
