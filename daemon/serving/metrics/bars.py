"""Metrics of closed bars: completeness, revisions and comparison with the venue's candles."""

from __future__ import annotations

from daemon.serving.metrics.family import OF_SYMBOL, UNKNOWN, MetricFamily
from features.market import Completeness, Instrument

AUDIT_RESULTS = ("equal", "differs", "unavailable")


class BarMetrics(MetricFamily):
    """Closed bars of each instrument."""

    def _define_bars(self) -> None:
        self.bars = self._counter("bars_total", "Bars closed, by verdict.", (*OF_SYMBOL, "completeness"))
        self.bar_last_close_timestamp = self._gauge(
            "bar_last_close_timestamp_seconds", "Close time of the newest closed bar.", OF_SYMBOL
        )
        self.bar_revisions = self._counter("bar_revisions_total", "Revisions of bars already closed.", OF_SYMBOL)
        self.bar_audits = self._counter(
            "bar_audits_total", "Bars compared with the venue's own candle, by outcome.", (*OF_SYMBOL, "result")
        )

    def _prepare_bars(self, instrument: Instrument) -> None:
        self.bar_last_close_timestamp.labels(*instrument).set(UNKNOWN)
        self.bar_revisions.labels(*instrument)
        for completeness in Completeness:
            self.bars.labels(*instrument, completeness.value)
        for result in AUDIT_RESULTS:
            self.bar_audits.labels(*instrument, result)
