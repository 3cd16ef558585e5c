"""The stream: the frames that every venue reads, sends and refuses."""

from __future__ import annotations

import json
import math
import re

import pytest

from daemon.errors import ConfigError, DataFault
from daemon.exchanges import VENUE_NAMES
from daemon.exchanges import venue as venue_named
from daemon.exchanges.base import Acknowledged, Heartbeat, Ids, TradesBatch, TradesMessage, Venue, traits
from daemon.pipeline.fast_path import ContiguousFastPath, IdentityFastPath, OrderedFastPath, fast_path_for
from daemon.pipeline.id_continuity import IdContinuity
from daemon.pipeline.sequence import SequenceState
from daemon.pipeline.time_continuity import TimeContinuity
from features.bars import OpenBar
from features.market import Instrument, Trade
from tests.daemon.exchanges.contract.bounds import check_message
from tests.daemon.exchanges.contract.mutations import HOSTILE_VALUES
from tests.daemon.exchanges.sample import Sample
from tests.daemon.exchanges.samples import SAMPLES


def refuses(venue: Venue, frame: bytes | str) -> bool:
    """Whether the frame is a DataFault; any other exception fails the test."""
    try:
        venue.decode(frame)
    except DataFault:
        return True
    return False


def test_every_venue_has_a_sample() -> None:
    """A venue without a sample would escape this suite."""
    assert sorted(sample.make(None).name for sample in SAMPLES) == sorted(VENUE_NAMES)


def test_what_a_venue_says_of_itself(sample: Sample, venue: Venue) -> None:
    """A venue is found by its name; its limits, precision and keep-alive are usable numbers."""
    assert type(venue_named(venue.name, [sample.symbol])) is type(venue)
    assert venue.default_ws_url.startswith("wss://")
    assert venue.default_rest_url.startswith("https://")
    assert isinstance(venue.ids, Ids)
    assert 0 < venue.decimals <= 18
    limits = venue.limits
    assert 1 <= limits.symbols_per_request <= limits.streams_per_connection
    assert min(limits.messages_per_second, limits.connection_lifetime_s, limits.connections_per_5_minutes) > 0
    assert 0 < limits.rest_per_s < math.inf
    assert limits.candles_per_page >= 1
    assert limits.candles_reach is None or limits.candles_reach >= 1
    if venue.keep_alive is not None:
        assert venue.keep_alive.text
        assert 0 < venue.keep_alive.every_s <= 60


def test_trades(sample: Sample, venue: Venue) -> None:
    """Bytes and text of one frame give the same trades, also at a venue that accepts every symbol."""
    expected = TradesMessage(sample.symbol, list(sample.trades))
    check_message(expected)
    assert venue.decode(sample.trade_frame) == expected
    assert venue.decode(sample.trade_frame.decode()) == expected
    assert sample.make(None).decode(sample.trade_frame) == expected


def quick_way(
    venue: Venue, first: Trade, open_us: int, close_us: int
) -> ContiguousFastPath | OrderedFastPath | IdentityFastPath:
    """Into a bar of these bounds, where ``first`` is the next trade."""
    flow = fast_path_for(traits(venue))
    before_us = min(open_us, first.time_us) - 1
    state = SequenceState(last_id=first.trade_id - first.span, last_time_us=before_us, covered_from_us=0)
    flow.continuity = IdContinuity(state) if isinstance(flow, ContiguousFastPath) else TimeContinuity(state)
    flow.bar = OpenBar(Instrument(venue.name, "BTC-USDT"), open_time_us=open_us, interval_us=close_us - open_us)
    return flow


def test_records_take_the_quick_way(sample: Sample, venue: Venue) -> None:
    """Records within the bar, to the microsecond of its bounds, are taken, and are the trades that ``decode`` tells."""
    parsed = venue.read(sample.trade_frame)
    assert isinstance(parsed, TradesMessage)
    first, records = sample.trades[0], parsed.trades
    begin_us, end_us = first.time_us, sample.trades[-1].time_us + 1000
    flow = quick_way(venue, first, begin_us, end_us)
    assert flow.take_next(records) == len(records)
    assert flow.take_next(records) == 0, "each once"
    assert flow.flush() == list(sample.trades)
    assert flow.take_next(records) == 0, "nor later"
    assert quick_way(venue, first, begin_us - 1_000_000, begin_us).take_next(records) == 0
    assert quick_way(venue, first, end_us, end_us + 1_000_000).take_next(records) == 0


