"""History loader: requests exactly the missing intervals, and reads long histories in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from daemon.errors import DataFault
from daemon.ingest.rest_client import RestClient
from daemon.runtime import history_loader
from daemon.runtime.history_loader import RECENT_BARS, HistoryLoader
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import HOUR_US, Bar, Instrument
from tests.daemon.store.builders import BTC, ETH, bar
from tests.properties import examples

BARS = 1_500


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        for instrument in (BTC, ETH):
            opened.save_bars(bar(symbol=instrument.symbol, open_time_us=hour * HOUR_US) for hour in range(BARS))
        yield opened


@pytest.fixture
def store() -> Iterator[StoreThread]:
    opened = StoreThread()
    yield opened
    opened.close()


def loader(ledger: Ledger, store: StoreThread, *, hours: int = BARS) -> HistoryLoader:
    return HistoryLoader({}, ledger=ledger, store=store, interval_us=HOUR_US, history_us=hours * HOUR_US)


@examples(50)
@given(st.sets(st.integers(0, 30)), st.integers(0, 31))
def test_missing_and_stored_ranges_cover_the_span(stored: set[int], end: int) -> None:
    """Stored intervals and missing runs together cover the span once; runs are maximal."""
    opens = sorted(each * HOUR_US for each in stored)
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        ledger.save_bars([bar(open_time_us=each) for each in opens])
        runs = ledger.missing_ranges(BTC, HOUR_US, 0, end * HOUR_US)
    missing = [time_us for first_us, after_us in runs for time_us in range(first_us, after_us, HOUR_US)]
    inside = [each for each in opens if each < end * HOUR_US]
    assert sorted(missing + inside) == list(range(0, end * HOUR_US, HOUR_US))
    assert all(after_us < first_us for (_, after_us), (first_us, _) in pairwise(runs))


async def test_the_recent_frame_is_bounded(ledger: Ledger, store: StoreThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many instruments share a bound on rows, and each keeps at least what features need."""
    history = loader(ledger, store)
    whole = await history.recent_frame((BTC, ETH), BARS * HOUR_US)
    assert whole.height == 2 * BARS
    monkeypatch.setattr(history_loader, "MOST_ROWS", 2 * 1_200)
    shared = await history.recent_frame((BTC, ETH), BARS * HOUR_US)
    assert shared.height == 2 * 1_200
    assert shared["open_time_us"].min() == (BARS - 1_200) * HOUR_US
    monkeypatch.setattr(history_loader, "MOST_ROWS", 10)
    assert (await history.recent_frame((BTC, ETH), BARS * HOUR_US)).height == 2 * RECENT_BARS
    assert (await history.recent_frame((), BARS * HOUR_US)).height == 0


async def test_training_reads_one_file_an_instrument(ledger: Ledger, store: StoreThread, tmp_path: Path) -> None:
    """The files together are the whole history, and an instrument without bars has none."""
    instruments = (BTC, Instrument("binance", "NEW-USDT"), ETH)
    assert await loader(ledger, store).write_files(instruments, BARS * HOUR_US, tmp_path) == 2
    expected = ledger.bars_frame((BTC, ETH), HOUR_US, 0, BARS * HOUR_US)
    written = pl.concat([pl.read_parquet(file) for file in sorted(tmp_path.glob("*.parquet"))])
    assert written.equals(expected.select(written.columns))


async def test_writes_have_their_turn_while_history_is_read(ledger: Ledger, store: StoreThread) -> None:
    """A bar that closes while the history of many instruments is read waits for one of them, not for all."""
    done: list[str] = []
    instruments = [Instrument("binance", f"S{number}-USDT") for number in range(50)]

    async def read() -> None:
        await loader(ledger, store).recent_frame(instruments, BARS * HOUR_US)
        done.append("read")

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await store.call(ledger.save_bars, [bar(open_time_us=BARS * HOUR_US)])
    done.append("written")
    await reading
    assert done == ["written", "read"]


async def test_the_length_of_the_history_may_change(ledger: Ledger, store: StoreThread) -> None:
    """A longer or shorter history is in force from the next call on."""
    history = loader(ledger, store, hours=1_100)
    assert (await history.recent_frame((BTC,), BARS * HOUR_US)).height == 1_100
    history.set_length(1_300 * HOUR_US)
    assert (await history.recent_frame((BTC,), BARS * HOUR_US)).height == 1_300


class FaultyCandles:
    """A venue whose candles of some hours cannot be read."""

    def __init__(self, *wrong_hours: int) -> None:
        self.wrong = wrong_hours
        self.requests = 0

    async def candles(self, symbol: str, interval_us: int, start_us: int, end_us: int) -> list[Bar]:
        self.requests += 1
        hours = range(start_us // interval_us, end_us // interval_us)
        if any(hour in self.wrong for hour in hours):
            raise DataFault("no candle")
        return [bar(symbol=symbol, open_time_us=hour * interval_us, interval_us=interval_us) for hour in hours]


@pytest.mark.parametrize(("wrong", "skipped"), [((1_600,), 1), ((1_510, 2_400), 2)])
async def test_a_bar_that_can_never_be_fetched_is_skipped(
    ledger: Ledger, store: StoreThread, monkeypatch: pytest.MonkeyPatch, wrong: tuple[int, ...], skipped: int
) -> None:
    """The bars around it are stored, and the loader does not request it again."""
    monkeypatch.setattr(history_loader, "_RETRY_S", 0.0)
    rest = FaultyCandles(*wrong)
    history = HistoryLoader(
        {"binance": cast("RestClient", rest)},
        ledger=ledger,
        store=store,
        interval_us=HOUR_US,
        history_us=2_500 * HOUR_US,
    )
    with capture_logs() as logs:
        await history.complete({BTC: 2_500 * HOUR_US})
    assert [entry["bars"] for entry in logs if entry["event"] == "history_skipped"] == [1] * skipped
    missing = ledger.missing_ranges(BTC, HOUR_US, 0, 2_500 * HOUR_US)
    assert missing == [(hour * HOUR_US, (hour + 1) * HOUR_US) for hour in wrong]


async def test_a_venue_whose_candles_cannot_be_read_is_given_up(
    ledger: Ledger, store: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halving ends after some faults."""
    monkeypatch.setattr(history_loader, "_RETRY_S", 0.0)
    rest = FaultyCandles(*range(5_000))
    rests = {"binance": cast("RestClient", rest)}
    history = HistoryLoader(rests, ledger=ledger, store=store, interval_us=HOUR_US, history_us=3_000 * HOUR_US)
    await history.complete({BTC: 3_000 * HOUR_US})
    assert rest.requests < 100
