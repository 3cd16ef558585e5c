"""A store for each kind of network: baselines first, then the network, with two hours lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from daemon.forecasting.records import IssuedForecast
from daemon.forecasting.rounds import InstrumentForecast
from models.presets import PRESETS
from tests.daemon.explaining.stores import close_hours, fill, serving
from tests.models.tiny_artifacts import trained_once

# Hours 16 and 17 are lost: until hour 22 the features of six hours are not known, and HAR stands in.
BEFORE, AFTER = (1, 2), (*range(3, 16), *range(18, 32))


@dataclass(frozen=True)
class Filled:
    """A state directory, and what was said and stored in it, oldest first."""

    folder: Path
    kind: str
    made: list[InstrumentForecast]
    issued: list[IssuedForecast]

    def of(self, symbol: str) -> list[InstrumentForecast]:
        return [each for each in self.made if each.issued.symbol == symbol]


@pytest.fixture(scope="session")
def fill_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Filled]:
    """By kind; a fixture with parameters is created again in every file that requests it."""

    @cache
    def make(kind: str) -> Filled:
        engine = serving(None, kind)
        made = close_hours(engine, BEFORE)
        engine.serve(engine.load_champion(trained_once(kind, tmp_path_factory)))
        made += close_hours(engine, AFTER)
        folder = tmp_path_factory.mktemp(kind)
        return Filled(folder, kind, made, fill(folder, made))

    return make


# The transformer is explained like the LSTM with attention.
@pytest.fixture(
    params=[pytest.param(each, marks=pytest.mark.long) if each == "transformer" else each for each in PRESETS]
)
def filled(request: pytest.FixtureRequest, fill_once: Callable[[str], Filled]) -> Filled:
    """One kind after the other."""
    return fill_once(request.param)


@pytest.fixture
def filled_by_tft(fill_once: Callable[[str], Filled]) -> Filled:
    return fill_once("tft")
