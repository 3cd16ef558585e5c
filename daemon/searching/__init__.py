"""Trials, order, storage and report of ``forecastd search``."""
