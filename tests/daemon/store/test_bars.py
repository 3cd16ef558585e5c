"""Bars in the store: round trip, revisions, frames, spans."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.store.bars import CANDLE_SCHEMA, FRAME_SCHEMA
from daemon.store.ledger import Ledger
from features.market import HOUR_US, Bar, Completeness
from tests.daemon.store.builders import BAR, BTC, EMPTY, ETH, bar

FOREVER = 10**16


def candle(**changes: object) -> Bar:
    return bar(completeness=Completeness.VENUE_CANDLE, **changes)


def candles(*bars: Bar) -> pl.DataFrame:
    return (
        pl.DataFrame([msgspec.structs.asdict(each) for each in bars]).select(CANDLE_SCHEMA.names()).cast(CANDLE_SCHEMA)
    )


def test_bars_come_back_as_they_were(ledger: Ledger) -> None:
    """Every field of every kind of bar survives, nulls too, oldest first."""
    bars = [EMPTY, bar(open_time_us=HOUR_US, trades=None, quote_volume=None), bar(open_time_us=2 * HOUR_US)]
    ledger.save_bars(reversed(bars))
    assert ledger.bars(BTC, HOUR_US, 0, FOREVER) == bars


def test_bars_are_apart_by_instrument_interval_and_time(ledger: Ledger) -> None:
    """A read sees its own instrument, its own interval and the right-open time range only."""
    ledger.save_bars([BAR, bar(open_time_us=HOUR_US), bar(symbol="ETH-USDT"), bar(interval_us=HOUR_US // 4)])
    assert ledger.bars(BTC, HOUR_US, 0, HOUR_US) == [BAR]
    assert ledger.bars(ETH, HOUR_US, HOUR_US, FOREVER) == []


def test_last_bar(ledger: Ledger) -> None:
    """The newest bar of one interval; None before the first."""
    assert ledger.last_bar(BTC, HOUR_US) is None
    ledger.save_bars([BAR, newest := bar(open_time_us=5 * HOUR_US), bar(open_time_us=2 * HOUR_US)])
    assert ledger.last_bar(BTC, HOUR_US) == newest
    assert ledger.last_bar(ETH, HOUR_US) is None


def stands(stored: Bar, new: Bar) -> bool:
    """The rule of `save_bars`, restated: whether ``new`` replaces ``stored``."""
    if new.revision != stored.revision:
        return new.revision > stored.revision
    return new.completeness is not Completeness.VENUE_CANDLE or stored.completeness is Completeness.VENUE_CANDLE


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(list(Completeness)), st.floats(90, 110)), min_size=1, max_size=6
    )
)
def test_revision_rule(
    tmp_path_factory: pytest.TempPathFactory, versions: list[tuple[int, Completeness, float]]
) -> None:
    """Higher revision wins; at the same revision trades beat a candle; in whatever order they arrive."""
    bars = [bar(revision=revision, completeness=verdict, close=close) for revision, verdict, close in versions]
    expected = bars[0]
    for each in bars[1:]:
        expected = each if stands(expected, each) else expected
    with Ledger(tmp_path_factory.mktemp("rule") / "ledger.db") as ledger:
        for each in bars:
            ledger.save_bars([each])
        assert ledger.bars(BTC, HOUR_US, 0, FOREVER) == [expected]


def test_a_null_never_wipes_out_a_candle_s_known_value(ledger: Ledger) -> None:
    """A second candle of the same hour that lacks a column leaves the stored value there."""
    ledger.save_bars([candle()])
    ledger.save_bars([candle(trades=None, quote_volume=None)])
    (stored,) = ledger.bars(BTC, HOUR_US, 0, FOREVER)
    assert (stored.trades, stored.quote_volume) == (7, 250.25)


def test_an_empty_live_bar_replaces_a_candle_whole(ledger: Ledger) -> None:
    """What the trades prove replaces the candle's prices and volumes, with nulls where they belong."""
    ledger.save_bars([candle()])
    ledger.save_bars([EMPTY])
    assert ledger.bars(BTC, HOUR_US, 0, FOREVER) == [EMPTY]


