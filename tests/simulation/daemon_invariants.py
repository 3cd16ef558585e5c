"""What must hold in a world of one daemon: checks of every bar, forecast, message and report of health."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from daemon.exchanges import venue
from daemon.exchanges.base import Ids
from daemon.forecasting.records import forecast_id
from daemon.runtime.app import App
from daemon.serving.health import ServiceState
from daemon.simulator.exchange import SimulatedExchange
from daemon.timestamps import iso
from features.market import Bar, Completeness, Instrument
from tests.simulation.invariants import InvariantBroken
from tests.soak.bar_checks import CheckResults, check_bar, miscount

_CONFIRMED_MARGIN_S = 5.0
_KEPT_CLOSES = 64
_KEPT_MESSAGES = 4_096
_REASONS = frozenset(
    {"forecast_withheld", "not_forecast", "round_too_old", "round_dropped", "forecast_stands", "forecast_not_stored"}
)


class DaemonChecker:
    """Raises InvariantBroken at the first broken promise. Times ``_us`` are true ones."""

    def __init__(self, exchanges: Mapping[str, SimulatedExchange], *, most_ahead_us: int) -> None:
        self.bars = 0
        self.proven = 0
        self.forecasts = 0
        self.power_was_cut = False
        self._exchanges = exchanges
        self._most_ahead_us = most_ahead_us
        self._closed: dict[Instrument, deque[tuple[int, float]]] = {}
        self._issued: dict[str, None] = {}
        self._payloads: dict[str, bytes] = {}
        self._confirmed_us: dict[Instrument, int] = {}
        self._reasons: dict[tuple[str, str], float] = {}

    # ---------------------------------------------------------------- bars

    def bar(self, bar: Bar, now_us: int, now_s: float) -> bool:
        """A bar was closed or revised; whether it is the first time."""
        if bar.close_time_us > now_us + self._most_ahead_us:
            raise InvariantBroken(f"{bar.label} closes at {bar.close_time_us}, and now is {now_us}")
        self.compare(bar, end_known=False)
        closes = self._closed.setdefault(bar.instrument, deque(maxlen=_KEPT_CLOSES))
        if bar.revision or (closes and closes[-1][0] >= bar.close_time_us):
            return False  # a revision, perhaps of a bar that an earlier process has closed
        closes.append((bar.close_time_us, now_s))
        self.bars += 1
        self.proven += bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}
        return True

    def compare(self, bar: Bar, *, end_known: bool) -> None:
        """Holds a bar against the truth; see ``miscount``."""
        exchange = self._exchanges[bar.venue]
        contiguous = venue(bar.venue, []).ids is Ids.CONTIGUOUS
        results = CheckResults()
        known = bar
        if bar.completeness is Completeness.VENUE_CANDLE:  # the exchange makes few trades that miss it by a lot
            known = msgspec.structs.replace(bar, quote_volume=None, taker_buy_quote_volume=None)
        check_bar(results, known, exchange.truth(bar.symbol, bar.open_time_us, bar.interval_us), contiguous=contiguous)
        if contiguous and bar.completeness is Completeness.GAP:
            wrong = miscount(
                bar, exchange.trade_ids(bar.symbol, bar.open_time_us, bar.interval_us), end_known=end_known
            )
            if wrong:
                results.broken("miscount", f"{bar.label}: {wrong}")
        if results.problems:
            raise InvariantBroken(results.problems[0])

    # ---------------------------------------------------------------- forecasts

    def forecast(self, name: str, issued_at_us: int, close_us: int, now_us: int) -> None:
        """A forecast went to the broker."""
        self.forecasts += 1
        self._issued[name] = None
        if len(self._issued) > _KEPT_MESSAGES:
            del self._issued[next(iter(self._issued))]
        if close_us > now_us + self._most_ahead_us or issued_at_us > now_us + self._most_ahead_us:
            raise InvariantBroken(f"{name} was issued before its bar closed")

    def logged(self, event: str, fields: Mapping[str, Any], now_s: float) -> None:
        """A line of the daemon's log, where it gives the reason for a missing forecast."""
        if event in _REASONS:
            self._reasons[str(fields.get("instrument", "")), str(fields.get("close_time", ""))] = now_s
            if len(self._reasons) > _KEPT_MESSAGES:
                del self._reasons[next(iter(self._reasons))]

    def demand_forecast(self, bar: Bar, closed_s: float) -> None:
        """The forecast of a closed bar was issued, or the log says why not."""
        name = forecast_id(bar.venue, bar.symbol, bar.interval_us, bar.close_time_us)
        if name not in self._issued and not self._excused(bar.instrument, bar.close_time_us, closed_s):
            raise InvariantBroken(f"{name} was not issued, and no line of the log says why")

    def _excused(self, instrument: Instrument, close_us: int, closed_s: float) -> bool:
        """Whether the log has said since the close why there is no forecast."""
        name, close = str(instrument), iso(close_us)
        reasons = ((name, close), (name, ""), ("", close), ("", ""))
        return any(self._reasons.get(each, 0.0) >= closed_s for each in reasons)

    def message(self, topic: str, payload: bytes, now_us: int) -> None:
        """The broker took a message."""
        kind = topic.split("/")[3] if topic.count("/") >= 3 else ""
        if kind != "forecast" or not payload:
            return
        content = msgspec.json.decode(payload)
        instrument = Instrument(content["venue"], content["symbol"])
        before = self._payloads.get(content["id"])
        if before is not None and before != payload and not self.power_was_cut:
            both = (before, payload)
            if all(msgspec.json.decode(each)["stored"] for each in both):
                raise InvariantBroken(f"{content['id']} was published with two contents")
        self._payloads[content["id"]] = payload
        if len(self._payloads) > _KEPT_MESSAGES:
            del self._payloads[next(iter(self._payloads))]
        close_us = _close_us(content["bar_close"])
        if close_us > now_us + self._most_ahead_us:
            raise InvariantBroken(f"{content['id']} was published before its bar closed")
        self._confirmed_us[instrument] = max(self._confirmed_us.get(instrument, 0), close_us)

    # ---------------------------------------------------------------- health

    def demand_honest_health(self, app: App, now_s: float, allowed_s: float) -> None:
        """While the daemon says that it is ready or online, no forecast of a live instrument is overdue."""
        health = app.components.health
        if health.readiness_problems() and health.condition.state is not ServiceState.ONLINE:
            return
        for instrument, closes in self._closed.items():
            if instrument in health._unreachable or instrument in health._waiting_for:
                continue
            confirmed_us = self._confirmed_us.get(instrument, 0)
            for close_us, closed_s in closes:
                overdue = close_us > confirmed_us and now_s - closed_s > allowed_s + _CONFIRMED_MARGIN_S
                if overdue and not self._excused(instrument, close_us, closed_s):
                    raise InvariantBroken(
                        f"ready, and the forecast of {instrument} at {iso(close_us)} is not confirmed "
                        f"{now_s - closed_s:.0f} s after the close"
                    )

    def restarted(self) -> None:
        """What the process before has closed need not be forecast any more."""
        self._closed.clear()


def problems_of(app: App, interval_us: int, now_us: int) -> list[str]:
    """What keeps the daemon from being as it should be once the world behaves."""
    components = app.components
    problems = list(components.health.readiness_problems())
    if components.health.condition.state is not ServiceState.ONLINE:
        problems.append(f"{components.health.condition.state}: {components.health.condition.reason}")
    for instrument, series in components.pipeline.instruments.items():
        if series.next_close_us < now_us - interval_us:
            problems.append(f"{instrument} stands still")
        if venue(instrument.venue, []).ids is Ids.CONTIGUOUS:
            last = components.pipeline.last_bar(instrument)
            if series.missing_trades:
                problems.append(f"{instrument} reports {series.missing_trades} missing trades")
            if last is None or last.completeness not in {Completeness.PROVEN, Completeness.EMPTY}:
                problems.append(f"{instrument} closes bars {last and last.completeness}")
    waiting = {"store": components.store.depth, "outbox": components.publisher.depth, "rounds": components.rounds.depth}
    problems += [f"{count} wait in the {queue}" for queue, count in waiting.items() if count > 8]
    return problems


def _close_us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)
