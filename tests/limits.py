"""How long tests wait for what must happen: much longer than it takes, because the machine may stall for seconds."""

from __future__ import annotations

LIMIT_S = 120.0
SLACK_S = 10.0  # on top of a promised duration
