"""The networks: one file per kind, shared parts, and the forecaster that serves them."""
