"""Rows of the dashboard from top to bottom."""

from __future__ import annotations

from grafana.rows.machine import MACHINE, MQTT
from grafana.rows.market import BARS, FRESHNESS, LATENCY
from grafana.rows.model import FORECASTS, RETRAINING

ROWS = (FRESHNESS, BARS, LATENCY, FORECASTS, RETRAINING, MQTT, MACHINE)
