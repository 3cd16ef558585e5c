"""Checks the bars, forecasts, messages and memory of a soak against the simulated exchanges' own data."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from daemon.exchanges import venue
from daemon.exchanges.base import Ids
from daemon.forecasting.records import forecast_id
from daemon.pipeline.continuity import MAX_RANGES
from daemon.pipeline.timeouts import CATCH_UP_S
from daemon.simulator.truth import TradeIds, Truth
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.timestamps import iso
from features.market import Audit, Bar, Completeness, Instrument, MissingTrades
from tests.soak.environment import INTERVAL_US, DaemonProcess, SoakEnvironment
from tests.soak.unserved import Unserved

_PRICES = ("open", "high", "low", "close")
_SUMS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
_RELATIVE = 1e-11
_LEAST_PROVEN = 0.99
# A process needs some seconds until it is up, more on a busy machine. Then bars wait up to CATCH_UP_S for proof; a bar
# that closed more than one bar ago is too old to forecast by then. A first start has no stored ids: bars that open
# before it is up may lack their proof.
_UP_S = 10.0
_MOST_SHOWN = 12
_FUTURE_US = 30 * 86_400_000_000  # bars and forecasts after the end are looked for so far ahead
_WARM_UP_S = 60.0  # memory is compared from then on
_MOST_GROWTH = 0.10


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


def check_promises(soak: SoakEnvironment) -> CheckResults:
    """Checks every promise against the ledger, the messages and the processes' memory."""
    results = CheckResults()
    ledger = Ledger(soak.folder / "state" / LEDGER_NAME)
    try:
        for name in soak.venues:
            for symbol in soak.symbols:
                _check_bars(results, soak, ledger, Instrument(name, symbol))
        _check_forecasts(results, soak, ledger)
    finally:
        ledger.close()
    _check_messages(results, soak)
    _check_memory(results, soak.daemon_runs)
    return results


def _opens(soak: SoakEnvironment) -> range:
    """The bars that are checked: all but the last three, whose revisions may not be stored yet."""
    return range(soak.first_open_us, soak.first_open_us + (soak.bars - 3) * INTERVAL_US, INTERVAL_US)


def _check_bars(results: CheckResults, soak: SoakEnvironment, ledger: Ledger, instrument: Instrument) -> None:
    opens = _opens(soak)
    gone = soak.unserved(*instrument)
    bars = {bar.open_time_us: bar for bar in ledger.bars(instrument, INTERVAL_US, opens.start, opens.stop)}
    contiguous = venue(instrument.venue, []).ids is Ids.CONTIGUOUS
    for open_us in opens:
        bar = bars.get(open_us)
        if bar is None and _served(gone, open_us):
            results.broken("hole", f"{instrument} has no bar at {iso(open_us)}")
        if bar is None:
            continue
        results.bars += 1
        results.completeness[instrument.venue][bar.completeness.value] += 1
        results.audits[instrument.venue][bar.audit.value] += 1
        exchange = soak.exchanges[instrument.venue]
        true = exchange.truth(instrument.symbol, open_us, INTERVAL_US)
        _check_bar(results, bar, true, contiguous=contiguous)
        if contiguous and bar.completeness is Completeness.GAP:
            wrong = miscount(bar, exchange.trade_ids(instrument.symbol, open_us, INTERVAL_US))
            if wrong:
                results.broken("miscount", f"{_name(bar)}: {wrong}")
    settled_in_us = soak.market_us(_up_s(soak.daemon_runs[0]))
    promised = [bar for open_us, bar in bars.items() if open_us >= settled_in_us and _served(gone, open_us)]
    if contiguous and promised:
        settled = sum(bar.completeness in {Completeness.PROVEN, Completeness.EMPTY} for bar in promised)
        if settled < _LEAST_PROVEN * len(promised):
            results.broken("proof", f"{instrument}: only {settled} of {len(promised)} bars are proven")
    future_us = soak.ended_us - INTERVAL_US + 1
    if future := ledger.bars(instrument, INTERVAL_US, future_us, future_us + _FUTURE_US):
        results.broken("future", f"{instrument} has {len(future)} bars of the future, the first at {_name(future[0])}")


def _check_bar(results: CheckResults, bar: Bar, true: Truth, *, contiguous: bool) -> None:
    """Every known figure of a bar is true, or its completeness says that it may not be."""
    wrong = _differences(bar, true)
    where = _name(bar)
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


