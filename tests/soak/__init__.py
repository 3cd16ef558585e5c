"""Hundreds of bars on every venue under a seeded schedule of faults, and a check of every promise afterwards."""
