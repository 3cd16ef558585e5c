"""Paths that tests share: the repository, and the real bars, trades and frames that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
HOURLY = SHARED / "data" / "hourly"
RECORDINGS = SHARED / "recordings"
