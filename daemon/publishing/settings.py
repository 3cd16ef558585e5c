"""Broker settings of the publisher, from the ``[mqtt]`` section, and their validation. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlsplit

from daemon.errors import ConfigError

EMBEDDED = "embedded"
PROTOCOLS = ("auto", "5", "311")
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_URL_EXAMPLE = "write embedded, mqtt://host:1883 or mqtts://host:8883"


class Endpoint(NamedTuple):
    """The broker's host and port, and whether the connection uses TLS."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Broker URL, credentials and client id. An empty text means that the key is not set; files are paths.

    Raises ConfigError with all problems at once.
    """

    url: str
    protocol: str = "auto"
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_id: str = ""

    def __post_init__(self) -> None:
        problems = [*self._url_problems(), *self._other_problems()]
        if problems:
            raise ConfigError(problems)

    @property
    def embedded(self) -> bool:
        """Whether the daemon runs the broker itself."""
        return self.url == EMBEDDED

    @property
    def endpoint(self) -> Endpoint:
        """The broker's address. Raises ConfigError for the embedded broker, whose port is not in the settings."""
        return parse_url(self.url)

    def on_embedded_broker(self, port: int) -> MqttSettings:
        """These settings with the URL of the embedded broker on ``port``, which supports MQTT 3.1.1 only."""
        return replace(self, url=f"mqtt://127.0.0.1:{port}", protocol="311")

    def _url_problems(self) -> list[str]:
        if self.embedded:
            return []
        try:
            parse_url(self.url)
        except ConfigError as error:
            return error.problems
        return []

    def _other_problems(self) -> list[str]:
        tls_files = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name)]
        rules = (
            (self.protocol not in PROTOCOLS, f"mqtt.protocol was {self.protocol!r}; write auto, 5 or 311"),
            (
                self.embedded and self.protocol == "5",
                "mqtt.protocol was 5, which the embedded broker does not support; write auto, or name a broker in url",
            ),
            (
                bool(self.password_file) and not self.username,
                "mqtt.password_file is set without mqtt.username; set both or neither",
            ),
            (
                bool(self.cert_file) != bool(self.key_file),
                "mqtt.cert_file and mqtt.key_file belong together; set both or neither",
            ),
            (
                bool(tls_files) and not self.url.startswith("mqtts:"),
                f"mqtt.{', mqtt.'.join(tls_files)} need TLS; write mqtt.url as mqtts://host:8883",
            ),
        )
        return [problem for broken, problem in rules if broken]


def parse_url(url: str) -> Endpoint:
    """Parses ``mqtt://host[:port]`` or ``mqtts://host[:port]``. Raises ConfigError with the fault and the cure."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError([f"mqtt.url was {url!r}: {error}; {_URL_EXAMPLE}"]) from error
    if parts.username is not None or parts.password is not None:
        # The message omits the URL because it may contain the password.
        raise ConfigError(["mqtt.url contains a user name; put it into mqtt.username and mqtt.password_file"])
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ConfigError([f"mqtt.url was {url!r}; {_URL_EXAMPLE}"])
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError([f"mqtt.url was {url!r}, with text after the port; {_URL_EXAMPLE}"])
    if port == 0:
        raise ConfigError([f"mqtt.url was {url!r}, and 0 is no port; {_URL_EXAMPLE}"])
    return Endpoint(parts.hostname, port or _DEFAULT_PORTS[parts.scheme], tls=parts.scheme == "mqtts")
