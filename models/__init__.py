"""Forecasting models: networks, baselines, training, evaluation, artifacts and their registry."""
