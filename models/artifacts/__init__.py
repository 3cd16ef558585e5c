"""Trained models on disk: immutable folders with hashes, and the registry of them."""
