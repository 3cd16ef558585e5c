"""Bars from trades, feature rows from bars, and windows and labels from rows: pure functions and records."""
