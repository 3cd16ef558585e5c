"""Broker settings of the publisher, from the ``[mqtt]`` section, which validates them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.config.broker_url import Endpoint, broker_endpoint


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Broker URL, credentials and client id. An empty text means that the key is not set; files are paths."""

    url: str
    protocol: str = "auto"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_id: str = ""

    @property
    def endpoint(self) -> Endpoint:
        """The broker's address. Raises ValueError for the embedded broker, whose port is not in the settings."""
        return broker_endpoint(self.url)

    def on_embedded_broker(self, port: int) -> MqttSettings:
        """These settings with the URL of the embedded broker on ``port``, which supports MQTT 3.1.1 only."""
        return replace(self, url=f"mqtt://127.0.0.1:{port}", protocol="311")
