"""The bounds that all venues share, and the decoding of bodies with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import DataFault
from daemon.exchanges.decoding import (
    Id,
    NotNegative,
    Positive,
    TimeMs,
    TimeS,
    cut_microseconds,
    decode_body,
    microseconds,
    request_number,
)


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (Positive, ("1e-8", "1", "1e15", "9.9e23"), ("0", "0.0", "-1", "1e24", "1e999", "1e-400")),
        (NotNegative, ("0", "0.0", "1", "1e15", "1e23"), ("-1", "-1e-8", "1e24", "1e999")),
        (Id, ("0", "9223372036854775807"), ("-1", "9223372036854775808", "1.5")),
        (TimeMs, ("1230768000000", "4102444799999"), ("1230767999999", "4102444800000", "0", "1617566591")),
        (TimeS, ("1230768000", "4102444799"), ("1230767999", "4102444800", "0", "1617566591314")),
    ],
)
def test_bounds(kind: type, inside: tuple[str, ...], outside: tuple[str, ...]) -> None:
    """The last value inside is accepted, the first outside refused, as a number and in a string."""
    for number in inside:
        expected = int(number) if number.isdigit() else float(number)
        assert decode_body("a venue", number.encode(), kind) == expected
        assert decode_body("a venue", f'"{number}"'.encode(), kind) == expected
    for number in (*outside, "NaN", "nan", "Infinity", "inf", "-inf", "abc", "", "0x1", "1_0"):
        for body in (number, f'"{number}"'):
            with pytest.raises(DataFault):
                decode_body("a venue", body.encode(), kind)


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b"true", b'"true"'])
@pytest.mark.parametrize("kind", [Positive, NotNegative, Id, TimeMs, TimeS])
def test_other_types(kind: type, body: bytes) -> None:
    """A value that is neither a number nor a string with one is refused."""
    with pytest.raises(DataFault):
        decode_body("a venue", body, kind)


class Answer(msgspec.Struct):
    price: Positive


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"price":1', b'{"price":"NaN"}', b"[" * 2**20, b'{"price":' * 2**17, b'{"price":"\xff"}', b"\xff"],
    ids=lambda body: repr(body[:12]),
)
def test_malformed_bodies(body: bytes) -> None:
    """Truncated, deep and undecodable bodies are DataFaults that name the venue."""
    with pytest.raises(DataFault, match=r"^a venue answer: "):
        decode_body("a venue", body, Answer)


def test_a_body_that_is_read() -> None:
    """Strings with numbers are read as numbers; unknown keys are ignored."""
    assert decode_body("a venue", b'{"price":"58001.03","more":[1]}', Answer) == Answer(58001.03)


def test_microseconds() -> None:
    """Times are exact to the microsecond, with any offset."""
    assert microseconds(datetime(2021, 4, 4, 20, 3, 11, 314_159, tzinfo=UTC)) == 1_617_566_591_314_159
    east = timezone(timedelta(hours=8))
    assert microseconds(datetime(2021, 4, 5, 4, 3, 11, 314_159, tzinfo=east)) == 1_617_566_591_314_159


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("2026-01-01T00:59:59.999999999Z", 1_767_229_199_999_999),
        ("2026-01-01T00:59:59.9999996Z", 1_767_229_199_999_999),
        ("2026-01-01T02:59:59.9999995+02:00", 1_767_229_199_999_999),
        ("2026-01-01T00:59:59.1234567Z", 1_767_229_199_123_456),
        ("2026-01-01T00:59:59.5Z", 1_767_229_199_500_000),
        ("2026-01-01T00:59:59Z", 1_767_229_199_000_000),
    ],
)
def test_digits_beyond_the_microsecond_are_cut(text: str, time_us: int) -> None:
    """A trade in the last nanosecond of an hour stays in its hour."""
    assert cut_microseconds(text) == time_us


@pytest.mark.parametrize("text", ["", "now", "2026-01-01T00:00:00", "2026-01-01", "2026-13-01T00:00:00Z", "9" * 100])
def test_texts_that_are_no_time(text: str) -> None:
    """Texts without an offset, and texts that are no time, are refused."""
    with pytest.raises(DataFault):
        cut_microseconds(text)


@given(
    st.integers(1_230_768_000_000_000, 4_102_444_799_999_999),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_microseconds_lose_nothing(time_us: int, zone: timezone) -> None:
    """Every microsecond from 2009 to 2099 comes back, from any offset."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    assert microseconds(moment.astimezone(zone)) == time_us


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2021, 4, 4),  # noqa: DTZ001  # a time without an offset is the point
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(2008, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2100, 1, 1, tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    ],
)
def test_times_that_are_no_market_time(moment: datetime) -> None:
    """Times without an offset, before 2009 or from 2100 on are refused; the calendar's ends do not overflow."""
    with pytest.raises(DataFault, match="outside 2009 to 2100"):
        microseconds(moment)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("41", 41),
        ("0", 0),
        (None, None),
        ("", None),
        ("-1", None),
        ("4.1", None),
        (" 41", None),
        ("four", None),
        ("\u0664\u0661", None),  # 41 in Arabic digits
        ("9" * 18, 10**18 - 1),
        ("9" * 5000, None),  # more digits than int() reads
    ],
    ids=lambda value: repr(value)[:12],
)
def test_request_numbers(text: str | None, number: int | None) -> None:
    """Only a number that the daemon can have sent is a request of the daemon."""
    assert request_number(text) == number
