"""Deterministic simulation of the pipeline: one seed decides market, network, venue, store and kills."""
