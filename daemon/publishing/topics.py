"""MQTT topics of all messages, below ``<base_topic>/<instance>/``. No I/O."""

from __future__ import annotations

from daemon.intervals import interval_name
from features.market import Instrument

_LONGEST_TOPIC_BYTES = 65_535  # MQTT 5, section 1.5.4: two bytes hold a string's length


class Topics:
    """The topic tree of one instance.

    Raises ValueError if a name cannot be part of a topic: it holds a wildcard (``+`` ``#``), a control character, an
    empty level, or a ``/`` where it must be a single level.
    """

    def __init__(self, base_topic: str, instance: str) -> None:
        base_levels = [_level(level, f"base topic {base_topic!r}") for level in base_topic.split("/")]
        if base_levels[0].startswith("$"):
            raise ValueError(f"base topic {base_topic!r} starts with '$', which is reserved for the broker")
        self.instance = _level(instance, "instance")
        self.root = "/".join([*base_levels, self.instance])

    @property
    def everything(self) -> str:
        """The subscription filter for all messages of this instance."""
        return f"{self.root}/#"

    @property
    def status(self) -> str:
        return self._topic("status")

    @property
    def model(self) -> str:
        return self._topic("model")

    def forecast(self, instrument: Instrument, interval_us: int) -> str:
        return self._topic("forecast", instrument.venue, instrument.symbol, interval_name(interval_us))

    def bar(self, instrument: Instrument, interval_us: int) -> str:
        return self._topic("bar", instrument.venue, instrument.symbol, interval_name(interval_us))

    def symbol_status(self, instrument: Instrument) -> str:
        return self._topic("symbol", instrument.venue, instrument.symbol, "status")

    def event(self, kind: str) -> str:
        return self._topic("event", kind)

    def _topic(self, *levels: str) -> str:
        topic = "/".join([self.root, *(_level(level, "topic level") for level in levels)])
        if len(topic.encode()) > _LONGEST_TOPIC_BYTES:
            raise ValueError(f"topic is longer than {_LONGEST_TOPIC_BYTES} bytes: {topic[:80]}...")
        return topic


def _level(name: str, what: str) -> str:
    """Returns ``name`` if it is a valid single topic level; ``what`` describes it in the ValueError."""
    if not name:
        raise ValueError(f"{what} has an empty level")
    for character in name:
        if character in "+#/" or not character.isprintable():
            raise ValueError(f"{what} holds {character!r} in {name!r}; leave out '+', '#', '/' and control characters")
    return name
