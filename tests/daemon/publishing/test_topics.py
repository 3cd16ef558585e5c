import pytest

from daemon.publishing.topics import Topics
from features.market import HOUR_US, Instrument

TOPICS = Topics("forecastd/v1", "main")
BITCOIN = Instrument("binance", "BTC-USDT")


def test_topics_are_those_of_the_contract() -> None:
    """Each topic is below the base topic and the instance, with one name per level."""
    assert [
        TOPICS.status,
        TOPICS.forecast(BITCOIN, HOUR_US),
        TOPICS.bar(BITCOIN, 5_000_000),
        TOPICS.symbol_status(BITCOIN),
        TOPICS.model,
        TOPICS.event("gap_opened"),
        TOPICS.everything,
    ] == [
        "forecastd/v1/main/status",
        "forecastd/v1/main/forecast/binance/BTC-USDT/1h",
        "forecastd/v1/main/bar/binance/BTC-USDT/5s",
        "forecastd/v1/main/symbol/binance/BTC-USDT/status",
        "forecastd/v1/main/model",
        "forecastd/v1/main/event/gap_opened",
        "forecastd/v1/main/#",
    ]


@pytest.mark.parametrize("name", ["", "a+b", "#", "a/b", "a\0b", "a\nb"])
def test_an_instance_must_be_one_level_without_wildcards(name: str) -> None:
    """A name that would add a level or match other topics is refused."""
    with pytest.raises(ValueError, match="instance"):
        Topics("forecastd/v1", name)


@pytest.mark.parametrize("base", ["", "/forecastd", "forecastd/", "a//b", "a/+/b", "a/#", "$SYS/forecastd", "a\0"])
def test_a_base_topic_has_no_empty_level_or_wildcard(base: str) -> None:
    """A base topic with an empty level, a wildcard or the broker's own prefix is refused."""
    with pytest.raises(ValueError, match="base topic"):
        Topics(base, "main")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "+", ""])
def test_a_symbol_with_a_slash_or_wildcard_is_refused(symbol: str) -> None:
    """A venue's spelling of a symbol cannot change the topic's levels."""
    with pytest.raises(ValueError, match="topic level"):
        TOPICS.forecast(Instrument("binance", symbol), HOUR_US)


def test_a_topic_longer_than_mqtt_allows_is_refused() -> None:
    """MQTT encodes the length in two bytes."""
    with pytest.raises(ValueError, match="longer"):
        TOPICS.event("x" * 70_000)
