"""For any input a venue returns a value within bounds or raises the documented error, and the checks can fail."""

from __future__ import annotations

import json
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from daemon.exchanges.base import TradesMessage
from features.market import Trade
from tests.daemon.exchanges.contract.bounds import check_message
from tests.daemon.exchanges.contract.decoders import Entrance, entrances
from tests.daemon.exchanges.contract.mutations import mutate
from tests.daemon.exchanges.samples import SAMPLES
from tests.properties import examples

ENTRANCES = [
    pytest.param(entrance, id=f"{sample.make(None).name}-{entrance.name}")
    for sample in SAMPLES
    for entrance in entrances(sample)
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
json_texts = json_values.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_good_inputs(entrance: Entrance) -> None:
    """The seeds that all mutations start from pass the checks themselves."""
    for seed in entrance.seeds:
        entrance.check(seed)


@pytest.mark.parametrize("entrance", ENTRANCES)
@examples(60)
@given(data=st.binary(max_size=200) | json_texts)
def test_any_bytes(entrance: Entrance, data: bytes) -> None:
    """Random bytes and random JSON."""
    entrance.check(data)


@pytest.mark.parametrize("entrance", ENTRANCES)
@examples(150, suppress_health_check=[HealthCheck.too_slow])
@given(random=st.randoms(use_true_random=False), data=st.data())
def test_nearly_good_inputs(entrance: Entrance, random: Random, data: st.DataObject) -> None:
    """Good inputs with bytes damaged and JSON tokens swapped."""
    entrance.check(mutate(data.draw(st.sampled_from(entrance.seeds)), random))


GOOD = Trade(7, 1_617_566_591_314_000, 58_001.03, 0.086205, taker_buys=True)


@pytest.mark.parametrize(
    "change",
    [
        {"price": float("nan")},
        {"price": 0.0},
        {"price": 58_001},
        {"size": 1e24},
        {"size": float("inf")},
        {"trade_id": -1},
        {"trade_id": 2**63},
        {"time_us": 1_617_566_591_314},
        {"time_us": 1_617_566_591_314_000_000},
        {"count": 0},
        {"span": 0},
        {"span": 9},
        {"taker_buys": None},
    ],
    ids=str,
)
def test_bounds_are_bounds(change: dict[str, object]) -> None:
    """A trade with one value out of bounds fails the check on which the tests above rely."""
    check_message(TradesMessage("BTC-USDT", [GOOD]))
    with pytest.raises(AssertionError):
        check_message(TradesMessage("BTC-USDT", [msgspec.structs.replace(GOOD, **change)]))
