"""Delivers issued forecasts: stored, then published; published as not stored where the store cannot take them in time.

A stored forecast is published after its save, so that after a crash the same bytes are published again. A store without
room must not silence the daemon: after ``STORE_WAIT_S`` a forecast is published with ``stored: false``, and those bytes
are stored once there is room.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from daemon.errors import DataFault
from daemon.forecasting.records import IssuedForecast
from daemon.forecasting.scoreboard import Scoreboard
from daemon.publishing import payloads
from daemon.runtime.reporting import Reporting
from daemon.runtime.store_losses import StoreLosses, loss_reason
from daemon.serving.confirmations import ForecastStep
from daemon.serving.metrics import seconds
from daemon.store.backlog import Record
from daemon.store.errors import ForecastConflict
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from daemon.store.thread import StoreThread
from features.market import Instrument

log = structlog.get_logger(__name__)

STORE_WAIT_S = 1.0
_OVERHEAD_BYTES = 2_000


class ForecastDelivery:
    """``latest`` is the last published forecast of each instrument.

    on_published: called with each forecast and its payload when it goes to the broker.
    """

    def __init__(
        self,
        ledger: Ledger,
        thread: StoreThread,
        losses: StoreLosses,
        *,
        scoreboard: Scoreboard,
        reporting: Reporting,
        on_published: Callable[[IssuedForecast, bytes], None],
    ) -> None:
        self._ledger = ledger
        self._thread = thread
        self._losses = losses
        self._scoreboard = scoreboard
        self._reporting = reporting
        self._on_published = on_published
        self._loop = asyncio.get_running_loop()
        self.latest: dict[Instrument, IssuedForecast] = {}

    def deliver(self, issued: IssuedForecast, *, closed_s: float) -> None:
        """Stores and publishes one forecast; returns at once. ``closed_s``: wall time of its bar's close."""
        forecast = issued.forecast
        instrument = Instrument(forecast.venue, forecast.symbol)
        try:
            payload = payloads.forecast(issued)
        except DataFault as error:
            # A number that JSON cannot represent: this forecast is dropped, and the daemon continues.
            log.error("forecast_withheld", id=issued.id, kind=forecast.model.kind, reason=str(error))  # noqa: TRY400
            self._scoreboard.withdraw(issued.id, instrument)
            return
        save = _ForecastSave(
            issued,
            payload,
            topic=self._reporting.messages.topics.forecast(instrument, forecast.interval_us),
            pending=self._scoreboard.pending_record(issued.id, instrument),
        )
        saved = self._thread.write(Record.FORECASTS, save.size_bytes, save.run, self._ledger)
        wait_s = 0.0 if self._thread.progress.fault else STORE_WAIT_S
        waiting = self._loop.call_later(wait_s, self._publish_unstored, save, closed_s, "waiting")

        def done(future: Future[bytes]) -> None:
            waiting.cancel()
            if not future.cancelled():
                self._saved(save, future, closed_s)

        def done_in_thread(future: Future[bytes]) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(done, future)

        saved.add_done_callback(done_in_thread)

    def _saved(self, save: _ForecastSave, future: Future[bytes], closed_s: float) -> None:
        issued, forecast = save.issued, save.issued.forecast
        instrument = Instrument(forecast.venue, forecast.symbol)
        error = future.exception()
        if error is None:
            self._reporting.health.forecast_done(instrument, forecast.close_time_us, ForecastStep.STORED)
            if not save.published:
                self._publish(save, future.result(), closed_s)
            self._reporting.metrics.forecasts.labels(*instrument, issued.source).inc()
            log.info("forecast_issued", id=issued.id, source=issued.source, kind=forecast.model.kind)
            return
        self._losses.record(Record.FORECASTS, 1, error)
        if isinstance(error, ForecastConflict):
            self._keep_stored(save, str(error), closed_s)
        else:
            self._publish_unstored(save, closed_s, loss_reason(error))

    def _keep_stored(self, save: _ForecastSave, reason: str, closed_s: float) -> None:
        """Publishes and scores the forecast that was stored first, which stands."""
        forecast = save.issued.forecast
        log.warning("forecast_stands", id=save.issued.id, reason=reason)
        self._scoreboard.withdraw(save.issued.id, Instrument(forecast.venue, forecast.symbol))
        if save.stored_record is not None:
            self._scoreboard.load([save.stored_record], [])
        if save.stored_payload is not None:
            instrument = Instrument(forecast.venue, forecast.symbol)
            for step in (ForecastStep.FORECAST, ForecastStep.STORED):
                self._reporting.health.forecast_done(instrument, forecast.close_time_us, step)
            self._reporting.messages.forecast(forecast, save.stored_payload, closed_s)

    def _publish_unstored(self, save: _ForecastSave, closed_s: float, reason: str) -> None:
        if save.published or (payload := save.mark_unstored()) is None:
            return
        instrument = Instrument(save.issued.forecast.venue, save.issued.forecast.symbol)
        self._reporting.metrics.forecasts_unstored.labels(*instrument, reason).inc()
        log.error("forecast_not_stored", id=save.issued.id, reason=reason)
        self._publish(save, payload, closed_s)

    def _publish(self, save: _ForecastSave, payload: bytes, closed_s: float) -> None:
        issued, forecast = save.issued, save.issued.forecast
        save.published = True
        instrument = Instrument(forecast.venue, forecast.symbol)
        self.latest[instrument] = issued
        self._reporting.messages.forecast(forecast, payload, closed_s)
        self._reporting.metrics.forecast_last_timestamp.labels(*instrument).set(seconds(issued.issued_at_us))
        self._reporting.health.forecast_done(instrument, forecast.close_time_us, ForecastStep.FORECAST)
        self._on_published(issued, payload)


class _ForecastSave:
    """One forecast on its way into the store. ``published``: it went to the broker, stored or not.

    stored_payload, stored_record: of the forecast that is stored under the id, after a conflict.
    """

    def __init__(self, issued: IssuedForecast, payload: bytes, *, topic: str, pending: bytes) -> None:
        self.issued = issued
        self.published = False
        self.stored_payload: bytes | None = None
        self.stored_record: bytes | None = None
        self._payload = payload
        self._topic = topic
        self._pending = pending
        self._saved = False
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return len(self._payload) + len(self._pending) + _OVERHEAD_BYTES

    def mark_unstored(self) -> bytes | None:
        """The payload that says that it is not stored, which replaces the other; None where that is stored already."""
        with self._lock:
            if self._saved:
                return None
            self._payload = payloads.forecast(self.issued, stored=False)
            return self._payload

    def run(self, ledger: Ledger) -> bytes:
        """Saves the forecast, in the store's thread, and returns the stored payload. Raises the ledger's errors."""
        payload = self._payload
        try:
            ledger.save_forecast(self._row(payload), pending_record=self._pending, reading=self.issued.forecast.reading)
        except ForecastConflict:
            self.stored_payload = ledger.forecast_payload(self.issued.id)
            self.stored_record = ledger.pending_record(self.issued.id)
            raise
        with self._lock:
            self._saved = True
            published = self._payload
        if published is not payload:  # it was published as not stored while this save hung
            ledger.replace_payload(self.issued.id, published)
        return published

    def _row(self, payload: bytes) -> StoredForecast:
        forecast = self.issued.forecast
        return StoredForecast(
            id=self.issued.id,
            venue=forecast.venue,
            symbol=forecast.symbol,
            interval_us=forecast.interval_us,
            close_time_us=forecast.close_time_us,
            valid_until_us=payloads.valid_until_us(forecast),
            topic=self._topic,
            payload=payload,
        )
