"""Reason codes of MQTT 5, section 2.4: the name of each, and what an operator does about it. No I/O."""

from __future__ import annotations

from typing import NamedTuple

FIRST_ERROR = 0x80
UNSUPPORTED_PROTOCOL_VERSION = 0x84
SESSION_TAKEN_OVER = 0x8E
PACKET_TOO_LARGE = 0x95


class Reason(NamedTuple):
    """``name`` as in the standard, and ``cure``, empty where the broker's log knows more."""

    name: str
    cure: str

    @property
    def label(self) -> str:
        """The name as the value of a metric's label."""
        return self.name.replace(" ", "_")

    def __str__(self) -> str:
        return f"{self.name}; {self.cure}" if self.cure else self.name


_CREDENTIALS = "correct the user's password at the broker"
_WAIT = "forecastd tries again with growing pauses; raise the broker's limit if it lasts"
_REASONS = {
    0x80: Reason("unspecified error", "see the broker's log"),
    0x81: Reason("malformed packet", "report this with the broker's name and version"),
    0x82: Reason("protocol error", "report this with the broker's name and version"),
    0x83: Reason("implementation specific error", "see the broker's log"),
    0x84: Reason("unsupported protocol version", "set mqtt.protocol to auto"),
    0x85: Reason("client identifier not valid", "give this daemon a shorter [instance] name of letters and digits"),
    0x86: Reason("bad user name or password", _CREDENTIALS),
    0x87: Reason("not authorized", "allow this user and client id in the broker's access rules"),
    0x88: Reason("server unavailable", "see the broker's log"),
    0x89: Reason("server busy", _WAIT),
    0x8A: Reason("banned", "lift the ban at the broker"),
    0x8B: Reason("server shutting down", ""),
    0x8C: Reason("bad authentication method", _CREDENTIALS),
    0x8D: Reason("keep alive timeout", "the machine or the network stalled for longer than the keep-alive"),
    0x8E: Reason(
        "session taken over",
        "another client connected with the same client id: give each daemon its own [instance] name, and do not run "
        "one state_dir, or a copy of it, twice",
    ),
    0x90: Reason("topic name invalid", "choose another mqtt.base_topic"),
    0x93: Reason("receive maximum exceeded", "report this with the broker's name and version"),
    0x95: Reason("packet too large", "raise the broker's maximum packet size (mosquitto: max_packet_size)"),
    0x96: Reason("message rate too high", _WAIT),
    0x97: Reason("quota exceeded", _WAIT),
    0x98: Reason("administrative action", "an administrator of the broker closed the connection"),
    0x99: Reason("payload format invalid", "report this with the broker's name and version"),
    0x9A: Reason("retain not supported", "allow retained messages at the broker (mosquitto: retain_available)"),
    0x9B: Reason("qos not supported", "allow QoS 1 at the broker (mosquitto: max_qos)"),
    0x9C: Reason("use another server", "set mqtt.url to the server that the broker names"),
    0x9D: Reason("server moved", "set mqtt.url to the server that the broker names"),
    0x9F: Reason("connection rate exceeded", _WAIT),
    0xA0: Reason("maximum connect time", ""),
}
# What an operator must change before another attempt can succeed.
ACCESS_CODES = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C, 0x9A, 0x9B, 0x9C, 0x9D})
# A broker ends the connection with one of these for a message that it does not accept.
MESSAGE_CODES = frozenset({0x80, 0x81, 0x82, 0x83, 0x87, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B})


def reason(code: int) -> Reason:
    """The reason with this code; one that the standard does not know keeps its number as its name."""
    return _REASONS.get(code, Reason(f"reason code {code:#04x}", "see the broker's log"))
