"""Compares one bar with what happened: figures, ids, and what it says is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.exchanges import venue
from daemon.pipeline.continuity import MAX_RANGES
from daemon.simulator.truth import TradeIds, Truth
from daemon.timestamps import iso
from features.market import Audit, Bar, Completeness, MissingTrades

_PRICES = ("open", "high", "low", "close")
_SUMS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
_RELATIVE = 1e-11
_MOST_SHOWN = 12


@dataclass
class CheckResults:
    """``problems`` are broken promises, at most ``_MOST_SHOWN`` of each kind; ``completeness`` counts bars by venue.

    stalled: closes whose forecasts were not checked because the machine stalled around them.
    """

    problems: list[str] = field(default_factory=list)
    completeness: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    audits: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    forecasts: int = 0
    bars: int = 0
    unproven_and_wrong: int = 0
    stalled: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def broken(self, kind: str, problem: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= _MOST_SHOWN:
            self.problems.append(f"{kind}: {problem}")


def check_bar(results: CheckResults, bar: Bar, true: Truth, *, contiguous: bool) -> None:
    """Every known figure of a bar is true, or its completeness says that it may not be."""
    wrong = _differences(bar, true)
    where = bar_name(bar)
    match bar.completeness:
        case Completeness.PROVEN | Completeness.EMPTY:
            if wrong:
                results.broken("false proof", f"{where}: {wrong}")
            if contiguous and (bar.first_trade_id, bar.last_trade_id) != (true.first_id, true.last_id):
                results.broken("false proof", f"{where}: ids {bar.first_trade_id} to {bar.last_trade_id}")
        case Completeness.GAP:
            if not bar.missing_ranges:
                results.broken("silent gap", f"{where}: missing_ranges is empty")
        case Completeness.UNPROVEN:
            if wrong and bar.audit is Audit.EQUAL:
                results.broken("false audit", f"{where}: {wrong}")
            elif wrong:  # allowed: an unproven bar promises nothing
                results.unproven_and_wrong += 1
        case Completeness.VENUE_CANDLE:
            if wrong:
                results.broken("false candle", f"{where}: {wrong}")
            if bar.taker_buy_volume is not None and not contiguous:
                results.broken("false candle", f"{where}: has taker volumes, which this venue's candles do not have")


def bar_name(bar: Bar) -> str:
    """The bar for a message."""
    return f"{bar.instrument} at {iso(bar.open_time_us)} ({bar.completeness.value}, revision {bar.revision})"


def miscount(bar: Bar, true: Sequence[TradeIds], *, end_known: bool = True) -> str:
    """The error in a bar's ``missing_trades`` and ``missing_ranges``; empty where both are exact.

    true: the bar's trades as the venue numbers them. One id may stand for several trades: the bar must lack exactly the
    trades of the missing ids. A range that extends beyond the bar may hold ids of its neighbours. end_known: whether a
    later trade has come; without one, trades after the newest known id are not known to be missing.
    """
    ranges, missing = bar.missing_ranges, bar.missing_trades or 0
    reported = sum((lost.last_id or 0) - (lost.first_id or 0) + 1 for lost in ranges)
    within = all(
        bar.open_time_us <= lost.after_us and lost.before_us is not None and lost.before_us < bar.close_time_us
        for lost in ranges
    )
    ids, hidden = 0, 0
    for each in true:
        if each.first_id is None or each.last_id is None:
            raise ValueError(f"{bar.instrument} has no trade ids")
        lost_ids = sum(_overlap(lost, each.first_id, each.last_id) for lost in ranges)
        ids += lost_ids
        hidden += each.trades * lost_ids // (each.last_id - each.first_id + 1)
    lacking = sum(each.trades for each in true) - (bar.trades or 0)
    if len(ranges) >= MAX_RANGES and missing > reported:  # the list of ranges is full
        single = all(each.trades == (each.last_id or 0) - (each.first_id or 0) + 1 for each in true)
        few = hidden > lacking or (single and missing < lacking)
        return f"{missing} missing, the reported ids are {hidden} trades, it lacks {lacking}" if few else ""
    if missing != reported:
        return f"{missing} missing, but the ranges hold {reported}"
    if hidden > lacking or (end_known and hidden != lacking):
        return f"the missing ids are {hidden} trades, it lacks {lacking}"
    if within and ids != reported:
        return f"{reported} ids missing, {ids} of them are the bar's"
    return ""


def _overlap(lost: MissingTrades, first_id: int, last_id: int) -> int:
    """How many of the ids are missing."""
    assert lost.first_id is not None
    assert lost.last_id is not None
    return max(0, min(lost.last_id, last_id) - max(lost.first_id, first_id) + 1)


def _differences(bar: Bar, true: Truth) -> dict[str, tuple[object, object]]:
    """Known fields with a wrong value; of a candle that opens at the close before it, only the close is compared."""
    from_candle = bar.completeness is Completeness.VENUE_CANDLE
    quirk = from_candle and venue(bar.venue, []).opens_at_previous_close
    found: dict[str, tuple[object, object]] = {}
    for name in ("close",) if quirk and bar.close is not None else _PRICES:
        if getattr(bar, name) != getattr(true, name):
            found[name] = (getattr(bar, name), getattr(true, name))
    for name in _SUMS:
        ours, theirs = getattr(bar, name), getattr(true, name)
        if ours is None and from_candle:
            continue
        if ours is None or abs(ours - theirs) > _RELATIVE * max(abs(theirs), 1.0):
            found[name] = (ours, theirs)
    if bar.trades is not None and bar.trades != true.trades:
        found["trades"] = (bar.trades, true.trades)
    return found
