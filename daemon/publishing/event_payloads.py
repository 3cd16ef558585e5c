"""Messages of the ``event`` topics, made from events of the pipeline and of retraining. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.pipeline.events import BarReconciled, GapOpened, GapRepaired
from daemon.pipeline.sequence import MissingIds
from daemon.publishing.figures import iso_or_none, model_reference
from daemon.publishing.wire import (
    BarAuditMismatch,
    ModelPromoted,
    ModelRejected,
    RetrainFinished,
    RetrainStarted,
    StoreLost,
    StorePruned,
    StoreTooLarge,
    TradeGapOpened,
    TradeGapRepaired,
)
from daemon.timestamps import iso
from models.forecast import ModelInfo


class PrunedRows(Protocol):
    """What was deleted from the store."""

    @property
    def forecasts(self) -> int: ...
    @property
    def scores(self) -> int: ...
    @property
    def until_us(self) -> int | None: ...


def retrain_started(*, at_us: int, model_kind: str, reason: str) -> RetrainStarted:
    return RetrainStarted(at=iso(at_us), model_kind=model_kind, reason=reason)


def retrain_finished(
    *, at_us: int, result: str, duration_s: float, candidate: str | None = None, reason: str | None = None
) -> RetrainFinished:
    return RetrainFinished(
        at=iso(at_us), result=result, duration_s=round(duration_s, 3), candidate=candidate, reason=reason
    )


def model_promoted(*, at_us: int, info: ModelInfo, previous_id: str | None, reason: str) -> ModelPromoted:
    return ModelPromoted(at=iso(at_us), model=model_reference(info), previous_id=previous_id, reason=reason)


def model_rejected(*, at_us: int, candidate: str, reasons: Sequence[str]) -> ModelRejected:
    return ModelRejected(at=iso(at_us), candidate=candidate, reasons=list(reasons))


def bar_audit_mismatch(audit: BarReconciled) -> BarAuditMismatch:
    bar = audit.bar
    return BarAuditMismatch(
        at=iso(audit.at_us),
        venue=bar.venue,
        symbol=bar.symbol,
        open_time=iso(bar.open_time_us),
        completeness=bar.completeness.value,
        differences=dict(audit.differences),
        verdict=audit.verdict,
    )


def gap_opened(opened: GapOpened) -> TradeGapOpened:
    """Ids and count are None where ids are not contiguous; ``before`` is None until the stream is received again."""
    missing = opened.missing
    ids = missing if isinstance(missing, MissingIds) else None
    return TradeGapOpened(
        at=iso(opened.at_us),
        venue=opened.instrument.venue,
        symbol=opened.instrument.symbol,
        first_missing_id=ids.first_id if ids else None,
        last_missing_id=ids.last_id if ids else None,
        missing_trades=ids.count if ids else None,
        after=iso(missing.after_us, milliseconds=True),
        before=iso_or_none(missing.before_us),
    )


def gap_repaired(repaired: GapRepaired) -> TradeGapRepaired:
    return TradeGapRepaired(
        at=iso(repaired.at_us),
        venue=repaired.instrument.venue,
        symbol=repaired.instrument.symbol,
        trades=repaired.trades,
    )


def store_pruned(pruned: PrunedRows, *, at_us: int) -> StorePruned:
    return StorePruned(
        at=iso(at_us),
        forecasts=pruned.forecasts,
        scores=pruned.scores,
        until=None if pruned.until_us is None else iso(pruned.until_us),
    )


def store_too_large(*, at_us: int, used_bytes: int, limit_bytes: int, reason: str) -> StoreTooLarge:
    return StoreTooLarge(at=iso(at_us), used_bytes=used_bytes, limit_bytes=limit_bytes, reason=reason)


def store_lost(*, at_us: int, record: str, count: int, reason: str, detail: str) -> StoreLost:
    return StoreLost(at=iso(at_us), record=record, count=count, reason=reason, detail=detail)
