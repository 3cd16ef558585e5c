"""Checks the bars, forecasts, messages and memory of a soak against the simulated exchanges' own data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from daemon.exchanges import venue
from daemon.exchanges.base import Ids
from daemon.forecasting.records import forecast_id
from daemon.pipeline.timeouts import CATCH_UP_S
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.timestamps import iso
from features.market import Completeness, Instrument
from tests.soak.bar_checks import CheckResults, bar_name, check_bar, miscount
from tests.soak.environment import INTERVAL_US, DaemonProcess, SoakEnvironment
from tests.soak.unserved import Unserved

_LEAST_PROVEN = 0.99
# A process needs some seconds until it is up, more on a busy machine. Then bars wait up to CATCH_UP_S for proof; a bar
# that closed more than one bar ago is too old to forecast by then. A first start has no stored ids: bars that open
# before it is up may lack their proof.
_UP_S = 10.0
_FUTURE_US = 30 * 86_400_000_000  # bars and forecasts after the end are looked for so far ahead
_WARM_UP_S = 60.0  # memory is compared from then on
_MOST_GROWTH = 0.10


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
        check_bar(results, bar, true, contiguous=contiguous)
        if contiguous and bar.completeness is Completeness.GAP:
            wrong = miscount(bar, exchange.trade_ids(instrument.symbol, open_us, INTERVAL_US))
            if wrong:
                results.broken("miscount", f"{bar_name(bar)}: {wrong}")
    settled_in_us = soak.market_us(_up_s(soak.daemon_runs[0]))
    promised = [bar for open_us, bar in bars.items() if open_us >= settled_in_us and _served(gone, open_us)]
    if contiguous and promised:
        settled = sum(bar.completeness in {Completeness.PROVEN, Completeness.EMPTY} for bar in promised)
        if settled < _LEAST_PROVEN * len(promised):
            results.broken("proof", f"{instrument}: only {settled} of {len(promised)} bars are proven")
    future_us = soak.ended_us - INTERVAL_US + 1
    if future := ledger.bars(instrument, INTERVAL_US, future_us, future_us + _FUTURE_US):
        results.broken(
            "future", f"{instrument} has {len(future)} bars of the future, the first at {bar_name(future[0])}"
        )


def _served(gone: Sequence[Unserved], open_us: int) -> bool:
    """Whether the venue served the symbol in the whole of a bar, and long enough before it."""
    return not any(each.overlaps(open_us, open_us + INTERVAL_US) for each in gone)


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
