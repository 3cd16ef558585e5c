"""REST: the requests of every venue, the answers that it reads and those that it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
import pytest

from daemon.errors import DataFault, ForecastdError
from daemon.exchanges.base import Ids, RestRequest, TradesWanted, Venue
from features.market import Bar
from tests.daemon.exchanges.contract.bounds import check_bar, check_page, check_request
from tests.daemon.exchanges.sample import Sample

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US


def candles(sample: Sample, known_at_us: int) -> list[Bar]:
    """The sample's candles as a venue knows them at a time."""
    venue = sample.make([sample.symbol])
    return venue.decode_candles(
        sample.candles_body,
        symbol=sample.symbol,
        interval_us=sample.candle_interval_us,
        known_at_us=known_at_us,
    )


def requests(sample: Sample, venue: Venue) -> Iterator[RestRequest]:
    """Each request can be sent, and none weighs more than its budget holds."""
    wanted = sample.trades_wanted
    yield venue.trades(wanted)
    yield venue.trades(msgspec.structs.replace(wanted, from_id=0, until_id=10**12))
    yield venue.trades(msgspec.structs.replace(wanted, from_id=None, until_id=None))
    yield venue.latest_trade(sample.symbol)
    before = venue.last_trade_before(sample.symbol, wanted.from_time_us)
    if before is not None:
        yield before
    start_us = sample.candles[0].open_time_us
    yield venue.candles(sample.symbol, sample.candle_interval_us, start_us, start_us + sample.candle_interval_us)
    yield venue.instruments()
    yield venue.server_time()


def test_requests(sample: Sample, venue: Venue) -> None:
    """Each can be sent, and never weighs more than its budget holds."""
    for request in requests(sample, venue):
        check_request(venue, request)


def test_trades(sample: Sample, venue: Venue) -> None:
    """A page is read as the sample says, oldest first, by an open venue too."""
    wanted = sample.trades_wanted
    for each in (venue, sample.make(None)):
        page = each.decode_trades(sample.trades_body, wanted, each.trades(wanted))
        check_page(each, page)
        assert page.trades == list(sample.trades_page)
    assert all(left.time_us <= right.time_us for left, right in pairwise(sample.trades_page))
    if venue.ids is not Ids.IDENTITY:
        assert all(left.trade_id < right.trade_id for left, right in pairwise(sample.trades_page))


def records_in(value: object) -> list[object] | None:
    """The first list of objects or lists inside a JSON value."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return None
    if isinstance(value, list) and value and all(isinstance(each, dict | list) for each in value):
        return value
    return next((found for each in inner if (found := records_in(each)) is not None), None)


def page_of(sample: Sample, venue: Venue, number: int) -> bytes:
    """The sample's answer with ``number`` records: its first one, with ids that count on in the page's own order."""
    answer = json.loads(sample.trades_body)
    records = records_in(answer)
    assert records is not None
    record = json.dumps(records[0])
    if venue.ids is Ids.IDENTITY:  # they are no numbers
        records[:] = [records[0]] * number
        return json.dumps(answer).encode()
    newest_first = f"{sample.trades_page[-1].trade_id}" in re.findall(r"\d+", record)
    newest = sample.trades_page[-1] if newest_first else sample.trades_page[0]
    shown = re.compile(rf"(?<![\d.]){newest.trade_id}(?![\d.])")
    assert shown.search(record)
    first_id, step = (newest.trade_id + 10_000, -1) if newest_first else (newest.trade_id, 1)
    records[:] = [json.loads(shown.sub(str(first_id + step * index), record)) for index in range(number)]
    return json.dumps(answer).encode()


def walks(sample: Sample) -> Iterator[TradesWanted]:
    """The kinds of request: as in the sample, by time, from the first id, from an id far ahead, and up to an id."""
    yield sample.trades_wanted
    wanted = msgspec.structs.replace(sample.trades_wanted, until_id=None)
    first, last = sample.trades_page[0].trade_id, sample.trades_page[-1].trade_id
    for from_id in (0, first, last + 1, 2**62):
        yield msgspec.structs.replace(wanted, from_id=from_id)
        yield msgspec.structs.replace(wanted, from_id=from_id, until_id=from_id + 10)
    for from_time_us in (wanted.from_time_us, 1_262_304_000_000_000, wanted.asked_at_us):
        yield msgspec.structs.replace(wanted, from_id=None, from_time_us=from_time_us)
        yield msgspec.structs.replace(wanted, from_id=None, from_time_us=from_time_us, until_id=last)


@pytest.mark.parametrize("number", [None, 0, 1, 1000])
def test_walks_end(sample: Sample, venue: Venue, number: int | None) -> None:
    """A walk ends although the server answers every request with the same page."""
    body = sample.trades_body if number is None else page_of(sample, venue, number)
    for wanted in walks(sample):
        assert answers_taken(venue, wanted, body) <= 10, wanted


def answers_taken(venue: Venue, wanted: TradesWanted, body: bytes) -> int:
    """The number of answers after which the walk ends, up to 100."""
    request = venue.trades(wanted)
    for answers in range(1, 100):
        check_request(venue, request)
        try:
            page = venue.decode_trades(body, wanted, request)
        except DataFault:
            return answers
        check_page(venue, page)
        if page.next is None:
            return answers
        request = page.next
    return 100


def test_a_stale_answer_proves_nothing(sample: Sample, venue: Venue) -> None:
    """Where ids are contiguous, a page that ends before the known trade proves nothing about later trades."""
    if venue.ids is not Ids.CONTIGUOUS:
        return
    wanted = msgspec.structs.replace(sample.trades_wanted, from_id=2**62, until_id=None)
    with pytest.raises(DataFault):
        venue.decode_trades(sample.trades_body, wanted, venue.trades(wanted))


def test_candles(sample: Sample) -> None:
    """Candles are read as the sample says, oldest first."""
    bars = candles(sample, sample.candles_known_at_us)
    assert bars == list(sample.candles)
    assert all(left.open_time_us < right.open_time_us for left, right in pairwise(bars))
    for bar in bars:
        check_bar(
            bar,
            symbol=sample.symbol,
            interval_us=sample.candle_interval_us,
            known_at_us=sample.candles_known_at_us,
        )


def test_unfinished_candles_are_left_out(sample: Sample) -> None:
    """A candle counts from the instant its interval has ended, not before."""
    newest = sample.candles[-1]
    before = [bar.open_time_us for bar in candles(sample, newest.close_time_us - 1)]
    assert before == [bar.open_time_us for bar in sample.candles[:-1]]
    assert candles(sample, newest.close_time_us)[-1].open_time_us == newest.open_time_us
    assert candles(sample, sample.candles[0].open_time_us) == []


PUBLISHED_S = (1, 5, 15, 30, 60, 180, 300, 900, 1800, 3600, 7200, 10800, 14400, 21600, 28800, 43200, 86400)


def test_candle_interval(venue: Venue) -> None:
    """The largest published candle that divides an interval is chosen; half a second has none."""
    published = [length for each in PUBLISHED_S if venue.candle_interval(length := each * SECOND_US) == length]
    assert 60 * SECOND_US in published
    for seconds in (1, 2, 7, 45, 60, 120, 420, 600, 2700, 3600, 7200, 10800, 18000, 21600, 43200, 86400):
        expected = max((length for length in published if seconds * SECOND_US % length == 0), default=None)
        assert venue.candle_interval(seconds * SECOND_US) == expected, seconds
    assert (venue.candle_interval(2 * HOUR_US) or 0) >= HOUR_US
    assert (venue.candle_interval(DAY_US) or 0) >= HOUR_US
    assert venue.candle_interval(SECOND_US // 2) is None


def test_instruments_and_time(sample: Sample, venue: Venue) -> None:
    """The list of instruments and the venue's clock are read as the sample says."""
    assert venue.decode_instruments(sample.instruments_body) == dict(sample.instruments)
    assert sample.instruments[sample.symbol] == "TRADING"
    assert venue.decode_server_time(sample.time_body, sample.time_date) == sample.time_us


