"""Scores every forecast when its truth is known, beside the baselines on the same target. No I/O.

A forecast of horizon h made at a bar's close matures at the close of the h-th bar after it. Its truth is
log(close / reference price). A bar proven to hold no trade keeps the last known close; any other bar without a price
leaves the forecast unscored, which is counted. Calibration learns from the same truths; a calibrated forecast is scored
beside the raw one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from daemon.forecasting.calibration import Calibration
from daemon.forecasting.pending import DueForecast, UnscoredForecast, decode, encode, score_due, unscored_forecast
from daemon.forecasting.records import CalibrationState, IssuedForecast, Score, Skill
from daemon.forecasting.score_rows import ScoreRow, score_row
from daemon.forecasting.target_history import BASELINES, TargetHistory, Targets
from daemon.intervals import interval_name
from features.market import Bar, Completeness, Instrument
from models.forecast import Forecast

_DAY_US = 86_400_000_000
_EXPIRY_BARS = 48  # a bar missing for two days of hourly bars was lost in an outage
_MOST_TARGETS = 8_640  # bounds memory where bars are short: twelve hours of 5 s bars, 30 days of 5 min bars
_NEEDED_LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


class PendingChanges(msgspec.Struct, frozen=True):
    """What one or more bars changed, for the store.

    settled: ids of forecasts with no horizon left to score. still_pending: the new records of the others, by id.
    calibrations: the calibration states that the same truths changed.
    """

    settled: tuple[str, ...]
    still_pending: dict[str, bytes]
    calibrations: tuple[CalibrationState, ...] = ()


class Scoreboard:
    """Scores forecasts as their truth arrives and summarises the recent scores.

    window_days: market time that ``skill`` and ``table`` cover, at most 8,640 bars. calibration: learns from the
    truths; None where forecasts are not calibrated.
    Raises ValueError for levels from which the 80% and 95% intervals or the median cannot be read.
    """

    def __init__(
        self,
        *,
        interval_us: int,
        levels: Sequence[float],
        window_days: int = 30,
        calibration: Calibration | None = None,
    ) -> None:
        absent = [level for level in _NEEDED_LEVELS if level not in levels]
        if absent:
            raise ValueError(f"quantile levels {absent} are missing; scoring needs {list(_NEEDED_LEVELS)}")
        self.interval_us = interval_us
        self._levels = tuple(levels)
        self._window_us = min(window_days * _DAY_US, _MOST_TARGETS * interval_us)
        self.calibration = calibration
        self._pending: dict[Instrument, dict[str, UnscoredForecast]] = {}
        self._changed: dict[str, UnscoredForecast] = {}
        self._history: dict[Instrument, dict[int, TargetHistory]] = {}
        self._kind: dict[Instrument, str] = {}
        self._last_close: dict[Instrument, tuple[int, float]] = {}
        self._skills: dict[Instrument, dict[tuple[int, str], Skill]] = {}  # cache, cleared by the instrument's bars
        self._newest_us: dict[Instrument, int] = {}
        self._unscored = Counter(no_price=0, no_bar=0, other_configuration=0)

    @property
    def window(self) -> str:
        """The window's length as text, e.g. ``30d``."""
        return interval_name(self._window_us)

    @property
    def window_us(self) -> int:
        """The market time of bar closes that ``skill`` covers."""
        return self._window_us

    @property
    def pending(self) -> int:
        """Targets that wait for their truth."""
        return sum(len(each.waiting) for waiting in self._pending.values() for each in waiting.values())

    @property
    def unscored(self) -> Mapping[str, int]:
        """Targets without a truth since the start, by reason: no_price, no_bar, other_configuration."""
        return dict(self._unscored)

    # ---------------------------------------------------------------- forecasts in, truth in

    def register(self, issued: IssuedForecast, baselines: Sequence[Forecast]) -> None:
        """Registers every horizon of an issued forecast beside the baselines' forecasts of the same moment.

        Raises ValueError for another interval or other levels than the scoreboard's, and for baselines of other
        targets than the issued forecast's.
        """
        pending = unscored_forecast(issued, baselines)
        if not self._fits(pending):
            raise ValueError(f"{issued.id} has another interval or other levels than the scoreboard")
        self._add_pending(pending)

    def withdraw(self, forecast_id: str, instrument: Instrument) -> None:
        """Forgets a registered forecast that was not published: it is not scored."""
        self._pending.get(instrument, {}).pop(forecast_id, None)
        self._changed.pop(forecast_id, None)

    def bar_closed(self, bar: Bar) -> list[Score]:
        """Scores everything that matures at this bar's close. Bars come oldest first; a repeated bar has no effect."""
        self._note_time(bar.instrument, bar.close_time_us)
        close = self._reference_close(bar)
        waiting = self._pending.get(bar.instrument, {})
        due: list[DueForecast] = []
        for pending in list(waiting.values()):
            before = len(pending.waiting)
            due += self._take_due(pending, bar, close)
            self._drop_expired(pending, bar.close_time_us)
            if len(pending.waiting) < before:
                self._changed[pending.id] = pending
            if not pending.waiting:
                del waiting[pending.id]
        scores = score_due(due, at_us=bar.known_at_us)
        for target in scores:
            self._add_target(target)
        if self.calibration is not None:
            self.calibration.learn(bar.instrument, [matured for each in due for matured in each.matured()])
        return [score for target in scores for score in target]

    def _note_time(self, instrument: Instrument, time_us: int) -> None:
        """The instrument's window of scores ends at its newest time."""
        self._skills.pop(instrument, None)
        self._newest_us[instrument] = max(self._newest_us.get(instrument, 0), time_us)

    def _fits(self, pending: UnscoredForecast) -> bool:
        return pending.interval_us == self.interval_us and pending.levels == self._levels

    def _add_pending(self, pending: UnscoredForecast) -> None:
        self._pending.setdefault(pending.instrument, {})[pending.id] = pending
        self._kind[pending.instrument] = pending.kind
        # The reference price is the last known close; after a restart there is no other source for it.
        known_us, _ = self._last_close.get(pending.instrument, (0, math.nan))
        if pending.close_time_us >= known_us:
            self._last_close[pending.instrument] = (pending.close_time_us, pending.reference_price)

    def _reference_close(self, bar: Bar) -> float | None:
        """The price at the bar's close, None where it is unknown."""
        known_us, last = self._last_close.get(bar.instrument, (0, math.nan))
        if bar.close is not None:
            if bar.close_time_us >= known_us:
                self._last_close[bar.instrument] = (bar.close_time_us, bar.close)
            return bar.close
        if bar.completeness is Completeness.EMPTY and 0 < known_us <= bar.close_time_us:
            return last
        return None

    def _take_due(self, pending: UnscoredForecast, bar: Bar, close: float | None) -> Iterator[DueForecast]:
        """The horizon whose target is this bar, which waits no longer; none where its truth is unknown."""
        horizon = (bar.close_time_us - pending.close_time_us) // self.interval_us
        if horizon not in pending.waiting:
            return
        pending.waiting.remove(horizon)
        if close is None:
            self._unscored["no_price"] += 1
        else:
            yield DueForecast(pending, horizon, math.log(close / pending.reference_price))

    def _drop_expired(self, pending: UnscoredForecast, now_us: int) -> None:
        age_bars = (now_us - pending.close_time_us) // self.interval_us
        still = [horizon for horizon in pending.waiting if age_bars <= horizon + _EXPIRY_BARS]
        self._unscored["no_bar"] += len(pending.waiting) - len(still)
        pending.waiting = still

    def _add_target(self, scores: Sequence[Score]) -> None:
        issued = next(score for score in scores if score.role == "issued")
        by_horizon = self._history.setdefault(Instrument(issued.venue, issued.symbol), {})
        if issued.horizon_bars not in by_horizon:
            by_horizon[issued.horizon_bars] = TargetHistory(self._window_us // self.interval_us)
        baselines = {score.kind: score for score in scores if score.role == "baseline"}
        raw = next((score for score in scores if score.role == "raw"), None)
        by_horizon[issued.horizon_bars].append(issued, baselines, raw)

    # ---------------------------------------------------------------- skill

    def skill(self, venue: str, symbol: str, *, kind: str | None = None, horizon_bars: int | None = None) -> Skill:
        """Live skill of the forecasts of ``kind`` (default: the last issued) at one horizon (default: the first).

        A kind that a baseline replaced for a while keeps its own targets in the window.
        """
        instrument = Instrument(venue, symbol)
        kind = kind or self._kind.get(instrument)
        by_horizon = self._history.get(instrument, {})
        horizon = horizon_bars or min(by_horizon, default=None)
        if kind is None or horizon not in by_horizon:
            return Skill(window=self.window, scored=0)
        skills = self._skills.setdefault(instrument, {})
        known = skills.get((horizon, kind))
        if known is None:
            targets = self._targets(instrument, horizon, kind)
            known = score_row(instrument, horizon, targets, kind=kind, role="issued", window=self.window).skill()
            skills[horizon, kind] = known
        return known

    def widths(self, instrument: Instrument, horizon_bars: int) -> dict[float, float]:
        """By how much calibration widens the last issued kind's intervals, by coverage; empty without calibration."""
        kind = self._kind.get(instrument)
        if self.calibration is None or kind is None:
            return {}
        return self.calibration.widths(instrument, kind, horizon_bars)

    def table(self) -> list[ScoreRow]:
        """One row per venue, symbol, horizon and kind: the last issued kind, then the baselines."""
        return [
            row
            for instrument, by_horizon in sorted(self._history.items())
            for horizon in sorted(by_horizon)
            for row in self._rows(instrument, horizon)
        ]

    def _rows(self, instrument: Instrument, horizon: int) -> Iterable[ScoreRow]:
        issued = self._kind[instrument]
        targets = self._targets(instrument, horizon, issued)
        yield score_row(instrument, horizon, targets, kind=issued, role="issued", window=self.window)
        for kind in BASELINES:
            if kind != issued:
                yield score_row(instrument, horizon, targets, kind=kind, role="baseline", window=self.window)

    def _targets(self, instrument: Instrument, horizon: int, kind: str) -> Targets:
        newest_origin_us = self._newest_us.get(instrument, 0) - horizon * self.interval_us
        return self._history[instrument][horizon].targets(kind, after_us=newest_origin_us - self._window_us)

    # ---------------------------------------------------------------- restart

    def dump(self) -> dict[str, bytes]:
        """The encoded records of all pending forecasts, by forecast id."""
        return {each.id: encode(each) for waiting in self._pending.values() for each in waiting.values()}

    def pending_record(self, forecast_id: str, instrument: Instrument) -> bytes:
        """The encoded record of one pending forecast. Raises KeyError for any other."""
        return encode(self._pending[instrument][forecast_id])

    def take_changes(self) -> PendingChanges:
        """The changes since the last call, to be stored together with the scores."""
        changed, self._changed = self._changed, {}
        return PendingChanges(
            settled=tuple(name for name, pending in changed.items() if not pending.waiting),
            still_pending={name: encode(pending) for name, pending in changed.items() if pending.waiting},
            calibrations=() if self.calibration is None else self.calibration.take_changes(),
        )

    def load(self, pending: Iterable[bytes], scores: Iterable[Score]) -> None:
        """Restores pending records (see ``dump``) and the scores of the window, which may be in any order.

        A record may be older than the scores: horizons that have a score are not scored again. Records of another
        interval or other levels count as unscored and settled. Raises msgspec.DecodeError for bytes that no scoreboard
        wrote.
        """
        for each in sorted(map(decode, pending), key=lambda each: each.close_time_us):
            if self._fits(each):
                self._add_pending(each)
            else:
                self._unscored["other_configuration"] += len(each.waiting)
                each.waiting = []
                self._changed[each.id] = each
        self.replay(scores)

    def replay(self, scores: Iterable[Score]) -> None:
        """Restores more scores, after ``load``: of later bar closes than those before, in any order among them."""
        for target in _by_target(scores):
            self._replay_target(target)

    def _replay_target(self, scores: Sequence[Score]) -> None:
        issued = next((score for score in scores if score.role == "issued"), None)
        if issued is None:
            return
        instrument = Instrument(issued.venue, issued.symbol)
        self._add_target(scores)
        waiting = self._pending.get(instrument, {})
        if not waiting:
            self._kind[instrument] = issued.kind
        self._note_time(instrument, issued.close_time_us + issued.horizon_bars * self.interval_us)
        for pending in [each for each in waiting.values() if each.close_time_us == issued.close_time_us]:
            if issued.horizon_bars in pending.waiting:
                pending.waiting.remove(issued.horizon_bars)
                self._changed[pending.id] = pending
            if not pending.waiting:
                del waiting[pending.id]


def _by_target(scores: Iterable[Score]) -> list[list[Score]]:
    """Scores grouped by target, oldest target first."""
    grouped: dict[tuple[int, int, str, str], list[Score]] = {}
    for score in scores:
        grouped.setdefault((score.close_time_us, score.horizon_bars, score.venue, score.symbol), []).append(score)
    return [grouped[key] for key in sorted(grouped)]
