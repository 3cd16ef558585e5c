"""How long to wait for what, and whether a quiet instrument is due for a question. No I/O."""

from __future__ import annotations

import msgspec

CATCH_UP_S = 30.0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for what. ``*_us`` are market time (already scaled), ``*_s`` wall time.

    catch_up_s: after a start no bar closes without proof for so long, unless the venue has been asked before.
    unheard_age_us: a trade that the venue knows and the stream did not bring counts as unheard at this age.
    clock_margin_us: by how much market time and the venue's may differ. furthest_ahead_us: a trade that is further
    ahead of market time than this is nonsense, not news.
    """

    grace_us: int
    proof_wait_us: int
    answer_timeout_s: float = 60.0
    stale_after_s: float = 30.0
    halted_after_s: float = 600.0
    catch_up_s: float = CATCH_UP_S
    unheard_age_us: int = 5_000_000
    clock_margin_us: int = 1_000_000
    furthest_ahead_us: int = 60_000_000


class StalenessTimer:
    """When the stream was last heard, and when the venue was last probed because it was not."""

    __slots__ = ("_heard_s", "_probed_s")

    def __init__(self) -> None:
        self._heard_s: float | None = None
        self._probed_s = 0.0

    def heard(self, wall_s: float) -> None:
        self._heard_s = wall_s

    def quiet_for_s(self, wall_s: float) -> float:
        if self._heard_s is None:
            self._heard_s = wall_s
        return wall_s - self._heard_s

    def probe_due(self, wall_s: float, stale_after_s: float) -> bool:
        """Whether the stream was quiet, and the venue not asked about it, for longer than ``stale_after_s``."""
        return min(self.quiet_for_s(wall_s), wall_s - self._probed_s) > stale_after_s

    def probed(self, wall_s: float) -> None:
        self._probed_s = wall_s
