"""Restoring from a ledger whose disk fails meanwhile: the store repeats the call, and nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.forecasting.records import Score
from daemon.forecasting.scoreboard import Scoreboard
from daemon.pipeline.sequence import SequenceState
from daemon.runtime.restore import ScoreboardRestoration, restore_pipeline
from daemon.store.errors import StoreUnavailable
from daemon.store.ledger import Ledger
from features.market import HOUR_US, Instrument
from tests.daemon.forecasting.forecast_builders import LEVELS, START_US
from tests.daemon.runtime.test_restore import BTC, ETH, MINUTE_US, live, make_pipeline, save_first_score, save_trades


class FailingOnce(Ledger):
    """A store whose disk fails once in each method that is named."""

    failing: tuple[str, ...] = ()

    def _fail(self, name: str) -> None:
        if name in self.failing:
            self.failing = tuple(each for each in self.failing if each != name)
            raise StoreUnavailable("the disk fails once")

    def sequence_state(self, instrument: Instrument) -> SequenceState | None:
        if instrument == ETH:
            self._fail("sequence_state")
        return super().sequence_state(instrument)

    def score_batches(self, since_us: int) -> Iterator[list[Score]]:
        for batch in super().score_batches(since_us):
            yield batch
            self._fail("score_batches")

    def save_scores(self, *arguments: Any, **options: Any) -> None:
        self._fail("save_scores")
        super().save_scores(*arguments, **options)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[FailingOnce]:
    with FailingOnce(tmp_path / "ledger.sqlite") as opened:
        yield opened


def test_trades_are_added_once(ledger: FailingOnce) -> None:
    """A bar with every trade twice would be proven by their ids."""
    save_trades(ledger, 5, 10)
    pipeline = make_pipeline()
    ledger.failing = ("sequence_state",)
    with pytest.raises(StoreUnavailable):
        restore_pipeline(pipeline, ledger, (BTC, ETH), START_US + 30 * MINUTE_US)
    assert not pipeline.instruments[BTC].warm
    restore_pipeline(pipeline, ledger, (BTC, ETH), START_US + 30 * MINUTE_US)
    assert pipeline.instruments[BTC].warm


def test_scores_are_counted_once(ledger: FailingOnce) -> None:
    """Restoring continues behind the scores that were read before the disk failed."""
    save_first_score(ledger)
    after = Scoreboard(interval_us=HOUR_US, levels=LEVELS)
    restoring = ScoreboardRestoration(after, ledger, 0)
    ledger.failing = ("score_batches", "save_scores")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            restoring.run()
    restoring.run()
    assert after.skill("binance", "BTC-USDT", horizon_bars=1).scored == 1
    assert [score.horizon_bars for score in after.bar_closed(live(3))] == [2]
