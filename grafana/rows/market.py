"""Dashboard rows of freshness, bars and latency, from the venue's trades to the published message.

Bars close once per interval, so no query takes their rate over minutes: bars are counted over windows, quantiles cover
several bars, and gauges show the newest values.
"""

from __future__ import annotations

from grafana.panels import (
    QUANTILE_WINDOW,
    Panel,
    Query,
    Row,
    age,
    increase,
    of_instance,
    of_symbol,
    per_second,
    quantile,
)

FRESHNESS = Row(
    "Freshness",
    (
        Panel(
            "Streams connected",
            "Share of the configured symbols whose stream the venue has acknowledged. Below 100%: the status page and "
            "the log name the symbol and the reason.",
            "percentunit",
            (Query(f"avg by (instance) ({of_instance('feed_connected')})", "{{instance}}"),),
            stat=True,
            width=4,
            minimum=0,
            maximum=1,
        ),
        Panel(
            "Reconnects",
            "Connections lost and made again in the last hour. One a day is the venue's own rule.",
            "short",
            (Query(increase(of_symbol("feed_reconnects_total"), by="symbol"), "{{symbol}}"),),
            stat=True,
            width=4,
            minimum=0,
        ),
        Panel(
            "Age of the newest trade",
            "Market time since the newest trade. A quiet market is old too: the daemon asks the venue before it "
            "calls a feed stale.",
            "s",
            (Query(age(of_symbol("feed_last_trade_timestamp_seconds")), "{{symbol}}"),),
            minimum=0,
        ),
        Panel(
            "Age of the newest bar and forecast",
            "Market time since the newest bar closed and since the newest forecast was issued. Both climb to one "
            "interval and fall back to zero.",
            "s",
            (
                Query(age(of_symbol("bar_last_close_timestamp_seconds")), "bar {{symbol}}"),
                Query(age(of_symbol("forecast_last_timestamp_seconds")), "forecast {{symbol}}"),
            ),
            minimum=0,
        ),
        Panel(
            "Trades",
            "Trades accepted into the sequence, per second of wall time.",
            "cps",
            (Query(per_second(of_symbol("trades_total"), by="symbol"), "{{symbol}}"),),
            minimum=0,
        ),
        Panel(
            "Feed delay",
            "Receipt minus event time: the way from the venue plus the difference of the two clocks.",
            "s",
            (
                Query(quantile(0.5, "feed_delay_seconds"), "median {{venue}}"),
                Query(quantile(0.99, "feed_delay_seconds"), "99% {{venue}}"),
                Query(of_instance("clock_skew_seconds"), "clock skew {{venue}}"),
                Query(of_instance("venue_clock_set_aside"), "clock set aside {{venue}}"),
            ),
        ),
        Panel(
            "Missing, duplicate, malformed",
            "Trade ids known to be missing now; duplicates, gaps and unreadable frames of the last hour. Missing ids "
            "are fetched through REST before their bar is used.",
            "short",
            (
                Query(of_symbol("trades_missing"), "missing {{symbol}}"),
                Query(increase(of_symbol("trades_duplicate_total"), by="symbol"), "duplicate {{symbol}}"),
                Query(increase(of_symbol("trade_gaps_total"), by="symbol"), "gaps {{symbol}}"),
                Query(increase(of_symbol("trade_gaps_repaired_total"), by="symbol"), "repaired {{symbol}}"),
                Query(increase(of_instance("frames_malformed_total"), by="venue"), "malformed {{venue}}"),
            ),
            minimum=0,
        ),
    ),
)

_PROVEN = of_symbol("bars_total", 'completeness=~"proven|empty"')

BARS = Row(
    "Bars",
    (
        Panel(
            "Proven bars",
            "Share of the bars of the last 6 hours in which every trade id is accounted for.",
            "percentunit",
            (
                Query(
                    f"{increase(_PROVEN, QUANTILE_WINDOW)} / {increase(of_symbol('bars_total'), QUANTILE_WINDOW)}",
                    "proven",
                ),
            ),
            stat=True,
            minimum=0,
            maximum=1,
        ),
        Panel(
            "Bars by verdict",
            "Bars closed in the last hour by what is known of their trades. A gap is upgraded by a revision when the "
            "missing trades arrive.",
            "short",
            (Query(increase(of_symbol("bars_total"), by="completeness"), "{{completeness}}"),),
            minimum=0,
            stacked=True,
        ),
        Panel(
            "Revisions",
            "Bars published again in the last hour, because of late trades or a proof that came after the close.",
            "short",
            (Query(increase(of_symbol("bar_revisions_total"), by="symbol"), "{{symbol}}"),),
            minimum=0,
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            "Newest bar by stage",
            "Wall time of each stage of the newest forecast: wait_for_proof runs from the boundary to the bar declared "
            "closed, publish ends at the broker's PUBACK. The slowest symbol counts.",
            "s",
            (Query(f"max by (stage) ({of_symbol('bar_to_publish_last_seconds')})", "{{stage}}"),),
            minimum=0,
        ),
        Panel(
            "Bar closed to PUBACK",
            "Quantiles over the last 6 hours.",
            "s",
            (
                Query(quantile(0.5, "bar_to_publish_seconds"), "median {{venue}}"),
                Query(quantile(0.99, "bar_to_publish_seconds"), "99% {{venue}}"),
            ),
            minimum=0,
        ),
        Panel(
            "Inference",
            "One batch of all symbols through the model, quantiles over the last 6 hours.",
            "s",
            (
                Query(quantile(0.5, "inference_seconds"), "median {{venue}}"),
                Query(quantile(0.99, "inference_seconds"), "99% {{venue}}"),
            ),
            minimum=0,
        ),
    ),
)