def test_complaints(sample: Sample, venue: Venue) -> None:
    """An error that comes with HTTP 200 is raised by its kind, and a good answer raises none."""
    for body, kind in sample.complaints:
        with pytest.raises(ForecastdError) as caught:
            venue.check_answer(body)
        assert type(caught.value) is kind, body
    for body in (sample.trades_body, sample.candles_body, sample.instruments_body, sample.time_body):
        venue.check_answer(body)


def readers(sample: Sample, venue: Venue) -> dict[bytes, Callable[[bytes], object]]:
    """Every good answer and the method that reads it; the time only where the body holds it."""
    wanted = sample.trades_wanted
    found: dict[bytes, Callable[[bytes], object]] = {
        sample.trades_body: lambda body: venue.decode_trades(body, wanted, venue.trades(wanted)),
        sample.candles_body: lambda body: venue.decode_candles(
            body,
            symbol=sample.symbol,
            interval_us=sample.candle_interval_us,
            known_at_us=sample.candles_known_at_us,
        ),
        sample.instruments_body: venue.decode_instruments,
    }
    if not sample.time_date:
        found[sample.time_body] = lambda body: venue.decode_server_time(body, "")
    return found


def test_truncated_answers(sample: Sample, venue: Venue) -> None:
    """No prefix of an answer is accepted as a complete one."""
    for body, read in readers(sample, venue).items():
        whole = body.strip()
        for length in range(len(whole)):
            with pytest.raises(DataFault):
                read(whole[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"7",
        b'"text"',
        b"null",
        b"[7]",
        b'["x"]',
        b'{"x":',
        b"[" * 2**20,
        b'{"result":' * 2**17,
        b"\xff",
        b"<html>",
    ],
    ids=lambda body: f"{body[:12]!r}-{len(body)}",
)
def test_malformed_answers(sample: Sample, venue: Venue, body: bytes) -> None:
    """Empty, deep, huge and undecodable answers, and the pages of a proxy, are DataFaults."""
    for read in readers(sample, venue).values():
        with pytest.raises(DataFault):
            read(body)


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Thu, 01 Jan 1970 00:00:01 GMT", "Mon, 01 Jan 2200 00:00:00 GMT", "\xff"]
)
def test_dates_that_are_none(sample: Sample, venue: Venue, date: str) -> None:
    """Where a header holds the time, a missing or absurd one is a DataFault; elsewhere it is ignored."""
    if sample.time_date:
        with pytest.raises(DataFault):
            venue.decode_server_time(sample.time_body, date)
    else:
        assert venue.decode_server_time(sample.time_body, date) == sample.time_us
