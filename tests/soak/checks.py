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
from daemon.simulator.truth import Numbered, Truth
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.timestamps import iso
from features.market import Audit, Bar, Completeness, Instrument, MissingTrades
from tests.soak.environment import INTERVAL_US, Life, World

_PRICES = ("open", "high", "low", "close")
_SUMS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")
_RELATIVE = 1e-11
_LEAST_PROVEN = 0.99
# After a start, bars wait this long for proof; a bar that closed more than one bar ago is then too old to forecast.
_START_S = CATCH_UP_S
_MOST_SHOWN = 12
_WARM_UP_S = 60.0  # memory is compared from then on
_MOST_GROWTH = 0.10


@dataclass
class Judgement:
    """``problems`` are broken promises, at most ``_MOST_SHOWN`` of each kind; ``verdicts`` counts bars by venue."""

    problems: list[str] = field(default_factory=list)
    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    audits: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    forecasts: int = 0
    bars: int = 0
    unproven_and_wrong: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def broken(self, kind: str, words: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= _MOST_SHOWN:
            self.problems.append(f"{kind}: {words}")


def judge(world: World) -> Judgement:
    """Checks every promise against the ledger, the messages and the processes' memory."""
    judgement = Judgement()
    ledger = Ledger(world.folder / "state" / LEDGER_NAME)
    try:
        for name in world.venues:
            for symbol in world.symbols:
                _judge_bars(judgement, world, ledger, Instrument(name, symbol))
        _judge_forecasts(judgement, world, ledger)
    finally:
        ledger.close()
    _judge_messages(judgement, world)
    _judge_memory(judgement, world.lives)
    return judgement


def _opens(world: World) -> range:
    """The bars that are judged: all but the last three, whose revisions may not be stored yet."""
    return range(world.first_open_us, world.first_open_us + (world.bars - 3) * INTERVAL_US, INTERVAL_US)


def _judge_bars(judgement: Judgement, world: World, ledger: Ledger, instrument: Instrument) -> None:
    opens = _opens(world)
    bars = {bar.open_time_us: bar for bar in ledger.bars(instrument, INTERVAL_US, opens.start, opens.stop)}
    numbered = venue(instrument.venue, []).ids is Ids.CONTIGUOUS
    for open_us in opens:
        bar = bars.get(open_us)
        if bar is None:
            judgement.broken("hole", f"{instrument} has no bar at {iso(open_us)}")
            continue
        judgement.bars += 1
        judgement.verdicts[instrument.venue][bar.completeness.value] += 1
        judgement.audits[instrument.venue][bar.audit.value] += 1
        exchange = world.exchanges[instrument.venue]
        true = exchange.truth(instrument.symbol, open_us, INTERVAL_US)
        _judge_bar(judgement, bar, true, numbered=numbered)
        if numbered and bar.completeness is Completeness.GAP:
            wrong = miscount(bar, exchange.numbered(instrument.symbol, open_us, INTERVAL_US))
            if wrong:
                judgement.broken("miscount", f"{_name(bar)}: {wrong}")
    if numbered and bars:
        settled = sum(bar.completeness in {Completeness.PROVEN, Completeness.EMPTY} for bar in bars.values())
        if settled < _LEAST_PROVEN * len(bars):
            judgement.broken("proof", f"{instrument}: only {settled} of {len(bars)} bars are proven")


def _judge_bar(judgement: Judgement, bar: Bar, true: Truth, *, numbered: bool) -> None:
    """Every known figure of a bar is true, or its completeness says that it may not be."""
    wrong = _differences(bar, true)
    where = _name(bar)
    match bar.completeness:
        case Completeness.PROVEN | Completeness.EMPTY:
            if wrong:
                judgement.broken("false proof", f"{where}: {wrong}")
            if numbered and (bar.first_trade_id, bar.last_trade_id) != (true.first_id, true.last_id):
                judgement.broken("false proof", f"{where}: ids {bar.first_trade_id} to {bar.last_trade_id}")
        case Completeness.GAP:
            if not bar.missing_ranges:
                judgement.broken("silent gap", f"{where}: missing_ranges is empty")
        case Completeness.UNPROVEN:
            if wrong and bar.audit is Audit.EQUAL:
                judgement.broken("false audit", f"{where}: {wrong}")
            elif wrong:  # allowed: an unproven bar promises nothing
                judgement.unproven_and_wrong += 1
        case Completeness.VENUE_CANDLE:
            if wrong:
                judgement.broken("false candle", f"{where}: {wrong}")
            if bar.taker_buy_volume is not None and not numbered:
                judgement.broken("false candle", f"{where}: has taker volumes, which this venue's candles do not have")


def _name(bar: Bar) -> str:
    return f"{bar.instrument} at {iso(bar.open_time_us)} ({bar.completeness.value}, revision {bar.revision})"


def miscount(bar: Bar, true: Sequence[Numbered]) -> str:
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
            raise ValueError(f"{bar.instrument} has no numbered trades")
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


def _judge_forecasts(judgement: Judgement, world: World, ledger: Ledger) -> None:
    """A daemon that ran for the whole of a bar, and until its forecast was due, issued one for every symbol."""
    opens = _opens(world)
    stored = {each.id for each in ledger.forecasts(opens.start, opens.stop + 2 * INTERVAL_US)}
    judgement.forecasts = len(stored)
    for open_us in opens:
        close_us = open_us + INTERVAL_US
        if not _was_up(world, open_us, close_us + INTERVAL_US):
            continue
        for name in world.venues:
            for symbol in world.symbols:
                if (made := forecast_id(name, symbol, INTERVAL_US, close_us)) not in stored:
                    judgement.broken("no forecast", made)


def _was_up(world: World, from_us: int, until_us: int) -> bool:
    clock = world.clock

    def wall_s(market_us: int) -> float:
        return clock.origin_s + (market_us - clock.start_us) / 1e6 / clock.speed

    from_s, until_s = wall_s(from_us), wall_s(until_us)
    return any(life.began_s + _START_S <= from_s and until_s <= (life.ended_s or float("inf")) for life in world.lives)


def _judge_messages(judgement: Judgement, world: World) -> None:
    """Nothing was published twice with different content, and every symbol was published."""
    for name, payloads in world.received.forecasts.items():
        if len(payloads) > 1:
            judgement.broken("two forecasts", name)
    for (topic, open_time, revision), payloads in world.received.bars.items():
        if len(payloads) > 1:
            first, second = [msgspec.json.decode(each) for each in sorted(payloads)][:2]
            changed = {key: (first[key], second.get(key)) for key in first if first[key] != second.get(key)}
            judgement.broken("two bars", f"{topic} at {open_time}, revision {revision}: {changed}")
    received = {tuple(topic.split("/")[4:6]) for topic, _, _ in world.received.bars}
    for name in world.venues:
        for symbol in world.symbols:
            if (name, symbol) not in received:
                judgement.broken("never published", f"{name}:{symbol}")


def _judge_memory(judgement: Judgement, lives: list[Life]) -> None:
    """The memory of the process that lived longest does not grow after its first minute."""
    longest = max(lives, key=lambda life: len(life.memory))
    settled = [size for at_s, size in longest.memory if at_s - longest.began_s > _WARM_UP_S]
    if len(settled) < 30:
        return
    tenth = max(len(settled) // 10, 1)
    first, last = sum(settled[:tenth]) / tenth, sum(settled[-tenth:]) / tenth
    if last > first * (1 + _MOST_GROWTH):
        judgement.broken("memory", f"{first / 1e6:.0f} MB grew to {last / 1e6:.0f} MB in {len(settled)} s")
