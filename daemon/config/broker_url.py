"""The address of an MQTT broker: the one place that parses ``mqtt.url``."""

from __future__ import annotations

from typing import NamedTuple

from daemon.config.types import address

EMBEDDED = "embedded"
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_EXAMPLE = "mqtt://host:1883"


class Endpoint(NamedTuple):
    """A broker's host and port, and whether the connection uses TLS."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def broker_endpoint(url: str) -> Endpoint:
    """Parses ``mqtt://host[:port]`` or ``mqtts://host[:port]``; the default ports are 1883 and 8883.

    Raises ValueError with the fault and the cure; a URL that may hold a password is not repeated.
    """
    parts = address(url, tuple(_DEFAULT_PORTS), _EXAMPLE)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f'was "{url}"; an MQTT address is a host and a port; the topic is mqtt.base_topic')
    return Endpoint(str(parts.hostname), parts.port or _DEFAULT_PORTS[parts.scheme], tls=parts.scheme == "mqtts")
