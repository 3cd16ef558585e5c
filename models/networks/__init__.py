"""The networks: one file a kind, what they share, and the forecaster that serves them."""
