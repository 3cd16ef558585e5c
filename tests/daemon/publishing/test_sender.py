import asyncio

import pytest

from daemon.clock import Clock, ManualClock, ScaledClock
from daemon.publishing.connection import MAX_IN_FLIGHT
from daemon.publishing.failures import BrokerLost
from daemon.publishing.outbox import DropReason, Outbox, OutboxMessage
from daemon.publishing.sender import Sender
from tests.daemon.publishing.samples import message
from tests.limits import LIMIT_S


class SlowConnection:
    """A connection that confirms its messages once ``confirm`` is set."""

    def __init__(self) -> None:
        self.published: list[bytes] = []
        self.expiries_s: list[int | None] = []
        self.confirm = asyncio.Event()
        self.broken = asyncio.Event()

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, schema: str, model: str | None, expires_in_s: int | None
    ) -> None:
        self.published.append(payload)
        self.expiries_s.append(expires_in_s)
        await self.confirm.wait()
        if self.broken.is_set():
            raise BrokerLost("gone")

    async def watch(self) -> None:
        await self.broken.wait()
        raise BrokerLost("gone")


class Confirmations:
    """Records confirmed messages."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bool]] = []

    def __call__(self, message: OutboxMessage, *, first: bool) -> None:
        self.seen.append((message.payload, first))


def make_outbox() -> Outbox:
    return Outbox(max_topics=100, max_events=100, on_dropped=_no_drop)


def _no_drop(dropped: OutboxMessage, reason: DropReason, detail: str) -> None:
    raise AssertionError(f"{dropped.payload!r} was dropped: {reason} {detail}")


def make_sender(
    connection: SlowConnection, outbox: Outbox, tasks: asyncio.TaskGroup, clock: Clock | None = None
) -> tuple[Sender, Confirmations]:
    confirmations = Confirmations()
    sender = Sender(connection, outbox, clock=clock or ManualClock(), on_confirmed=confirmations)
    sender.tasks = tasks
    return sender, confirmations


async def test_at_most_max_in_flight_messages_are_sent() -> None:
    """The others follow as confirmations arrive."""
    connection, outbox = SlowConnection(), make_outbox()
    for number in range(50):
        outbox.put(message(f"x/{number}", str(number).encode()))
    async with asyncio.TaskGroup() as tasks:
        sender, confirmations = make_sender(connection, outbox, tasks)
        sender.pump()
        await asyncio.sleep(0)
        assert len(connection.published) == MAX_IN_FLIGHT
        connection.confirm.set()
        await asyncio.wait_for(sender.drained(), LIMIT_S)
    assert [payload for payload, _first in confirmations.seen] == [str(number).encode() for number in range(50)]


async def test_events_are_sent_one_at_a_time() -> None:
    """The second event is not sent before the first is confirmed."""
    connection, outbox = SlowConnection(), make_outbox()
    for payload in (b"1", b"2"):
        outbox.put(message("x/event", payload, retain=False))
    async with asyncio.TaskGroup() as tasks:
        sender, _ = make_sender(connection, outbox, tasks)
        sender.pump()
        await asyncio.sleep(0)
        assert connection.published == [b"1"]
        connection.confirm.set()
        await asyncio.wait_for(sender.drained(), LIMIT_S)
    assert connection.published == [b"1", b"2"]


async def test_a_broken_connection_returns_unconfirmed_messages() -> None:
    """Unconfirmed messages wait again, and no new send is started."""
    connection, outbox = SlowConnection(), make_outbox()
    for number in range(30):
        outbox.put(message(f"x/{number}"))
    senders: list[tuple[Sender, Confirmations]] = []

    async def break_down() -> None:
        async with asyncio.TaskGroup() as tasks:
            senders.append(make_sender(connection, outbox, tasks))
            tasks.create_task(senders[0][0].watch())
            senders[0][0].pump()
            await asyncio.sleep(0)
            connection.broken.set()
            connection.confirm.set()
            await asyncio.sleep(5)

    with pytest.raises(ExceptionGroup) as caught:
        await break_down()
    assert caught.group_contains(BrokerLost)
    [(sender, confirmations)] = senders
    assert (len(outbox), outbox.in_flight, confirmations.seen) == (30, 0, [])
    sender.pump()
    assert outbox.in_flight == 0


async def test_expiry_is_converted_to_wall_seconds() -> None:
    """At ten times the speed a minute of market time is six seconds for the broker; the minimum is one."""
    connection, outbox = SlowConnection(), make_outbox()
    outbox.put(message("a", expires_at_us=60_000_000))
    outbox.put(message("b", expires_at_us=1_000_000))
    outbox.put(message("c"))
    connection.confirm.set()
    async with asyncio.TaskGroup() as tasks:
        sender, _ = make_sender(connection, outbox, tasks, ScaledClock(start_us=0, speed=10))
        sender.pump()
        await asyncio.wait_for(sender.drained(), LIMIT_S)
    assert connection.expiries_s == [6, 1, None]
