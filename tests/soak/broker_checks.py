"""Checks of a soak with an unreliable broker: what counts as delivered, what is reported, what is retained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from daemon.publishing.reason_codes import PACKET_TOO_LARGE, SESSION_TAKEN_OVER, reason
from daemon.store.ledger import LEDGER_NAME, Ledger
from tests.soak.bar_checks import CheckResults
from tests.soak.broker_link import NOT_AUTHORIZED, QUOTA_EXCEEDED, SERVER_BUSY
from tests.soak.checks import check_promises
from tests.soak.environment import INTERVAL_US

if TYPE_CHECKING:
    from tests.soak.broker_faults import BrokerFaults

# What each fault has to be called: the metric, and its label.
_REASONS = {
    "denied": ("mqtt_dropped_total", "refused"),
    "quota": ("mqtt_dropped_total", "refused"),
    "announced": ("mqtt_dropped_total", "too_large"),
    "enforced": ("mqtt_connection_failures_total", reason(PACKET_TOO_LARGE).label),
    "takeover": ("mqtt_connection_failures_total", reason(SESSION_TAKEN_OVER).label),
    "busy": ("mqtt_connection_failures_total", reason(SERVER_BUSY).label),
    "stalled": ("mqtt_connection_failures_total", "lost"),
}


def check(soak: BrokerFaults) -> CheckResults:
    """The promises of every soak, and those about a broker that refuses."""
    results = check_promises(soak)
    _check_deliveries(results, soak)
    _check_reasons(results, soak)
    _check_retained(results, soak)
    return results


def _check_deliveries(results: CheckResults, soak: BrokerFaults) -> None:
    """No message counts as delivered that the broker did not confirm, and the outbox stays within its bound."""
    published, confirmed = soak.figures["mqtt_published_total", ""], len(soak.link.accepted)
    if not 0 < published <= confirmed:
        results.broken("false delivery", f"{published:.0f} messages count as delivered, {confirmed} were confirmed")
    capacity = soak.figures["queue_capacity", "outbox"]
    if soak.deepest > capacity:
        results.broken("outbox", f"{soak.deepest:.0f} messages waited, the bound is {capacity:.0f}")
    if waiting := soak.figures["mqtt_outbox_depth", ""]:
        results.broken("outbox", f"{waiting:.0f} messages still wait at the end")


def _check_reasons(results: CheckResults, soak: BrokerFaults) -> None:
    """Every fault is counted under its reason, and every refused topic is in the log with that reason."""
    for kind, _began_s, _ended_s in soak.injected:
        if kind in _REASONS and not soak.figures.get(_REASONS[kind]):
            name, label = _REASONS[kind]
            results.broken("no reason", f"{kind}: forecastd_{name} has no {label}")
    log = (soak.folder / "daemon.log").read_text("utf-8")
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    refused = [line for line in lines if line["event"] == "mqtt_message_refused"]
    named = {line["topic"] for line in refused}
    if silent := sorted((set(soak.link.refused) | set(soak.link.oversized)) - named):
        results.broken("no reason", f"refused and not in the log: {', '.join(silent)}")
    for kind, code in (("denied", NOT_AUTHORIZED), ("quota", QUOTA_EXCEEDED)):
        happened = any(each == kind for each, *_ in soak.injected)
        if happened and not any(reason(code).name in line["reason"] for line in refused):
            results.broken("no reason", f"{kind}: no mqtt_message_refused says {reason(code).name}")


def _check_retained(results: CheckResults, soak: BrokerFaults) -> None:
    """After the last fault the broker holds the newest of everything: status, bars, forecasts, symbols."""
    retained: dict[str, Any] = {topic: msgspec.json.decode(payload) for topic, payload in soak.retained.items()}
    root = "forecastd/v1/soak"
    if (state := retained.get(f"{root}/status", {}).get("state")) != "online":
        results.broken("retained", f"status is {state} at the end")
    ledger = Ledger(soak.folder / "state" / LEDGER_NAME)
    try:
        for symbol in soak.symbols:
            shown = retained.get(f"{root}/forecast/binance/{symbol}/1m", {}).get("id")
            newest_us = soak.ended_us - 3 * INTERVAL_US
            newest = {each.id for each in ledger.forecasts(newest_us, soak.ended_us) if each.symbol == symbol}
            if shown not in newest:
                results.broken("retained", f"{symbol}: the forecast is {shown}, stored are {sorted(newest)}")
            bar = retained.get(f"{root}/bar/binance/{symbol}/1m", {})
            if bar.get("completeness") not in {"proven", "empty"}:
                results.broken("retained", f"{symbol}: the bar is {bar}")
            live = retained.get(f"{root}/symbol/binance/{symbol}/status", {}).get("state")
            if live != "live":
                results.broken("retained", f"{symbol}: its state is {live}")
    finally:
        ledger.close()
    if unknown := {topic for topic in retained if (topic, soak.retained[topic]) not in soak.link.accepted}:
        results.broken("retained", f"never sent like this: {', '.join(sorted(unknown))}")
