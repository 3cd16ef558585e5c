"""Raw captures: files of a venue's frames, decoded with the venue's live decoder."""

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
from daemon.recordings.base import RecordedEvent, RecordedTrades, Recording, RecordingRefused
from daemon.recordings.capture_connections import CaptureConnections
from daemon.recordings.capture_lines import Line, read_lines
from features.market import Trade
from features.symbols import letters_and_digits, readings, why_not_split

log = structlog.get_logger(__name__)

_MOST_LOGGED = 5  # faults, each in a line of its own
_FRAMES_TRIED = 1000  # with the decoder of another venue, to find the venue of a capture


class _Scan(NamedTuple):
    """The symbols with trades and the number of frames in a capture; ``fault``: the first decoding error."""

    symbols: tuple[str, ...]
    frames: int
    fault: str | None


def read_capture(file: Path, *, venue_name: str, symbol: str | None) -> Recording:
    """Opens a capture with the venue's decoder, restricted to ``symbol`` if given. Raises RecordingRefused."""
    for decoder in _decoders(venue_name):
        scan = _scan(file, decoder)
        if scan.symbols:
            names = _selected(file, scan.symbols, symbol)
            return Recording(tuple(names.values()), partial(_events, file, decoder, names))
    raise _no_trades_error(file, venue_name, scan)


def _decoders(venue_name: str) -> Iterator[Venue]:
    """The decoders to try; the first one that finds trades is used, so that two id sequences never mix."""
    yield venue(venue_name, None)
    if venue_name == Binance.name:
        yield BinanceRawTrades(None)


def _scan(file: Path, decoder: Venue, most: int | None = None) -> _Scan:
    symbols: dict[str, None] = {}
    frames, fault = 0, None
    for line in islice(read_lines(file), most):
        if line.frame is None:
            continue
        frames += 1
        try:
            message = decoder.decode(line.frame)
        except DataFault as error:  # logged when the capture is replayed
            fault = fault or f"line {line.number}: {error}"
            continue
        symbols |= dict.fromkeys(each.symbol for each in _trades(message))
    return _Scan(tuple(symbols), frames, fault)


def _trades(message: Message) -> Sequence[TradesMessage[Trade]]:
    match message:
        case TradesMessage():
            return [message]
        case TradesBatch():
            return message.messages
    return []


def _selected(file: Path, found: tuple[str, ...], symbol: str | None) -> Mapping[str, str]:
    """The symbols to read: the name in the capture to the name in the recording.

    A given symbol is matched by its letters and digits. Without one, a name that can be split into base and quote in
    several ways is refused, and one that cannot be split is kept: it may be a contract.
    """
    if symbol is None:
        for name in found:
            if len(readings(name)) > 1:
                raise RecordingRefused(
                    f"{file}: symbol {name!r} {why_not_split(name)}; name it with --symbol BASE-QUOTE"
                )
        return {name: name for name in found}
    if symbol in found:
        return {symbol: symbol}
    alike = [name for name in found if letters_and_digits(name) == letters_and_digits(symbol)]
    if not alike:
        raise RecordingRefused(f"{file}: holds no {symbol}; the symbols in it: {', '.join(sorted(found))}")
    return {alike[0]: symbol}


def _no_trades_error(file: Path, venue_name: str, scan: _Scan) -> RecordingRefused:
    if not scan.frames:
        return RecordingRefused(f"{file}: holds no frames; record some, or name another file")
    for name in VENUE_NAMES:
        if name != venue_name and _scan(file, venue(name, None), _FRAMES_TRIED).symbols:
            return RecordingRefused(f"{file}: holds trades of {name}, not of {venue_name}; write --venue {name}")
    if scan.fault is not None:
        return RecordingRefused(f"{file}: holds no trades of {venue_name}; is --venue right? {scan.fault}")
    return RecordingRefused(
        f"{file}: holds no trades of {venue_name}, only {scan.frames} frames of other kinds; "
        "record its stream of trades"
    )


def _events(file: Path, decoder: Venue, names: Mapping[str, str]) -> Iterator[RecordedEvent]:
    connections = CaptureConnections()
    faults = 0
    for line in read_lines(file):
        if line.frame is None:
            yield from connections.opened(line.connection, line.received_us)
            continue
        since_us = connections.frame_received(line.connection, line.received_us)
        try:
            message = decoder.decode(line.frame)
        except DataFault as error:
            faults += 1
            if faults <= _MOST_LOGGED:
                log.warning("frame_malformed", file=str(file), line=line.number, reason=str(error))
            continue
        if isinstance(message, Acknowledged):
            symbols = [names.get(symbol, symbol) for symbol in message.symbols]
            yield from connections.acknowledged(line.connection, symbols, line.received_us)
        for each in _trades(message):
            if each.symbol in names:
                yield from _events_of(line, names[each.symbol], each, connections, since_us)
    if faults > _MOST_LOGGED:
        log.warning("frames_malformed", file=str(file), frames=faults)


def _events_of(
    line: Line, symbol: str, message: TradesMessage[Trade], connections: CaptureConnections, since_us: int | None
) -> Iterator[RecordedEvent]:
    trades = message.trades
    first_us = line.received_us or trades[0].time_us
    restored = connections.trades_received(line.connection, symbol, first_us=first_us, last_us=trades[-1].time_us)
    if restored is not None:
        yield restored
    yield RecordedTrades(symbol, trades, line.received_us, since_us)
