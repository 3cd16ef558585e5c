"""Attention of a stored forecast: read from the store, shown as text, JSON and a picture."""
