import pytest

from daemon.errors import ConfigError
from daemon.publishing.settings import Endpoint, MqttSettings, parse_url


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("mqtt://broker", Endpoint("broker", 1883, tls=False)),
        ("mqtts://broker.example.org", Endpoint("broker.example.org", 8883, tls=True)),
        ("mqtt://10.0.0.7:2883/", Endpoint("10.0.0.7", 2883, tls=False)),
        ("mqtt://[::1]:1884", Endpoint("::1", 1884, tls=False)),
    ],
)
def test_a_url_names_host_port_and_tls(url: str, endpoint: Endpoint) -> None:
    """The default port depends on the scheme."""
    assert parse_url(url) == endpoint


def test_an_endpoint_prints_as_its_url() -> None:
    """Error messages name the broker by its configured URL."""
    assert [str(parse_url(url)) for url in ("mqtts://a:1", "mqtt://[::1]:2")] == ["mqtts://a:1", "mqtt://[::1]:2"]


@pytest.mark.parametrize(
    "url",
    ["", "broker:1883", "http://broker", "mqtt://", "mqtt://broker:x", "mqtt://b:99999", "mqtt://b:0", "mqtt://b/x"],
)
def test_an_invalid_url_is_refused_with_an_example(url: str) -> None:
    """The error shows a valid URL."""
    with pytest.raises(ConfigError, match="mqtt://host:1883"):
        parse_url(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    """A password in the URL does not reach the log."""
    with pytest.raises(ConfigError, match=r"mqtt\.password_file") as caught:
        parse_url("mqtt://user:hunter2@broker")
    assert "hunter2" not in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    """One error lists all problems."""
    with pytest.raises(ConfigError) as caught:
        MqttSettings(url="mqtt://b", protocol="4", password_file="p", cert_file="c")
    assert len(caught.value.problems) == 4


def test_the_embedded_broker_supports_mqtt_3_1_1_only() -> None:
    """MQTT 5 with the embedded broker is a configuration error, not a connection failure."""
    with pytest.raises(ConfigError, match="embedded"):
        MqttSettings(url="embedded", protocol="5")
    assert MqttSettings(url="embedded").on_embedded_broker(1234) == MqttSettings(
        url="mqtt://127.0.0.1:1234", protocol="311"
    )
