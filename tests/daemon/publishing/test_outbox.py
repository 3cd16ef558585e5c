from hypothesis import given
from hypothesis import strategies as st

from daemon.publishing.outbox import DropReason, Outbox, OutboxMessage
from tests.daemon.publishing.samples import message


class Drops:
    """Records dropped messages with their reason."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, DropReason]] = []

    def __call__(self, dropped: OutboxMessage, reason: DropReason, _detail: str) -> None:
        self.seen.append((dropped.payload, reason))


def make_outbox(drops: Drops | None = None, *, max_topics: int = 10, max_events: int = 10, pinned: str = "") -> Outbox:
    return Outbox(max_topics=max_topics, max_events=max_events, on_dropped=drops or Drops(), pinned=pinned)


def taken(outbox: Outbox, market_us: int = 0) -> list[bytes]:
    """Takes and acknowledges everything, in order."""
    payloads = []
    while (head := outbox.take(market_us)) is not None:
        payloads.append(head.payload)
        outbox.acknowledge(head)
    return payloads


def test_the_newest_message_of_a_retained_topic_wins() -> None:
    """A message that waits on a retained topic is replaced by a newer one."""
    drops = Drops()
    outbox = make_outbox(drops)
    for payload in (b"1", b"2", b"3"):
        outbox.put(message("a", payload))
    assert taken(outbox) == [b"3"]
    assert drops.seen == [(b"1", DropReason.SUPERSEDED), (b"2", DropReason.SUPERSEDED)]


def test_events_keep_their_order_across_topics() -> None:
    """Events of different kinds are published in the order in which they were put."""
    outbox = make_outbox()
    for number in range(6):
        outbox.put(message(f"event/{number % 2}", str(number).encode(), retain=False))
    assert taken(outbox) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_only_one_message_of_a_topic_is_in_flight() -> None:
    """A newer message waits until the older is confirmed, so that the broker retains the newer one."""
    outbox = make_outbox()
    outbox.put(message("a", b"old"))
    old = outbox.take(0)
    assert old is not None
    outbox.put(message("a", b"new"))
    assert outbox.take(0) is None
    outbox.acknowledge(old)
    assert taken(outbox) == [b"new"]


def test_an_unconfirmed_message_is_sent_first_again() -> None:
    """A lost connection does not change the order of events."""
    outbox = make_outbox()
    for payload in (b"1", b"2"):
        outbox.put(message("event/x", payload, retain=False))
    first = outbox.take(0)
    assert first is not None
    outbox.give_back(first)
    assert len(outbox) == 2
    assert taken(outbox) == [b"1", b"2"]


def test_an_unconfirmed_message_is_superseded_by_a_newer_one() -> None:
    """An unconfirmed message is dropped if a newer one waits on its topic."""
    drops = Drops()
    outbox = make_outbox(drops)
    outbox.put(message("a", b"old"))
    old = outbox.take(0)
    assert old is not None
    outbox.put(message("a", b"new"))
    outbox.give_back(old)
    assert taken(outbox) == [b"new"]
    assert drops.seen == [(b"old", DropReason.SUPERSEDED)]


def test_a_message_past_its_time_is_dropped_and_counted() -> None:
    """valid_until decides; without it, the expiry."""
    drops = Drops()
    outbox = make_outbox(drops)
    outbox.put(message("a", b"a", valid_until_us=10, expires_at_us=20))
    outbox.put(message("b", b"b", expires_at_us=20))
    assert taken(outbox, market_us=11) == [b"b"]
    assert drops.seen == [(b"a", DropReason.EXPIRED)]
    assert len(outbox) == 0


def test_a_message_is_sent_until_valid_until_inclusive() -> None:
    """A message at exactly valid_until is still sent."""
    outbox = make_outbox()
    outbox.put(message("a", b"a", valid_until_us=10))
    assert taken(outbox, market_us=10) == [b"a"]


def test_too_many_events_drop_the_oldest() -> None:
    """Beyond max_events the oldest event is dropped and reported."""
    drops = Drops()
    outbox = make_outbox(drops, max_events=2)
    for payload in (b"1", b"2", b"3"):
        outbox.put(message("event/x", payload, retain=False))
    assert drops.seen == [(b"1", DropReason.OVERFLOW)]
    assert taken(outbox) == [b"2", b"3"]


def test_too_many_topics_drop_the_longest_waiting_but_not_the_pinned() -> None:
    """max_topics never drops the pinned status message."""
    drops = Drops()
    outbox = make_outbox(drops, max_topics=2, pinned="status")
    for topic in ("status", "a", "b"):
        outbox.put(message(topic, topic.encode()))
    assert drops.seen == [(b"a", DropReason.OVERFLOW)]
    assert taken(outbox) == [b"status", b"b"]


def test_a_message_dropped_for_the_bound_does_not_come_back() -> None:
    """A topic may be the longest-waiting one and still have the newest message; a reconnection keeps the bound."""
    drops = Drops()
    outbox = make_outbox(drops, max_topics=3)
    for topic in ("a", "b", "c", "a", "d"):
        outbox.put(message(topic, topic.encode()))
    outbox.requeue_retained(0)
    assert (len(outbox), drops.seen[-1]) == (3, (b"a", DropReason.OVERFLOW))


def test_a_refused_message_is_dropped_once_and_offered_again() -> None:
    """On the next connection, and once another refused topic is accepted; accepted then, it counts as delivered."""
    drops = Drops()
    outbox = make_outbox(drops)
    for topic in ("a", "b"):
        outbox.put(message(topic, topic.encode()))
    for _ in range(2):
        head = outbox.take(0)
        assert head is not None
        outbox.refuse(head, DropReason.REFUSED, "not authorized")
    assert (len(outbox), outbox.take(0)) == (0, None)
    outbox.requeue_retained(0)
    first = outbox.take(0)
    assert first is not None
    outbox.refuse(first, DropReason.REFUSED, "not authorized")
    second = outbox.take(0)
    assert second is not None
    assert outbox.acknowledge(second) is True
    assert taken(outbox) == [b"a"]
    assert drops.seen == [(b"a", DropReason.REFUSED), (b"b", DropReason.REFUSED)]


def test_a_cleared_topic_is_not_sent_again() -> None:
    """An empty message removes the retained one; a reconnection has nothing to restore."""
    outbox = make_outbox()
    outbox.put(message("old", b""))
    assert taken(outbox) == [b""]
    outbox.requeue_retained(0)
    assert len(outbox) == 0


def test_retained_messages_are_sent_again_before_waiting_events() -> None:
    """After a reconnection all retained topics are published first, then the events."""
    outbox = make_outbox()
    outbox.put(message("status", b"s"))
    outbox.put(message("a", b"a"))
    assert taken(outbox) == [b"s", b"a"]
    outbox.put(message("event/x", b"e", retain=False))
    outbox.put(message("b", b"b"))
    outbox.requeue_retained(0)
    assert taken(outbox) == [b"s", b"a", b"b", b"e"]


def test_a_repetition_counts_neither_as_delivery_nor_as_drop() -> None:
    """Each message is counted once, however often it is sent."""
    drops = Drops()
    outbox = make_outbox(drops)
    outbox.put(message("a", b"1"))
    head = outbox.take(0)
    assert head is not None
    assert outbox.acknowledge(head) is True
    outbox.requeue_retained(0)
    outbox.put(message("a", b"2"))
    assert drops.seen == []
    head = outbox.take(0)
    assert head is not None
    outbox.acknowledge(head)
    outbox.requeue_retained(0)
    head = outbox.take(0)
    assert head is not None
    assert outbox.acknowledge(head) is False


def test_a_delivered_message_past_its_time_is_not_sent_again() -> None:
    """A reconnection does not republish an expired forecast."""
    drops = Drops()
    outbox = make_outbox(drops)
    outbox.put(message("a", b"1", valid_until_us=10))
    assert taken(outbox) == [b"1"]
    outbox.requeue_retained(11)
    assert len(outbox) == 0
    assert drops.seen == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("abcde"), st.booleans()),
            st.tuples(st.sampled_from(["take", "acknowledge", "give_back", "requeue"])),
        ),
        max_size=60,
    )
)
def test_every_message_is_delivered_dropped_or_waiting(steps: list[tuple[object, ...]]) -> None:
    """For any sequence of calls no message is lost, topics keep their order, and waiting messages are bounded."""
    drops = Drops()
    outbox = make_outbox(drops, max_topics=3, max_events=3)
    in_flight: list[OutboxMessage] = []
    delivered: list[OutboxMessage] = []
    put: list[OutboxMessage] = []
    for number, step in enumerate(steps):
        if step[0] == "put":
            put.append(message(str(step[1]), str(number).encode(), retain=bool(step[2])))
            outbox.put(put[-1])
        elif step[0] == "take" and (head := outbox.take(0)) is not None:
            in_flight.append(head)
        elif step[0] == "acknowledge" and in_flight:
            if outbox.acknowledge(head := in_flight.pop()):
                delivered.append(head)
        elif step[0] == "give_back" and in_flight:
            outbox.give_back(in_flight.pop())
        elif step[0] == "requeue" and not in_flight:
            outbox.requeue_retained(0)
        assert len(outbox) - outbox.in_flight <= 3 + 3 + len(in_flight)
    for head in in_flight:
        outbox.give_back(head)
    while (head := outbox.take(0)) is not None:
        if outbox.acknowledge(head):
            delivered.append(head)
    assert len(delivered) + len(drops.seen) == len(put)
    for lane in {sent.lane for sent in delivered}:
        numbers = [int(sent.payload) for sent in delivered if sent.lane == lane]
        assert numbers == sorted(numbers)
    assert len(outbox) == 0
