"""Faults of the simulated exchange: their plan, their injection, and their log."""
