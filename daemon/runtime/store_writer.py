"""Writes bars, trades, forecasts and scores through the store's thread, in the order of the calls."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import structlog

from daemon.forecasting.records import IssuedForecast, Score
from daemon.forecasting.scoreboard import PendingChanges
from daemon.pipeline.sequence import SequenceState
from daemon.publishing import payloads
from daemon.store.errors import ForecastConflict
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import Bar, Instrument, Trade

log = structlog.get_logger(__name__)


class StoreWriter:
    """The ledger's writes as calls that return at once; ``thread`` performs and retries them."""

    def __init__(self, ledger: Ledger, thread: StoreThread) -> None:
        self._ledger = ledger
        self._thread = thread

    def trades(self, batches: Sequence[tuple[Instrument, Sequence[Trade], SequenceState]]) -> None:
        """Trades with the states that cover them, each pair in one transaction."""
        if batches:
            self._thread.submit(self._ledger.save_trades_of, batches)

    def bar(self, bar: Bar) -> None:
        self._thread.submit(self._ledger.save_bars, [bar])

    def scores(self, scores: Sequence[Score], changes: PendingChanges) -> None:
        """Scores, in one transaction with what they change of pending forecasts and calibration."""
        self._thread.submit(
            self._ledger.save_scores,
            list(scores),
            settled=changes.settled,
            still_pending=changes.still_pending,
            calibrations=changes.calibrations,
        )

    def forecast(self, issued: IssuedForecast, payload: bytes, *, topic: str, pending: bytes) -> Future[bytes]:
        """Stores a forecast; the result is the payload to publish: that of the first forecast of this id.

        pending: the scoreboard's record of the forecast, with which a restart continues.
        """
        return self._thread.submit(self._save_forecast, issued, payload, topic, pending)

    def _save_forecast(self, issued: IssuedForecast, payload: bytes, topic: str, pending: bytes) -> bytes:
        forecast = issued.forecast
        try:
            self._ledger.save_forecast(
                StoredForecast(
                    id=issued.id,
                    venue=forecast.venue,
                    symbol=forecast.symbol,
                    interval_us=forecast.interval_us,
                    close_time_us=forecast.close_time_us,
                    valid_until_us=payloads.valid_until_us(forecast),
                    topic=topic,
                    payload=payload,
                ),
                pending_record=pending,
                reading=forecast.reading,
            )
        except ForecastConflict as error:
            log.warning("forecast_stands", id=issued.id, reason=str(error))
            return self._ledger.forecast_payload(issued.id) or payload
        return payload