def test_other_frames(sample: Sample, venue: Venue) -> None:
    """Answers, errors, announcements, heartbeats and other channels are distinguished."""
    assert sample.other_frames
    for frame, message in sample.other_frames:
        assert venue.decode(frame) == message, frame
        assert venue.decode(frame.decode()) == message, frame


def symbols_of(sample: Sample, number: int) -> list[str]:
    """The sample's symbol and others of the same quote."""
    quote = sample.symbol.partition("-")[2]
    return [sample.symbol, *(f"ZZ{letter}-{quote}" for letter in "ABCD")][:number]


def test_subscribing(sample: Sample) -> None:
    """One text names every symbol, and the venue's confirmations answer for each of them."""
    limits = sample.make(None).limits
    symbols = symbols_of(sample, limits.symbols_per_request)
    for asked in (symbols, symbols[:1]):
        venue = sample.make(asked)
        text = venue.subscribe(asked, 41)
        json.loads(text)
        for symbol in asked:
            assert symbol.partition("-")[0] in text.upper()
        assert confirmed(venue, sample, asked) == set(asked)


def confirmed(venue: Venue, sample: Sample, asked: list[str]) -> set[str]:
    """The symbols of request 41 that are confirmed once all its answers are in."""
    found: set[str] = set()
    for frame in sample.acknowledgement(41, asked):
        message = venue.decode(frame)
        if isinstance(message, Acknowledged):
            assert message.request_id in {None, 41}
            found |= set(message.symbols or asked)
        else:
            assert isinstance(message, Heartbeat)
    return found


def test_other_requests(sample: Sample, venue: Venue) -> None:
    """The stream's address keeps its host with or without a final slash; every other request is text."""
    address = venue.stream_url("ws://127.0.0.1:9")
    assert re.match(r"ws://127\.0\.0\.1:9(/|$)", address)
    assert venue.stream_url("ws://127.0.0.1:9/") == address
    assert all(venue.opening())
    question = venue.list_subscriptions(5)
    assert question is None or json.loads(question)


def test_native_spelling(sample: Sample, venue: Venue) -> None:
    """The symbol as REST requests spell it; an open venue spells it the same way."""
    assert venue.native(sample.symbol) == sample.native
    assert sample.make(None).native(sample.symbol) == sample.native


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc-usdt", "BTC-", "-USDT", "BTC-USDT-X", "BTC/USDT", "B&C-USDT", ""])
def test_symbols_that_cannot_be_spelled(sample: Sample, symbol: str) -> None:
    """Anything but BASE-QUOTE in capitals is a configuration error."""
    with pytest.raises(ConfigError, match="BASE-QUOTE"):
        sample.make([symbol])


@pytest.mark.parametrize("hostile", HOSTILE_VALUES, ids=lambda value: value[:12].decode())
def test_prices_and_sizes_out_of_bounds(sample: Sample, venue: Venue, hostile: bytes) -> None:
    """A value that is not a positive number below 1e24 is a DataFault, as a number and in a string."""
    for token in (sample.price, sample.size):
        assert refuses(venue, sample.with_token(token, hostile)), token


@pytest.mark.parametrize("number", ["-1", "9223372036854775808", "99999999999999999999", "1.5", "NaN", "abc"])
def test_ids_out_of_bounds(sample: Sample, venue: Venue, number: str) -> None:
    """Ids below zero or beyond 63 bits are refused; where an id only tells trades apart, it is kept within them."""
    for hostile in (number.encode(), f'"{number}"'.encode()):
        frame = sample.with_token(sample.id, hostile)
        if not refuses(venue, frame):
            assert venue.ids is Ids.IDENTITY
            check_message(venue.decode(frame))


@pytest.mark.parametrize("hostile", [b"null", b"[]", b"{}", b"true"])
def test_ids_of_other_types(sample: Sample, venue: Venue, hostile: bytes) -> None:
    """An id is a number or a text."""
    assert refuses(venue, sample.with_token(sample.id, hostile))


