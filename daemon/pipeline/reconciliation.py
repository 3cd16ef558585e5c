"""A closed bar against the venue's own candle: what differs, who is right, and when to ask. No I/O.

Trades and candles are two accounts of the same market. Where ids prove that no trade is missing, a differing
candle is the venue's error; where they do not, the candle may know better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from features.bars import OpenBar
from features.market import Audit, Bar, Completeness, Instrument, Trade

# Volumes are sums of decimals in floating point: one lost trade of the smallest size must still show in a busy bar.
_RELATIVE = 1e-11
_LEAST_DIFFERENCE = 1e-9  # a tenth of the finest step in which a venue sells
_QUOTE_RELATIVE = 1e-6  # some candles round the quote volume
_EXACT = ("open", "high", "low", "close", "trades")
_TOLERANCE = {"volume": _RELATIVE, "taker_buy_volume": _RELATIVE} | dict.fromkeys(
    ("quote_volume", "taker_buy_quote_volume"), _QUOTE_RELATIVE
)
_MOST_WAITING = 64  # closed bars per instrument that still wait for their candle; the oldest go unaudited

_DECIMALS = 12  # finer than any venue's sums

NO_CANDLE = "the venue has no candle of this bar"
NO_CANDLE_NO_TRADE = "the venue lists no candle where nothing was traded"
BAR_CONFIRMED = "the venue's trades, fetched again, make the same bar: its candle is wrong or another account of it"
BAR_REFUTED = "the venue's trades, fetched again, differ from those that were heard: the bar is made anew from them"

Differences = dict[str, tuple[float | None, float | None]]


def differences(bar: Bar, candle: Bar, *, opens_at_previous_close: bool = False) -> Differences:
    """Fields in which a bar and the venue's candle disagree; what either does not know is not compared.

    opens_at_previous_close: the candle's open is the close before it, which its high and low include, too.
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
    """Who is right about a bar, in words."""
    if not found:
        return "the bar equals the venue's candle"
    if bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}:
        return "the bar holds every trade id of its interval: the venue's candle is wrong or another account of it"
    return "trades are missing or not proven: the venue's candle is nearer to the truth"


def rebuilt_bar(bar: Bar, trades: Iterable[Trade]) -> Bar:
    """The bar as these trades make it."""
    made = OpenBar(bar.instrument, open_time_us=bar.open_time_us, interval_us=bar.interval_us)
    for trade in trades:
        if trade.count and bar.open_time_us <= trade.time_us < bar.close_time_us:
            made.add(trade)
    return made.bar(
        completeness=bar.completeness,
        known_at_us=bar.known_at_us,
        missing_trades=0,
        revision=bar.revision,
        decimals=_DECIMALS,
    )


def verdict_after_refetch(bar: Bar, again: Bar) -> str:
    """Who is right about a proven bar, once its trades were fetched again."""
    return BAR_REFUTED if differences(bar, again) else BAR_CONFIRMED


class DueBar(msgspec.Struct, frozen=True):
    """A bar whose candle is to be asked for now. ``last`` says that no further attempt follows."""

    bar: Bar
    last: bool


class ReconciliationSchedule:
    """When each closed bar is compared: ``first_s`` wall seconds after it became known, and once more at ``last_s``.

    The second look is for candles that were not final or not there at the first.
    """

    def __init__(self, *, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._waiting: dict[Instrument, dict[int, tuple[Bar, float, bool]]] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def watch(self, bar: Bar, wall_s: float) -> None:
        """A bar was closed or revised: it is compared, anew where it was before."""
        bars = self._waiting.setdefault(bar.instrument, {})
        bars[bar.open_time_us] = (bar, wall_s, False)
        while len(bars) > _MOST_WAITING:
            del bars[min(bars)]

    def due(self, wall_s: float) -> list[DueBar]:
        """What is to be compared now, oldest first; a bar comes back until ``settle`` or its last attempt."""
        found = []
        for bars in self._waiting.values():
            for open_us, (bar, since_s, looked) in sorted(bars.items()):
                if wall_s - since_s >= self._last_s:
                    del bars[open_us]
                    found.append(DueBar(bar, last=True))
                elif not looked and wall_s - since_s >= self._first_s:
                    bars[open_us] = (bar, since_s, True)
                    found.append(DueBar(bar, last=False))
        return found

    def is_current(self, bar: Bar) -> bool:
        """Whether no later revision of the bar is known."""
        known = self._waiting.get(bar.instrument, {}).get(bar.open_time_us)
        return known is None or known[0].revision <= bar.revision

    def settle(self, bars: Iterable[Bar]) -> None:
        """These revisions are settled: no second look."""
        for bar in bars:
            waiting = self._waiting.get(bar.instrument, {})
            known = waiting.get(bar.open_time_us)
            if known is not None and known[0].revision <= bar.revision:
                del waiting[bar.open_time_us]


def with_outcome(bar: Bar, outcome: Audit) -> Bar:
    """The same revision of the bar, with the outcome on it."""
    return msgspec.structs.replace(bar, audit=outcome)
