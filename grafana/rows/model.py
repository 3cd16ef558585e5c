"""Dashboard rows of forecasts with their live skill against the baselines, the serving model and its retraining."""

from __future__ import annotations

from grafana.panels import (
    Panel,
    Query,
    Row,
    against_baseline,
    age,
    increase,
    of_instance,
    of_symbol,
    with_error,
)

FORECASTS = Row(
    "Forecasts and live skill",
    (
        Panel(
            "Forecasts by source",
            "Forecasts issued in the last hour. `baseline` stands in while no model serves or the model failed.",
            "short",
            (Query(increase(of_symbol("forecasts_total"), by="source"), "{{source}}"),),
            minimum=0,
            stacked=True,
        ),
        Panel(
            "Pinball loss beside HAR",
            "Live loss over that of the HAR baseline with one standard error to each side. Below 1 is better; when 1 "
            "lies between the outer lines the difference is not distinguishable from chance.",
            "none",
            against_baseline("skill_pinball_ratio", "har"),
            reference=1,
        ),
        Panel(
            "Pinball loss beside the random walk",
            "Live loss over that of the random walk with one standard error to each side. Below 1 is better.",
            "none",
            against_baseline("skill_pinball_ratio", "random_walk"),
            reference=1,
        ),
        Panel(
            "Squared error beside the random walk",
            "Root mean squared error of the median over that of the random walk, with one standard error to each side. "
            "Values near 1 are the honest expectation for hourly returns.",
            "none",
            against_baseline("skill_rmse_ratio", "random_walk"),
            reference=1,
        ),
        Panel(
            "Coverage of the intervals",
            "Share of the realised returns inside the central 80% and 95% intervals; the target is the level itself.",
            "percentunit",
            (
                Query(
                    of_symbol("skill_coverage_ratio", 'horizon=~"$horizon"'),
                    "{{symbol}} +{{horizon}}, level {{level}}",
                ),
            ),
            minimum=0,
            maximum=1,
            reference=0.8,
        ),
        Panel(
            "Coverage before calibration",
            "Share of the realised returns inside the model's own intervals; calibration moves it to the level.",
            "percentunit",
            (
                Query(
                    of_symbol("skill_raw_coverage_ratio", 'horizon=~"$horizon"'),
                    "{{symbol}} +{{horizon}}, level {{level}}",
                ),
            ),
            minimum=0,
            maximum=1,
            reference=0.8,
        ),
        Panel(
            "CRPS after over before calibration",
            "Ratio with one standard error to each side. Below 1 calibration helps; it costs a model that needs none "
            "about 0.1%.",
            "none",
            with_error("skill_crps_over_raw_ratio"),
            reference=1,
        ),
        Panel(
            "What calibration does",
            "Width of the published interval over that of the model's own, now. 1 changes nothing; a width that keeps "
            "rising or falling is a model that drifts.",
            "none",
            (
                Query(
                    of_symbol("calibration_width_ratio", 'horizon=~"$horizon"', 'level=~"0.8|0.95"'),
                    "{{symbol}} +{{horizon}}, level {{level}}",
                ),
            ),
            reference=1,
        ),
        Panel(
            "Scored forecasts",
            "Forecasts whose realised return is known; the skill figures are computed from them.",
            "short",
            (Query(of_symbol("skill_scored_forecasts", 'horizon=~"$horizon"'), "{{symbol}} +{{horizon}}"),),
            minimum=0,
        ),
    ),
)

RETRAINING = Row(
    "Model and retraining",
    (
        Panel(
            "Model",
            "The model that serves, by kind and id.",
            "none",
            (Query(of_instance("model_info"), "{{kind}} {{id}}"),),
            stat=True,
            width=6,
            words={"1": "serving"},
        ),
        Panel(
            "Age of the training data",
            "Market time since the end of the serving model's training data.",
            "s",
            (Query(age(of_instance("model_trained_until_timestamp_seconds")), "trained until"),),
            stat=True,
            width=6,
        ),
        Panel(
            "Since the last success",
            "Market time since a retraining last led to a promoted model.",
            "s",
            (Query(age(of_instance("retrain_last_success_timestamp_seconds")), "last success"),),
            stat=True,
            width=6,
        ),
        Panel(
            "Duration",
            "Wall time of the newest retraining.",
            "s",
            (Query(of_instance("retrain_duration_seconds"), "duration"),),
            stat=True,
            width=6,
            minimum=0,
        ),
        Panel(
            "Progress",
            "Share of the running retraining that is done; 1 for `running` while one runs.",
            "percentunit",
            (
                Query(of_instance("retrain_progress_ratio"), "progress"),
                Query(of_instance("retrain_running"), "running"),
            ),
            width=12,
            minimum=0,
            maximum=1,
        ),
        Panel(
            "Retrainings by result",
            "Retrainings that ended in the last day.",
            "short",
            (Query(increase(of_instance("retrain_runs_total"), "1d", by="result"), "{{result}}"),),
            width=12,
            minimum=0,
            stacked=True,
        ),
    ),
)
