"""Builds the components of one daemon, runs them and routes events between them."""
