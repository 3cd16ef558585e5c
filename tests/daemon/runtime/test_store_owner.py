"""Owner of a store: recorded once, adopted from earlier versions, and refused with the cure where it differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.config import Config, load_config
from daemon.errors import EXIT_CONFIG, ConfigError
from daemon.runtime.store_owner import claim_store
from daemon.store.ledger import LEDGER_NAME, Ledger

SIMULATOR = {"ws_url": "ws://127.0.0.1:19443", "rest_url": "http://127.0.0.1:19444"}


def configured(*feeds: dict[str, Any], name: str = "main", interval: str = "1h") -> Config:
    keys = {"instance.name": name, "bars.interval": interval, "feeds": list(feeds)}
    return load_config(None, command_line=keys, environ={})


def binance(**urls: str) -> dict[str, Any]:
    return {"venue": "binance", "symbols": ["BTC-USDT"], **urls}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / LEDGER_NAME) as opened:
        yield opened


def test_a_store_without_owner_is_adopted(ledger: Ledger) -> None:
    """The first configuration owns it, and the same one is accepted again."""
    claim_store(ledger, configured(binance()))
    claim_store(ledger, configured(binance()))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (configured(binance()), "holds binance from loopback, not from .*binance"),
        (configured(binance(**SIMULATOR), interval="5m"), "interval 1h, not 5m"),
        (configured(binance(**SIMULATOR), name="beta"), "belongs to the instance 'main', not to 'beta'"),
    ],
)
def test_another_owner_is_refused_with_the_cure(ledger: Ledger, other: Config, says: str) -> None:
    """78, with what the store holds, what is configured and what to change."""
    claim_store(ledger, configured(binance(**SIMULATOR)))
    with pytest.raises(ConfigError, match=rf"{says}.*choose another \[instance\] state_dir") as caught:
        claim_store(ledger, other)
    assert caught.value.exit_code == EXIT_CONFIG
    claim_store(ledger, configured(binance(**SIMULATOR)))


def test_a_new_venue_and_another_port_of_this_machine_are_accepted(ledger: Ledger) -> None:
    """A venue may be added; a simulator may listen elsewhere; a venue that was left out keeps its host."""
    claim_store(ledger, configured(binance(**SIMULATOR)))
    kraken = {"venue": "kraken", "symbols": ["BTC-USD"]}
    claim_store(ledger, configured(kraken))
    claim_store(ledger, configured(kraken, binance(ws_url="ws://localhost:1", rest_url="http://127.0.0.1:2")))
    with pytest.raises(ConfigError, match="holds binance"):
        claim_store(ledger, configured(kraken, binance()))


def test_two_feeds_of_one_venue_need_the_same_addresses() -> None:
    """Different ones are refused with both named; the same ones are joined."""
    second = {"venue": "binance", "symbols": ["ETH-USDT"]}
    with pytest.raises(ConfigError, match=r"different addresses.*127\.0\.0\.1:19443.*rest_url=''") as caught:
        configured(binance(**SIMULATOR), second)
    assert caught.value.exit_code == EXIT_CONFIG
    assert len(configured(binance(**SIMULATOR), {**second, **SIMULATOR}).instruments) == 2
