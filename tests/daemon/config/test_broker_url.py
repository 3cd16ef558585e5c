import pytest

from daemon.config.broker_url import Endpoint, broker_endpoint


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
    assert broker_endpoint(url) == endpoint


def test_an_endpoint_prints_as_its_url() -> None:
    """Error messages name the broker by its configured URL."""
    assert [str(broker_endpoint(url)) for url in ("mqtts://a:1", "mqtt://[::1]:2")] == ["mqtts://a:1", "mqtt://[::1]:2"]


@pytest.mark.parametrize(
    "url", ["", "broker:1883", "http://broker", "mqtt://", "mqtt://broker:x", "mqtt://b:99999", "mqtt://b:0"]
)
def test_an_invalid_url_is_refused_with_an_example(url: str) -> None:
    """The error shows a valid URL."""
    with pytest.raises(ValueError, match="mqtt://host:1883"):
        broker_endpoint(url)


@pytest.mark.parametrize("url", ["mqtt://b/x", "mqtt://b?x=1", "mqtt://b#x"])
def test_text_after_the_port_is_refused(url: str) -> None:
    """The error says where a topic belongs."""
    with pytest.raises(ValueError, match=r"mqtt\.base_topic"):
        broker_endpoint(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    """A password in the URL does not reach the log."""
    with pytest.raises(ValueError, match="credentials go in their own keys") as caught:
        broker_endpoint("mqtt://user:hunter2@broker")
    assert "hunter2" not in str(caught.value)
