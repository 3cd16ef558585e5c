"""Metrics of the trade feed: connection, trades, gaps and clocks of each instrument and venue."""

from __future__ import annotations

from daemon.pipeline.events import SymbolState
from daemon.serving.metrics.family import OF_SYMBOL, UNKNOWN, MetricFamily
from features.market import Instrument

# Receipt minus event: a healthy feed lies between 5 and 500 ms; above 10 s the feed is behind.
FEED_DELAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class FeedMetrics(MetricFamily):
    """Trades, gaps, feed state, delay and clock skew."""

    def show_state(self, instrument: Instrument, state: SymbolState) -> None:
        """Shows which of its states a symbol is in."""
        for each in SymbolState:
            self.symbol_state.labels(*instrument, each.value).set(int(each is state))

    def _define_feed(self) -> None:
        self.trades = self._counter("trades_total", "Trades accepted into the sequence.", OF_SYMBOL)
        self.trades_duplicate = self._counter("trades_duplicate_total", "Trades dropped as already seen.", OF_SYMBOL)
        self.frames_malformed = self._counter("frames_malformed_total", "Frames that could not be read.", ("venue",))
        self.candles_rejected = self._counter(
            "candles_rejected_total", "Candles of the venue that were left out as impossible.", ("venue",)
        )
        self.feed_connected = self._gauge("feed_connected", "1 while the symbol's stream is acknowledged.", OF_SYMBOL)
        self.symbol_state = self._gauge(
            "symbol_state", "1 for the state that the symbol is in, 0 for the others.", (*OF_SYMBOL, "state")
        )
        self.feed_reconnects = self._counter("feed_reconnects_total", "Connections lost and made again.", OF_SYMBOL)
        self.feed_last_trade_timestamp = self._gauge(
            "feed_last_trade_timestamp_seconds", "Event time of the newest trade.", OF_SYMBOL
        )
        self.feed_delay = self._histogram(
            "feed_delay_seconds", "Receipt minus event time of a trade.", ("venue",), FEED_DELAY_BUCKETS
        )
        self.clock_skew = self._gauge("clock_skew_seconds", "The venue's clock minus this machine's.", ("venue",))
        self.venue_clock_set_aside = self._gauge(
            "venue_clock_set_aside", "1 while the venue's clock contradicts market time.", ("venue",)
        )
        self.clock_steps = self._counter("clock_steps_total", "Steps of market time to the venues' clocks.")
        self.trade_gaps = self._counter("trade_gaps_total", "Gaps found in the trade ids.", OF_SYMBOL)
        self.trade_gaps_repaired = self._counter("trade_gaps_repaired_total", "Gaps filled through REST.", OF_SYMBOL)
        self.trades_malformed = self._counter(
            "trades_malformed_total", "Trades dropped for an impossible time or id.", OF_SYMBOL
        )
        self.trades_missing = self._gauge("trades_missing", "Trade ids known to be missing now.", OF_SYMBOL)

    def _prepare_feed(self, instrument: Instrument) -> None:
        for counter in (
            self.trades,
            self.trades_duplicate,
            self.trades_malformed,
            self.feed_reconnects,
            self.trade_gaps,
            self.trade_gaps_repaired,
        ):
            counter.labels(*instrument)
        self.feed_connected.labels(*instrument).set(0)
        self.show_state(instrument, SymbolState.WARMING_UP)
        self.feed_last_trade_timestamp.labels(*instrument).set(UNKNOWN)
        self.trades_missing.labels(*instrument).set(0)
        self.frames_malformed.labels(instrument.venue)
        self.candles_rejected.labels(instrument.venue)
        self.clock_skew.labels(instrument.venue).set(UNKNOWN)
        self.venue_clock_set_aside.labels(instrument.venue).set(0)
        self.feed_delay.labels(instrument.venue)
