"""Trained models on disk: immutable artifact folders with checksums, and their registry."""