def hostile_times(sample: Sample) -> list[bytes]:
    """The sample's time of 1970, of 2200, in wrong units and no time at all."""
    inner = sample.time.strip(b'"')
    times = [b"abc", b"", b"-1"]
    if inner.isdigit():
        year_2200 = str(7_258_118_400 * 10 ** (len(inner) - 10)).encode()
        times += [year_2200, inner[:-3], inner + b"000", b"-" + inner, inner + b".5e3", b"9" * 30]
    else:
        times += [year + inner[4:] for year in (b"1970", b"2008", b"2200", b"0000")]
        times += [inner.replace(b"Z", b""), inner[:4] + b"-13" + inner[7:], inner[:8] + b"32" + inner[10:]]
    quoted = [b'"' + time + b'"' if sample.time.startswith(b'"') else time or b'""' for time in times]
    return [*quoted, b"null", b"[]", b"{}", b"true", *((sample.seconds_time,) if sample.seconds_time else ())]


def test_digits_beyond_the_microsecond_are_cut(sample: Sample, venue: Venue) -> None:
    """A trade in the last nanosecond of a second stays in it, and so in its bar."""
    inner = sample.time.strip(b'"')
    if inner.isdigit():
        return  # a whole number has no digits to round
    time = inner[:19] + b".999999999" + inner[-1:]
    message = venue.decode(sample.with_token(sample.time, b'"' + time + b'"'))
    assert isinstance(message, TradesMessage)
    assert {trade.time_us % 1_000_000 for trade in message.trades} == {999_999}


def test_times_out_of_bounds(sample: Sample, venue: Venue) -> None:
    """Times outside 2009 to 2100 (seconds or nanoseconds) and texts that are no time with a zone are DataFaults."""
    for time in hostile_times(sample):
        assert refuses(venue, sample.with_token(sample.time, time)), time


def test_symbols_without_a_subscription(sample: Sample) -> None:
    """Trades of a symbol that this venue was not made with are a DataFault, and so is a name that is no text."""
    stranger = sample.make(symbols_of(sample, 2)[1:])
    assert refuses(stranger, sample.trade_frame)
    venue = sample.make([sample.symbol])
    for hostile in (b"7", b"null", b"[]", b'""', b'"\xff"', b'"\\ud800"'):
        frame = sample.with_token(sample.name, hostile)
        assert refuses(venue, frame) or not isinstance(venue.decode(frame), TradesMessage | TradesBatch), hostile


def test_doubled_keys(sample: Sample, venue: Venue) -> None:
    """Where a key comes twice, a good value does not hide a bad one."""
    for token in (sample.price, sample.size, sample.time):
        key = re.search(rb'"[^"]*"\s*:\s*(?=' + re.escape(token) + rb")", sample.trade_frame)
        assert key is not None, "the value has no key"
        good, bad = key[0] + token, key[0] + b'"NaN"'
        assert refuses(venue, sample.with_token(good, good + b"," + bad))
        first = sample.with_token(good, bad + b"," + good)
        if not refuses(venue, first):
            check_message(venue.decode(first))


def test_truncations(sample: Sample, venue: Venue) -> None:
    """No prefix of a frame is accepted as a complete one, nor are two frames in one message."""
    for length in range(len(sample.trade_frame)):
        assert refuses(venue, sample.trade_frame[:length]), length
    assert refuses(venue, sample.trade_frame * 2)


MALFORMED: list[bytes | str] = [
    b"",
    b" ",
    b"{}",
    b"[]",
    b"[[]]",
    b"7",
    b"-0",
    b'"text"',
    b"null",
    b"true",
    b"[" * 2**20,
    b'{"data":' * 2**17,
    b"[" * 50_000 + b"]" * 50_000,
    b'{"data":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"a":"' + b"x" * 2**20,
    b'{"x":1}',
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"\xff":"\xff"}',
    b"\x00" * 100,
    "\ud800",
    '{"\ud800":1}',
]


@pytest.mark.parametrize("frame", MALFORMED, ids=lambda frame: f"{frame[:12]!r}-{len(frame)}")
def test_malformed_frames(venue: Venue, frame: bytes | str) -> None:
    """Empty, deep, huge and undecodable frames, and JSON that is not of the venue, are DataFaults."""
    assert refuses(venue, frame)


def test_deep_values(sample: Sample, venue: Venue) -> None:
    """Deep nesting inside a known frame is refused too."""
    deep = b"[" * 100_000
    for token in (sample.price, sample.id, sample.time):
        assert refuses(venue, sample.with_token(token, deep))
        assert refuses(venue, sample.with_token(token, deep + b"]" * 100_000))
