"""How long each component may make no progress before the daemon is degraded, and before only a restart helps."""

from __future__ import annotations

import msgspec

from daemon.serving.progress import ProgressBounds

_EARLIEST_CONFIRMED_S, _LATEST_CONFIRMED_S = 10.0, 60.0


class HealthLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long each component may make no progress on its work, in wall seconds; None: never unhealthy.

    round: features or revisions of one close. history: loading the stored history, minutes for thousands of symbols.
    device: one forward pass. loading: one artifact. store: one call. damaged: since the store was found damaged.
    confirmations: of the broker, while messages wait. publisher, feed: neither a message nor an attempt to connect,
    past the longest pause between two attempts. bars: past a bar's close. training: no step reported.
    end_s: from unhealthy to the end of the daemon, past a service manager's watchdog.
    """

    round: ProgressBounds = ProgressBounds(30.0, 180.0)
    history: ProgressBounds = ProgressBounds(900.0, 3_600.0)
    device: ProgressBounds = ProgressBounds(10.0, 300.0)
    loading: ProgressBounds = ProgressBounds(150.0, 600.0)
    store: ProgressBounds = ProgressBounds(30.0, 300.0)
    damaged: ProgressBounds = ProgressBounds(1.0, 60.0)
    confirmations: ProgressBounds = ProgressBounds(60.0, None)
    publisher: ProgressBounds = ProgressBounds(700.0, 1_400.0)
    feed: ProgressBounds = ProgressBounds(700.0, None)
    bars: ProgressBounds = ProgressBounds(60.0, None)
    training: ProgressBounds = ProgressBounds(900.0, None)
    end_s: float = 60.0


def confirmed_within_s(bar_wall_s: float) -> float:
    """Wall seconds from a bar's close until its forecast must be confirmed: half a bar, ten seconds to a minute."""
    return min(max(bar_wall_s / 2, _EARLIEST_CONFIRMED_S), _LATEST_CONFIRMED_S)
