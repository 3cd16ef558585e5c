"""Every test of the contract runs once for each venue."""

from __future__ import annotations

import pytest

from daemon.exchanges.base import Venue
from tests.daemon.exchanges.sample import Sample
from tests.daemon.exchanges.samples import SAMPLES


@pytest.fixture(params=SAMPLES, ids=[each.make(None).name for each in SAMPLES])
def sample(request: pytest.FixtureRequest) -> Sample:
    """One venue's sample."""
    each: Sample = request.param
    return each


@pytest.fixture
def venue(sample: Sample) -> Venue:
    """The venue, with the sample's symbol only."""
    return sample.make([sample.symbol])
