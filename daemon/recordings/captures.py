"""Raw captures: a venue's frames, read as the daemon reads them live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import structlog

from daemon.errors import DataFault
from daemon.exchanges import VENUE_NAMES, Venue, venue
from daemon.exchanges.base import Acknowledged, Message, TradesBatch, TradesMessage
from daemon.exchanges.binance import Binance, BinanceRawTrades
from daemon.recordings.base import RecordedEvent, RecordedTrades, Recording, RecordingRefused, letters_and_digits
from daemon.recordings.capture_connections import CaptureConnections
from daemon.recordings.capture_lines import Line, lines
from features.market import Trade

log = structlog.get_logger(__name__)

_MOST_TOLD = 5
_FRAMES_TRIED = 1000  # of another venue's wire, to tell whose a capture is


class _Survey(NamedTuple):
    """What a venue's wire makes of a capture; ``fault``: the first frame that it cannot read, and why."""

    symbols: tuple[str, ...]
    frames: int
    fault: str | None


def read_capture(file: Path, *, venue_name: str, symbol: str | None) -> Recording:
    """Trades of every symbol in a capture, or of ``symbol``, through the venue's own decoder."""
    for wire in _wires(venue_name):
        survey = _survey(file, wire)
        if survey.symbols:
            names = _chosen(file, survey.symbols, symbol)
            return Recording(tuple(names.values()), partial(_happenings, file, wire, names))
    raise _without_trades(file, venue_name, survey)


def _wires(venue_name: str) -> Iterator[Venue]:
    """The ways to read a capture; the first that finds trades is taken, so that two sequences never mix."""
    yield venue(venue_name, None)
    if venue_name == Binance.name:
        yield BinanceRawTrades(None)


def _survey(file: Path, wire: Venue, most: int | None = None) -> _Survey:
    symbols: dict[str, None] = {}
    frames, fault = 0, None
    for line in islice(lines(file), most):
        if line.frame is None:
            continue
        frames += 1
        try:
            message = wire.decode(line.frame)
        except DataFault as error:  # reported when the capture is replayed
            fault = fault or f"line {line.number}: {error}"
            continue
        symbols |= dict.fromkeys(each.symbol for each in _trades(message))
    return _Survey(tuple(symbols), frames, fault)


def _trades(message: Message) -> Sequence[TradesMessage[Trade]]:
    match message:
        case TradesMessage():
            return [message]
        case TradesBatch():
            return message.messages
    return []


def _chosen(file: Path, found: tuple[str, ...], symbol: str | None) -> Mapping[str, str]:
    """The symbols to read, as the venue's wire spells them, to what they are called.

    A symbol that cannot be split into base and quote is found by its letters.
    """
    if symbol is None:
        return {name: name for name in found}
    if symbol in found:
        return {symbol: symbol}
    alike = [name for name in found if letters_and_digits(name) == letters_and_digits(symbol)]
    if not alike:
        raise RecordingRefused(f"{file}: holds no {symbol}; the symbols in it: {', '.join(sorted(found))}")
    return {alike[0]: symbol}


def _without_trades(file: Path, venue_name: str, survey: _Survey) -> RecordingRefused:
    if not survey.frames:
        return RecordingRefused(f"{file}: holds no frames; record some, or name another file")
    for name in VENUE_NAMES:
        if name != venue_name and _survey(file, venue(name, None), _FRAMES_TRIED).symbols:
            return RecordingRefused(f"{file}: holds trades of {name}, not of {venue_name}; write --venue {name}")
    if survey.fault is not None:
        return RecordingRefused(f"{file}: holds no trades of {venue_name}; is --venue right? {survey.fault}")
    return RecordingRefused(
        f"{file}: holds no trades of {venue_name}, only {survey.frames} frames of other kinds; "
        "record its stream of trades"
    )


def _happenings(file: Path, wire: Venue, names: Mapping[str, str]) -> Iterator[RecordedEvent]:
    connections = CaptureConnections()
    faults = 0
    for line in lines(file):
        if line.frame is None:
            yield from connections.opened(line.connection, line.received_us)
            continue
        since_us = connections.received(line.connection, line.received_us)
        try:
            message = wire.decode(line.frame)
        except DataFault as error:
            faults += 1
            if faults <= _MOST_TOLD:
                log.warning("frame_malformed", file=str(file), line=line.number, reason=str(error))
            continue
        if isinstance(message, Acknowledged):
            symbols = [names.get(symbol, symbol) for symbol in message.symbols]
            yield from connections.acknowledged(line.connection, symbols, line.received_us)
        for each in _trades(message):
            if each.symbol in names:
                yield from _events_of(line, names[each.symbol], each, connections, since_us)
    if faults > _MOST_TOLD:
        log.warning("frames_malformed", file=str(file), frames=faults)


def _events_of(
    line: Line, symbol: str, message: TradesMessage[Trade], connections: CaptureConnections, since_us: int | None
) -> Iterator[RecordedEvent]:
    trades = message.trades
    first_us = line.received_us or trades[0].time_us
    heard = connections.traded(line.connection, symbol, first_us=first_us, last_us=trades[-1].time_us)
    if heard is not None:
        yield heard
    yield RecordedTrades(symbol, trades, line.received_us, since_us)
