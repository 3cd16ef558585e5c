"""Progress of the store's thread, from which its health is derived. No I/O."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from daemon.errors import Retryable
from daemon.store.errors import StoreDamaged, StoreFull


class FaultKind(StrEnum):
    """What a store fault needs: room, another try, or an operator.

    FULL and UNAVAILABLE end with the next write that succeeds; DAMAGED lasts until the daemon is started again.
    """

    FULL = "full"
    UNAVAILABLE = "unavailable"
    DAMAGED = "damaged"


class StoreFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why writes fail since wall time ``since_s``; ``reason`` names the file and the cure."""

    kind: FaultKind
    reason: str
    since_s: float


class StoreProgress(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the store's thread; all times are wall times.

    last_success_s: when a call last succeeded; None before the first. busy_since_s: when the call that runs or is
    retried now was begun; None while the thread is idle, so that a hung disk differs from an idle store. fault: None
    while writes succeed.
    """

    last_success_s: float | None = None
    busy_since_s: float | None = None
    fault: StoreFault | None = None


def fault_of(error: Exception, since_s: float) -> StoreFault | None:
    """The fault that ``error`` shows; None for an error of one call, after which the store still works."""
    if isinstance(error, StoreFull):
        kind = FaultKind.FULL
    elif isinstance(error, StoreDamaged):
        kind = FaultKind.DAMAGED
    elif isinstance(error, Retryable):
        kind = FaultKind.UNAVAILABLE
    else:
        return None
    return StoreFault(kind=kind, reason=str(error), since_s=since_s)
