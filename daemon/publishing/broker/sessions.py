"""What the embedded broker keeps of one client: subscriptions, messages that wait, messages in flight. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from daemon.publishing.broker.packets import PublishPacket, as_duplicate
from daemon.publishing.broker.topic_filters import matches


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """Bounds of the embedded broker.

    publisher_packet_bytes: the longest packet of the daemon itself; subscriber_packet_bytes: of any
        other client, and of every CONNECT.
    clients: subscribers connected at once; a further one is refused as "server unavailable".
    pending: connections that have sent no CONNECT yet; a further one closes the oldest.
    offline_sessions: sessions kept for clients that left; a further one discards the oldest.
    queued: messages that wait for one client; a further one drops the oldest.
    in_flight: QoS 1 messages sent to one client and not confirmed.
    filters: subscriptions of one client. text: characters of a client id or topic filter. retained: retained messages.
    """

    publisher_packet_bytes: int = 1 << 20
    subscriber_packet_bytes: int = 1 << 16
    clients: int = 100
    pending: int = 50
    offline_sessions: int = 50
    queued: int = 1000
    in_flight: int = 20
    filters: int = 100
    text: int = 1024
    retained: int = 100_000


class BrokerSession:
    """One client's state, kept while it is away unless it asked for a clean session.

    retained: the broker's retained messages by topic; those that a subscription asked for are looked up when sent.
    """

    def __init__(
        self,
        client_id: str,
        *,
        clean: bool,
        publisher: bool,
        retained: Mapping[str, PublishPacket],
        limits: BrokerLimits,
    ) -> None:
        self.client_id = client_id
        self.clean = clean
        self.publisher = publisher
        self.filters: dict[str, int] = {}
        self.dropped = 0
        self._retained = retained
        self._limits = limits
        self._waiting: deque[PublishPacket] = deque()
        self._waiting_retained: dict[str, tuple[int, int]] = {}  # by topic: how many times at QoS 0, and at QoS 1
        self._in_flight: dict[int, PublishPacket] = {}
        self._to_repeat: deque[int] = deque()
        self._last_packet_id = 0

    def granted(self, topic: str) -> int | None:
        """The largest QoS among the matching filters; None where no filter matches."""
        return max((qos for topic_filter, qos in self.filters.items() if matches(topic_filter, topic)), default=None)

    def offer(self, message: PublishPacket, *, online: bool) -> bool:
        """Queues a new message if a filter matches it; QoS 0 is not kept for a client that is away."""
        granted = self.granted(message.topic)
        qos = 0 if granted is None else min(granted, message.qos)
        if granted is None or (qos == 0 and not online):
            return False
        self._waiting_retained.pop(message.topic, None)
        if len(self._waiting) >= self._limits.queued:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(replace(message, qos=qos, retain=False))
        return True

    def request_retained(self, topic_filter: str, qos: int) -> None:
        """Queues the retained messages that match a new subscription: once for each filter that matches."""
        most = self._limits.filters
        for topic in self._retained:
            if matches(topic_filter, topic):
                plain, confirmed = self._waiting_retained.get(topic, (0, 0))
                more = (min(plain + 1, most), confirmed) if qos == 0 else (plain, min(confirmed + 1, most))
                self._waiting_retained[topic] = more

    def next_packet(self) -> bytes | None:
        """The next packet to send; None while there is none, or while enough messages are in flight."""
        while self._to_repeat:
            repeated = self._in_flight.get(self._to_repeat.popleft())
            if repeated is not None:
                return as_duplicate(repeated).encode()
        if len(self._in_flight) >= self._limits.in_flight:
            return None
        message = self._next_message()
        if message is None:
            return None
        if message.qos:
            message = replace(message, packet_id=self._free_packet_id())
            self._in_flight[message.packet_id] = message
        return message.encode()

    def confirm(self, packet_id: int) -> None:
        """The client has received a QoS 1 message; an unknown id is ignored, as after a repetition."""
        self._in_flight.pop(packet_id, None)

    def resume(self) -> None:
        """The client is back: messages in flight are sent again first, in their order."""
        self._to_repeat = deque(self._in_flight)

    def pause(self) -> None:
        """The client left: only QoS 1 messages are kept."""
        self._waiting = deque(message for message in self._waiting if message.qos)
        waiting = self._waiting_retained
        self._waiting_retained = {topic: (0, confirmed) for topic, (_, confirmed) in waiting.items() if confirmed}

    def _next_message(self) -> PublishPacket | None:
        while self._waiting_retained:
            topic, (plain, confirmed) = next(iter(self._waiting_retained.items()))
            qos = 1 if confirmed else 0
            if plain + confirmed > 1:
                self._waiting_retained[topic] = (plain - 1 + qos, confirmed - qos)
            else:
                del self._waiting_retained[topic]
            retained = self._retained.get(topic)
            if retained is not None:
                return replace(retained, qos=min(qos, retained.qos), retain=True)
        return self._waiting.popleft() if self._waiting else None

    def _free_packet_id(self) -> int:
        while True:
            self._last_packet_id = self._last_packet_id % 0xFFFF + 1
            if self._last_packet_id not in self._in_flight:
                return self._last_packet_id
