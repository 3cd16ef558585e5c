"""Reconciliation of closed bars with the venue's candles: what differs, which is right, and when to compare. No I/O.

Trades and candles are two records of the same market. Where contiguous ids prove that no trade is missing, a differing
candle is the venue's error; elsewhere the candle may be nearer to the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from features.bars import OpenBar
from features.market import Audit, Bar, Completeness, Instrument, Trade

# Volumes are sums of decimals in floating point: one lost trade of the smallest size must still show in a busy bar.
_RELATIVE = 1e-11
_LEAST_DIFFERENCE = 1e-9  # a tenth of the finest size step of any venue
_QUOTE_RELATIVE = 1e-6  # some candles round the quote volume
_EXACT = ("open", "high", "low", "close", "trades")
_TOLERANCE = {"volume": _RELATIVE, "taker_buy_volume": _RELATIVE} | dict.fromkeys(
    ("quote_volume", "taker_buy_quote_volume"), _QUOTE_RELATIVE
)
_MAX_WAITING = 64  # closed bars per instrument that wait for their candle; older ones are not compared
_DECIMALS = 12  # finer than any venue's sums

NO_CANDLE = "the venue has no candle of this bar"
NO_CANDLE_NO_TRADE = "the venue lists no candle where nothing was traded"
BAR_CONFIRMED = "the venue's trades, fetched again, make the same bar: its candle is wrong or another account of it"
BAR_REFUTED = "the venue's trades, fetched again, differ from the received ones: the bar is rebuilt from them"

Differences = dict[str, tuple[float | None, float | None]]


def differences(bar: Bar, candle: Bar, *, opens_at_previous_close: bool = False) -> Differences:
    """The fields in which a bar and the venue's candle differ, with both values; unknown values are not compared.

    opens_at_previous_close: whether the candle's open is the previous close, which its high and low then include.
    """
    found: Differences = {}
    if opens_at_previous_close and bar.open is not None and candle.open is not None:
        bar = _opened_at(bar, candle.open)
    for name in (*_EXACT, *_TOLERANCE):
        ours, theirs = getattr(bar, name), getattr(candle, name)
        if theirs is None or (ours is None and name not in _EXACT[:4]):
            continue
        tolerance = max(_TOLERANCE[name] * abs(theirs), _LEAST_DIFFERENCE) if name in _TOLERANCE else 0.0
        if ours is None or abs(ours - theirs) > tolerance:
            found[name] = (ours, theirs)
    return found


def _opened_at(bar: Bar, price: float) -> Bar:
    """The bar as if its first trade had been at ``price``."""
    assert bar.high is not None
    assert bar.low is not None
    return msgspec.structs.replace(bar, open=price, high=max(bar.high, price), low=min(bar.low, price))


def verdict(bar: Bar, found: Mapping[str, object]) -> str:
    """Which of bar and candle is right, in words."""
    if not found:
        return "the bar equals the venue's candle"
    if bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}:
        return "the bar holds every trade id of its interval: the venue's candle is wrong or another account of it"
    return "trades are missing or not proven: the venue's candle is nearer to the truth"


def rebuilt_bar(bar: Bar, trades: Iterable[Trade]) -> Bar:
    """The bar that these trades make."""
    rebuilt = OpenBar(bar.instrument, open_time_us=bar.open_time_us, interval_us=bar.interval_us)
    for trade in trades:
        if trade.count and bar.open_time_us <= trade.time_us < bar.close_time_us:
            rebuilt.add(trade)
    return rebuilt.bar(
        completeness=bar.completeness,
        known_at_us=bar.known_at_us,
        missing_trades=0,
        revision=bar.revision,
        decimals=_DECIMALS,
    )


def verdict_after_refetch(bar: Bar, rebuilt: Bar) -> str:
    """Which of bar and candle is right, given the bar rebuilt from its trades, fetched again."""
    return BAR_REFUTED if differences(bar, rebuilt) else BAR_CONFIRMED


class DueBar(msgspec.Struct, frozen=True):
    """A bar to compare now; ``last``: no further attempt follows."""

    bar: Bar
    last: bool


class ReconciliationSchedule:
    """When each bar is compared: ``first_s`` wall seconds after it was closed or revised, and once more at ``last_s``.

    The second attempt is for candles that were missing or not final at the first.
    """

    def __init__(self, *, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._waiting: dict[Instrument, dict[int, tuple[Bar, float, bool]]] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def watch(self, bar: Bar, wall_s: float) -> None:
        """Schedules a closed or revised bar; a revision is compared again."""
        bars = self._waiting.setdefault(bar.instrument, {})
        bars[bar.open_time_us] = (bar, wall_s, False)
        while len(bars) > _MAX_WAITING:
            del bars[min(bars)]

    def due(self, wall_s: float) -> list[DueBar]:
        """The bars to compare now, oldest first; a bar is returned again until ``settle`` or its last attempt."""
        found = []
        for bars in self._waiting.values():
            for open_us, (bar, since_s, attempted) in sorted(bars.items()):
                if wall_s - since_s >= self._last_s:
                    del bars[open_us]
                    found.append(DueBar(bar, last=True))
                elif not attempted and wall_s - since_s >= self._first_s:
                    bars[open_us] = (bar, since_s, True)
                    found.append(DueBar(bar, last=False))
        return found

    def is_current(self, bar: Bar) -> bool:
        """Whether no later revision of the bar is scheduled."""
        scheduled = self._waiting.get(bar.instrument, {}).get(bar.open_time_us)
        return scheduled is None or scheduled[0].revision <= bar.revision

    def settle(self, bars: Iterable[Bar]) -> None:
        """Removes revisions whose comparison is finished."""
        for bar in bars:
            waiting = self._waiting.get(bar.instrument, {})
            scheduled = waiting.get(bar.open_time_us)
            if scheduled is not None and scheduled[0].revision <= bar.revision:
                del waiting[bar.open_time_us]


def with_outcome(bar: Bar, outcome: Audit) -> Bar:
    """The same revision of the bar with the outcome of its comparison."""
    return msgspec.structs.replace(bar, audit=outcome)
