"""Counts of a demo run: verdicts, bars compared with the real ones, forecasts by instrument."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from daemon.simulator.market_data import MarketData
from features.market import Bar, Completeness, Instrument


@dataclass(slots=True)
class DemoTally:
    """``different`` has one line for each bar that differs from the real one."""

    verdicts: Counter[str] = field(default_factory=Counter)
    equal: int = 0
    different: list[str] = field(default_factory=list)
    last_source: dict[Instrument, str] = field(default_factory=dict)
    forecasts: Counter[Instrument] = field(default_factory=Counter)

    def count_bar(self, bar: Bar, market: MarketData) -> None:
        """Counts the first verdict of a bar, and compares a proven one with the market."""
        if bar.revision == 0:
            self.verdicts[bar.completeness.value] += 1
        if bar.completeness in {Completeness.PROVEN, Completeness.EMPTY}:
            differing = differences(bar, market)
            if differing:
                self.different.append(f"{bar.label}: {differing}")
            else:
                self.equal += 1

    def count_forecast(self, instrument: Instrument, source: str) -> None:
        self.last_source[instrument] = source
        self.forecasts[instrument] += 1


def differences(bar: Bar, market: MarketData) -> str:
    """The fields in which a live bar differs from the real one of its hour; empty where they are equal.

    Prices, count and base volumes must be equal, quote volumes to one part in a million.
    """
    real = market.series[bar.symbol.replace("-", "")]
    figures = real.figures((bar.open_time_us - market.start_us) // market.interval_us)
    tick, lot = 10.0**-real.price_decimals, 10.0**-real.size_decimals
    exact = {
        "open": (bar.open, figures.open * tick),
        "high": (bar.high, figures.high * tick),
        "low": (bar.low, figures.low * tick),
        "close": (bar.close, figures.close * tick),
        "volume": (bar.volume, figures.volume * lot),
        "taker_buy_volume": (bar.taker_buy_volume, figures.taker_buy_volume * lot),
    }
    wrong = [name for name, (ours, theirs) in exact.items() if ours is None or abs(ours - theirs) > lot / 100]
    quote = figures.quote_volume * tick * lot
    if bar.trades != figures.trades:
        wrong.append("trades")
    if bar.quote_volume is None or abs(bar.quote_volume - quote) > 1e-6 * quote:
        wrong.append("quote_volume")
    return ", ".join(wrong)