def _served(gone: Sequence[Unserved], open_us: int) -> bool:
    """Whether the venue served the symbol in the whole of a bar, and long enough before it."""
    return not any(each.overlaps(open_us, open_us + INTERVAL_US) for each in gone)


def _name(bar: Bar) -> str:
    return f"{bar.instrument} at {iso(bar.open_time_us)} ({bar.completeness.value}, revision {bar.revision})"


def miscount(bar: Bar, true: Sequence[TradeIds]) -> str:
    """The error in a bar's ``missing_trades`` and ``missing_ranges``; empty where both are exact.

    true: the bar's trades as the venue numbers them. One id may stand for several trades: the bar must lack exactly the
    trades of the missing ids. A range that extends beyond the bar may hold ids of its neighbours.
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
    if hidden != lacking:
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


def _check_forecasts(results: CheckResults, soak: SoakEnvironment, ledger: Ledger) -> None:
    """A daemon that ran for the whole of a bar, and until its forecast was due, issued one for every symbol.

    Bars in which the machine stalled are counted instead.
    """
    opens = _opens(soak)
    stored = {each.id for each in ledger.forecasts(opens.start, opens.stop + 2 * INTERVAL_US)}
    results.forecasts = len(stored)
    if future := ledger.forecasts(soak.ended_us + 1, soak.ended_us + _FUTURE_US):
        results.broken("future", f"{len(future)} forecasts of the future, the first {future[0].id}")
    gone = {(name, symbol): soak.unserved(name, symbol) for name in soak.venues for symbol in soak.symbols}
    for open_us in opens:
        close_us = open_us + INTERVAL_US
        from_s, until_s = soak.wall_s(open_us), soak.wall_s(close_us + INTERVAL_US)
        if not was_up(soak.daemon_runs, from_s, until_s):
            continue
        if stalled(soak.stalls, from_s, until_s):
            results.stalled += 1
            continue
        for name in soak.venues:
            for symbol in soak.symbols:
                due = _served(gone[name, symbol], open_us)
                if due and (made := forecast_id(name, symbol, INTERVAL_US, close_us)) not in stored:
                    results.broken("no forecast", made)


def was_up(runs: Sequence[DaemonProcess], from_s: float, until_s: float) -> bool:
    """Whether one process of the daemon was up and had caught up in all of this time."""
    return any(_up_s(run) + CATCH_UP_S <= from_s and until_s <= (run.ended_s or float("inf")) for run in runs)


def _up_s(run: DaemonProcess) -> float:
    return max(run.began_s + _UP_S, run.up_s or 0.0)


def stalled(stalls: Sequence[tuple[float, float]], from_s: float, until_s: float) -> bool:
    """Whether this machine stalled between these times: a forecast that was not made in time breaks no promise."""
    return any(began_s < until_s and from_s < ended_s for began_s, ended_s in stalls)


def _check_messages(results: CheckResults, soak: SoakEnvironment) -> None:
    """Nothing was published twice with different content, and every symbol was published."""
    for name, payloads in soak.received.forecasts.items():
        if len(payloads) > 1:
            results.broken("two forecasts", name)
    for (topic, open_time, revision), payloads in soak.received.bars.items():
        if len(payloads) > 1:
            first, second = [msgspec.json.decode(each) for each in sorted(payloads)][:2]
            changed = {key: (first[key], second.get(key)) for key in first if first[key] != second.get(key)}
            results.broken("two bars", f"{topic} at {open_time}, revision {revision}: {changed}")
    received = {tuple(topic.split("/")[4:6]) for topic, _, _ in soak.received.bars}
    for name in soak.venues:
        for symbol in soak.symbols:
            if (name, symbol) not in received:
                results.broken("never published", f"{name}:{symbol}")


def _check_memory(results: CheckResults, daemon_runs: list[DaemonProcess]) -> None:
    """The memory of the process that ran longest does not grow after its first minute."""
    longest = max(daemon_runs, key=lambda run: len(run.memory))
    settled = [size for at_s, size in longest.memory if at_s - longest.began_s > _WARM_UP_S]
    if len(settled) < 30:
        return
    tenth = max(len(settled) // 10, 1)
    first, last = sum(settled[:tenth]) / tenth, sum(settled[-tenth:]) / tenth
    if last > first * (1 + _MOST_GROWTH):
        results.broken("memory", f"{first / 1e6:.0f} MB grew to {last / 1e6:.0f} MB in {len(settled)} s")
