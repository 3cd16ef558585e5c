"""Finds a stored forecast and its predecessors, or states why it cannot be explained."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from daemon.errors import EXIT_USAGE, Fatal, Unreachable
from daemon.publishing.wire import ForecastMessage
from daemon.store.errors import StoreDamaged
from daemon.store.forecasts import StoredForecast
from daemon.store.ledger import Ledger
from features.market import Instrument
from models.explain import FeatureWeight, FloatArray, Hour, feature_weights, hours
from models.forecast import WindowReading
from models.specification import BASELINE_KINDS, NETWORK_KINDS

LATEST = "latest"
# How far back a network's forecast is looked for where a baseline made the one that was asked for.
_LOOK_BACK = 500


class ExplainRefused(Fatal):
    """The forecast does not exist, or has no attention."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """One row of the heat map. attention: (L,), None for a baseline."""

    id: str
    close_time_us: int
    kind: str
    attention: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """One forecast of a network, with its attention.

    hours: of its window, oldest first. attention: (L,) their weights. features: the heaviest first, empty where
    they are unknown. recent: forecasts of the same instrument, oldest first, this one last.
    missing: what is unknown, with the reason, one sentence each.
    """

    stored: StoredForecast
    message: ForecastMessage
    attention: FloatArray
    hours: tuple[Hour, ...]
    features: tuple[FeatureWeight, ...]
    recent: tuple[Recent, ...]
    missing: tuple[str, ...]

    @property
    def instrument(self) -> Instrument:
        return Instrument(self.stored.venue, self.stored.symbol)


def find(
    ledger: Ledger, wanted: str, *, symbol: str | None = None, last: int, preferred: tuple[Instrument, ...] = ()
) -> Explained:
    """The forecast with the id ``wanted``, or the newest, and up to ``last`` until it.

    symbol: BASE-QUOTE or venue:BASE-QUOTE, for the newest of one. preferred: of equally new ones the first of these.

    Raises:
        Unreachable: there are no forecasts yet.
        ExplainRefused: there is no such forecast, or a baseline made it.
    """
    newest = ledger.latest_forecasts()
    if not newest:
        raise Unreachable(f"{ledger.path} holds no forecasts yet; forecastd run makes them at every bar close")
    stored = _newest(newest, symbol, preferred) if wanted == LATEST else _by_id(ledger, wanted, symbol, newest)
    return _explained(ledger, stored, last)


def _newest(newest: list[StoredForecast], symbol: str | None, preferred: tuple[Instrument, ...]) -> StoredForecast:
    chosen = [each for each in newest if symbol is None or _is(each, symbol)]
    if not chosen:
        there = ", ".join(dict.fromkeys(str(Instrument(each.venue, each.symbol)) for each in newest))
        raise ExplainRefused(f"--symbol was {symbol}; there are forecasts of {there}")
    places = {instrument: place for place, instrument in enumerate(preferred)}

    def order(each: StoredForecast) -> tuple[int, int]:
        return -each.close_time_us, places.get(Instrument(each.venue, each.symbol), len(places))

    return min(chosen, key=order)


def _by_id(ledger: Ledger, wanted: str, symbol: str | None, newest: list[StoredForecast]) -> StoredForecast:
    stored = ledger.forecast(wanted)
    if stored is None:
        example = max(newest, key=lambda each: each.close_time_us).id
        raise ExplainRefused(f"{ledger.path} holds no forecast {wanted}; the newest is {example}")
    if symbol is not None and not _is(stored, symbol):
        raise ExplainRefused(f"--symbol was {symbol}, the forecast is {wanted}; leave one of them out")
    return stored


def _is(stored: StoredForecast, symbol: str) -> bool:
    return symbol.upper() in {stored.symbol.upper(), f"{stored.venue}:{stored.symbol}".upper()}


def _explained(ledger: Ledger, stored: StoredForecast, last: int) -> Explained:
    message = _message(ledger, stored)
    if message.attention is None:
        raise ExplainRefused(_rejection_reason(ledger, stored, message))
    attention, reading = np.asarray(message.attention, dtype=np.float64), ledger.reading(stored.id)
    try:
        looked = hours(
            attention,
            None if reading is None else reading.known,
            close_time_us=stored.close_time_us,
            interval_us=stored.interval_us,
        )
    except ValueError as error:
        raise StoreDamaged(f"{ledger.path}: forecast {stored.id}: {error}") from error
    instrument = Instrument(stored.venue, stored.symbol)
    recent = ledger.forecasts_until(instrument, stored.interval_us, stored.close_time_us, last)
    return Explained(
        stored=stored,
        message=message,
        attention=attention,
        hours=tuple(looked),
        features=() if reading is None else tuple(feature_weights(reading)),
        recent=tuple(_recent(ledger, each) for each in recent),
        missing=_missing(message.model.kind, reading),
    )


def _recent(ledger: Ledger, stored: StoredForecast) -> Recent:
    message = _message(ledger, stored)
    attention = None if message.attention is None else np.asarray(message.attention, dtype=np.float64)
    return Recent(stored.id, stored.close_time_us, message.model.kind, attention)


def _message(ledger: Ledger, stored: StoredForecast) -> ForecastMessage:
    try:
        return msgspec.json.decode(stored.payload, type=ForecastMessage)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"{ledger.path}: forecast {stored.id} cannot be read: {error}") from error


def _missing(kind: str, reading: WindowReading | None) -> tuple[str, ...]:
    said = []
    if kind == "lstm":
        said.append("An lstm's weight lies on the newest known hour by construction; what it remembers does not show.")
    if reading is None:
        lost = "which hours were not known and what each feature weighed was not kept; forecasts from now on have it."
        said.append(f"An earlier forecastd stored this forecast: {lost}")
    elif reading.importance is None:
        said.append(f"What each feature weighed is not known of {kind}: only tft selects features ([model] kind).")
    return tuple(said)


def _rejection_reason(ledger: Ledger, stored: StoredForecast, message: ForecastMessage) -> str:
    """One line: the model that made the forecast, and the remedy."""
    kind, instrument = message.model.kind, Instrument(stored.venue, stored.symbol)
    said = f"{stored.id} was made by the baseline {kind}, which looks at no hours"
    for each in reversed(ledger.forecasts_until(instrument, stored.interval_us, stored.close_time_us, _LOOK_BACK)):
        if _message(ledger, each).attention is not None:
            return f"{said}; the last one of a network before it is {each.id}"
    if message.source == "model" and kind in BASELINE_KINDS:
        return f"{said}; set [model] kind to one of {', '.join(NETWORK_KINDS)}"
    return f"{said}; forecastd retrain --now trains a network, forecastd status says what serves"
