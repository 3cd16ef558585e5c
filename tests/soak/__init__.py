"""Hundreds of bars on every venue under a seeded schedule of faults, and what they are worth afterwards."""
