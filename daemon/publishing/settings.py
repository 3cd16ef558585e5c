"""Broker settings of the publisher, from the ``[mqtt]`` section, which validates them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from daemon.config.broker_url import Endpoint, broker_endpoint

MqttProtocol = Literal["5", "311"]
PUBLISHER = "forecastd"
"""The user at the embedded broker that may publish."""


class EmbeddedAddress(NamedTuple):
    """Where the embedded broker listens on loopback, and the password of the user PUBLISHER."""

    port: int
    password: str


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Broker URL, credentials and client id. An empty text means that the key is not set; files are paths.

    password: used where no ``password_file`` is set; the embedded broker's.
    """

    url: str
    protocol: str = "auto"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_id: str = ""
    password: str = field(default="", repr=False)

    @property
    def endpoint(self) -> Endpoint:
        """The broker's address. Raises ValueError for the embedded broker, whose port is not in the settings."""
        return broker_endpoint(self.url)

    def on_embedded_broker(self, address: EmbeddedAddress) -> MqttSettings:
        """These settings for the daemon's connection to the embedded broker, which supports MQTT 3.1.1 only."""
        url = f"mqtt://127.0.0.1:{address.port}"
        return replace(self, url=url, protocol="311", username=PUBLISHER, password=address.password)
