"""The embedded broker's packets: what bytes of any kind decode to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.publishing.broker import packets
from daemon.publishing.broker.packets import MalformedPacket, PublishPacket, UnsupportedProtocol

CONNECT = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c"


@pytest.mark.parametrize(
    "decode",
    [
        packets.decode_connect,
        packets.decode_subscribe,
        packets.decode_unsubscribe,
        packets.decode_puback,
        lambda body: packets.decode_publish(0x32, body),
        lambda body: packets.decode_publish(0x30, body),
    ],
)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda tail: CONNECT[:8] + tail)))
def test_any_bytes_are_a_packet_or_malformed(decode: Callable[[bytes], object], body: bytes) -> None:
    """No other error reaches the connection."""
    try:
        decode(body)
    except (MalformedPacket, UnsupportedProtocol):
        return


@given(st.integers(0, 255))
def test_any_first_byte_is_a_clients_packet_or_malformed(first: int) -> None:
    """A packet that only a broker sends is malformed."""
    try:
        kind = packets.fixed_header(first)
    except MalformedPacket:
        return
    assert kind.name in {
        *("CONNECT", "PUBLISH", "PUBACK", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ", "DISCONNECT"),
    }


@given(
    topic=st.text(st.characters(exclude_characters="+#\0", exclude_categories=["Cs"]), min_size=1, max_size=300),
    payload=st.binary(max_size=20_000),
    qos=st.integers(0, 1),
    retain=st.booleans(),
)
def test_a_publish_is_decoded_as_it_was_encoded(topic: str, payload: bytes, qos: int, retain: bool) -> None:
    """Over one, two and three bytes of length."""
    sent = PublishPacket(topic, payload, qos, retain, packet_id=7 if qos else 0)
    data = sent.encode()
    length_bytes = next(place for place in range(1, 5) if data[place] < 128)
    assert packets.decode_publish(data[0], data[1 + length_bytes :]) == sent


@pytest.mark.parametrize(
    "body",
    [
        CONNECT[:7] + b"\x03" + CONNECT[8:],  # flag 0 is reserved
        CONNECT[:7] + b"\x1e" + CONNECT[8:],  # a last will of QoS 3
        CONNECT[:7] + b"\x0a" + CONNECT[8:],  # the QoS of a last will that is not there
        CONNECT[:7] + b"\x42" + CONNECT[8:] + b"\x00\x01p",  # a password without a user
        CONNECT + b"x",
        CONNECT[:-1],
        b"\x00\x04MQTX\x04\x02\x00\x3c\x00\x01c",
    ],
)
def test_a_connect_that_breaks_the_standard_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPacket):
        packets.decode_connect(body)


@pytest.mark.parametrize(
    "body", [b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c", b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c"]
)
def test_other_versions_differ_from_malformed_packets(body: bytes) -> None:
    """Their clients receive a return code instead of a closed connection."""
    with pytest.raises(UnsupportedProtocol):
        packets.decode_connect(body)
