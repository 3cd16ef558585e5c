"""An explanation as JSON, ``forecastd.explanation.v1``: inside v1 fields are only ever added."""

from __future__ import annotations

from typing import Any

from daemon.explaining.finding import Explained, Recent
from daemon.timestamps import iso
from models.explain import Hour, family_weights, spread_over, top_hours

SCHEMA = "forecastd.explanation.v1"


def document(found: Explained) -> dict[str, Any]:
    """Weights are shares of 1; times RFC 3339 in UTC. ``features`` is null where their weights are unknown."""
    message, features = found.message, found.features
    return {
        "schema": SCHEMA,
        "id": message.id,
        "venue": message.venue,
        "symbol": message.symbol,
        "interval": message.interval,
        "bar_close": message.bar_close,
        "model": {"id": message.model.id, "kind": message.model.kind, "trained_until": message.model.trained_until},
        "top_hours": [_hour(hour) for hour in top_hours(found.hours)],
        "hours": [_hour(hour) for hour in found.hours],
        "spread_over": spread_over(found.attention),
        "features": [{"name": each.name, "family": each.family, "weight": each.weight} for each in features] or None,
        "families": [
            {"name": name, "weight": weight, "features": count} for name, weight, count in family_weights(features)
        ]
        or None,
        "recent": [_recent(each) for each in found.recent],
        "unsaid": list(found.missing),
    }


def _hour(hour: Hour) -> dict[str, Any]:
    return {
        "bars_ago": hour.bars_ago,
        "from": iso(hour.from_us),
        "to": iso(hour.to_us),
        "weight": hour.weight,
        "known": hour.known,
    }


def _recent(each: Recent) -> dict[str, Any]:
    return {
        "id": each.id,
        "bar_close": iso(each.close_time_us),
        "kind": each.kind,
        "attention": None if each.attention is None else each.attention.tolist(),
    }