def test_save_says_how_many_stand(ledger: Ledger) -> None:
    """A refused older revision is not counted."""
    assert ledger.save_bars([bar(revision=2), bar(open_time_us=HOUR_US)]) == 2
    assert ledger.save_bars([bar(revision=1)]) == 0
    assert ledger.save_bars([]) == 0


def test_frame(ledger: Ledger) -> None:
    """The frame has the fixed columns, instruments in the order given, and marks bars with missing trades."""
    gap = bar(open_time_us=HOUR_US, completeness=Completeness.GAP, missing_trades=3)
    ledger.save_bars([BAR, gap, bar(open_time_us=2 * HOUR_US, completeness=Completeness.UNPROVEN)])
    ledger.save_bars([msgspec.structs.replace(EMPTY, symbol="ETH-USDT")])
    frame = ledger.bars_frame([ETH, BTC], HOUR_US, 0, FOREVER)
    assert frame.schema == FRAME_SCHEMA
    assert frame["symbol"].to_list() == ["ETH-USDT", "BTC-USDT", "BTC-USDT", "BTC-USDT"]
    assert frame["complete"].to_list() == [True, True, False, True]
    assert frame["close"].to_list() == [None, 105.0, 105.0, 105.0]
    assert frame["trades"].to_list() == [0, 7, 7, 7]


def test_complete_means_the_same_in_the_store_and_on_the_bar(ledger: Ledger) -> None:
    """The column ``complete`` is ``Bar.is_complete`` for every completeness and count of missing trades."""
    bars = [
        bar(open_time_us=index * HOUR_US, completeness=completeness, missing_trades=missing)
        for index, (completeness, missing) in enumerate(product(Completeness, (0, 3, None)))
    ]
    ledger.save_bars(bars)
    frame = ledger.bars_frame([BTC], HOUR_US, 0, FOREVER)
    assert frame["complete"].to_list() == [each.is_complete for each in bars]


def test_frame_of_nothing_has_its_columns(ledger: Ledger) -> None:
    """No bars, an unknown instrument, no instruments: the columns are there all the same."""
    assert ledger.bars_frame([BTC], HOUR_US, 0, FOREVER).schema == FRAME_SCHEMA
    assert ledger.bars_frame([], HOUR_US, 0, FOREVER).schema == FRAME_SCHEMA


def test_import_is_idempotent(ledger: Ledger) -> None:
    """The same candles twice give the same bars; each is known at its close; null stays null."""
    frame = candles(candle(), candle(open_time_us=HOUR_US, taker_buy_volume=None, symbol="ETH-USDT"))
    ledger.import_bars(frame)
    first = ledger.bars(BTC, HOUR_US, 0, FOREVER) + ledger.bars(ETH, HOUR_US, 0, FOREVER)
    ledger.import_bars(frame)
    assert ledger.bars(BTC, HOUR_US, 0, FOREVER) + ledger.bars(ETH, HOUR_US, 0, FOREVER) == first
    assert [each.known_at_us for each in first] == [HOUR_US, 2 * HOUR_US]
    assert first[1].taker_buy_volume is None


def test_import_leaves_live_bars_alone(ledger: Ledger) -> None:
    """History that is imported later does not replace what was made from trades."""
    ledger.save_bars([BAR])
    assert ledger.import_bars(candles(candle(close=91.0))) == 0
    assert ledger.bars(BTC, HOUR_US, 0, FOREVER) == [BAR]


def test_spans(ledger: Ledger) -> None:
    """From, to, count, missing intervals and verdicts of each instrument."""
    ledger.save_bars([BAR, candle(open_time_us=HOUR_US), bar(open_time_us=4 * HOUR_US), bar(interval_us=HOUR_US // 4)])
    (span,) = ledger.spans(HOUR_US)
    assert (span.symbol, span.from_us, span.to_us, span.bars, span.missing) == ("BTC-USDT", 0, 5 * HOUR_US, 3, 2)
    assert span.verdicts == {"proven": 2, "venue_candle": 1}
    assert ledger.spans(60_000_000) == []


def test_bars_outlive_the_process(ledger: Ledger, path: Path) -> None:
    """Another connection sees what was saved."""
    ledger.save_bars([BAR])
    with Ledger(path) as other:
        assert other.bars(BTC, HOUR_US, 0, FOREVER) == [BAR]
