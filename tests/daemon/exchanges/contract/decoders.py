"""Every method that decodes a venue's bytes, each with good inputs and with the check that any input must pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from daemon.errors import DataFault, ForecastdError
from daemon.exchanges.base import Message, Venue
from tests.daemon.exchanges.contract.bounds import (
    YEAR_2009_US,
    YEAR_2100_US,
    check_bar,
    check_message,
    check_page,
)
from tests.daemon.exchanges.sample import Sample


class Entrance(NamedTuple):
    """``check`` raises for an input that is neither read within bounds nor refused as documented."""

    name: str
    seeds: tuple[bytes, ...]
    check: Callable[[bytes], None]


def entrances(sample: Sample) -> tuple[Entrance, ...]:
    """The venue's stream, its four kinds of answers and its complaints."""
    closed = sample.make([sample.symbol])

    def venues() -> tuple[Venue, Venue]:
        """A new venue of one symbol, and a new one for recordings, which remembers every name in its input."""
        return closed, sample.make(None)

    def frame(data: bytes) -> None:
        for venue in venues():
            _check_frame(venue, data)

    def answer(check: Callable[[Venue, bytes], None]) -> Callable[[bytes], None]:
        def checked(data: bytes) -> None:
            for venue in venues():
                try:
                    check(venue, data)
                except DataFault:
                    continue

        return checked

    def trades(venue: Venue, data: bytes) -> None:
        request = venue.trades(sample.trades_wanted)
        check_page(venue, venue.decode_trades(data, sample.trades_wanted, request))

    def candles(venue: Venue, data: bytes) -> None:
        symbol, interval_us, known_at_us = sample.symbol, sample.candle_interval_us, sample.candles_known_at_us
        bars = venue.decode_candles(data, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us)
        for bar in bars:
            check_bar(bar, symbol=symbol, interval_us=interval_us, known_at_us=known_at_us)

    def instruments(venue: Venue, data: bytes) -> None:
        for symbol, state in venue.decode_instruments(data).items():
            assert isinstance(symbol, str)
            assert isinstance(state, str)

    def server_time(venue: Venue, data: bytes) -> None:
        assert YEAR_2009_US <= venue.decode_server_time(data, sample.time_date) < YEAR_2100_US

    def date(venue: Venue, data: bytes) -> None:
        header = data.decode("latin-1")
        assert YEAR_2009_US <= venue.decode_server_time(sample.time_body, header) < YEAR_2100_US

    def complaint(data: bytes) -> None:
        for venue in venues():
            try:
                venue.check_answer(data)
            except ForecastdError:
                continue

    complaints = tuple(body for body, _ in sample.complaints)
    bodies = (sample.trades_body, sample.candles_body, sample.instruments_body, sample.time_body)
    frames = (sample.trade_frame, *(other for other, _ in sample.other_frames))
    acknowledged = tuple(sample.acknowledgement(1, [sample.symbol]))
    return (
        Entrance("decode", (*frames, *acknowledged), frame),
        Entrance("decode_trades", (sample.trades_body, *complaints), answer(trades)),
        Entrance("decode_candles", (sample.candles_body, *complaints), answer(candles)),
        Entrance("decode_instruments", (sample.instruments_body, *complaints), answer(instruments)),
        Entrance("decode_server_time", (sample.time_body, *complaints), answer(server_time)),
        Entrance("date_header", (sample.time_date.encode("latin-1"),), answer(date)),
        Entrance("check_answer", (*complaints, *bodies), complaint),
    )


def _check_frame(venue: Venue, data: bytes) -> None:
    """Bytes and the same bytes as text are one frame."""
    message = _decoded(venue, data)
    if message is not None:
        check_message(message)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    assert _decoded(venue, text) == message


def _decoded(venue: Venue, data: bytes | str) -> Message | None:
    try:
        return venue.decode(data)
    except DataFault:
        return None
