"""Time columns: each value's unit is decided by its size, each text is read, implausible values are null."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.times import END_TIME_US, FIRST_TIME_US, time_us

EXAMPLE_US = 1_735_689_599_123_456  # 2024-12-31T23:59:59.123456Z
SECOND_US = EXAMPLE_US // 1_000_000 * 1_000_000

instants = st.integers(FIRST_TIME_US, END_TIME_US - 1)


def iso(instant_us: int, offset: timedelta = timedelta(0)) -> str:
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant_us)
    return when.astimezone(timezone(offset)).isoformat(sep=" ")


SPELLINGS: dict[str, Callable[[int], str]] = {
    "s": lambda at_us: f"{at_us // 1_000_000}.{at_us % 1_000_000:06d}",
    "ms": lambda at_us: f"{at_us // 1_000}.{at_us % 1_000:03d}",
    "us": str,
    "ns": lambda at_us: f"{at_us}000",
    "ns with a remainder": lambda at_us: f"{at_us}999",
    "iso": iso,
    "iso east": lambda at_us: iso(at_us, timedelta(hours=5, minutes=30)),
    "iso west": lambda at_us: iso(at_us, -timedelta(hours=11)),
    "iso zulu": lambda at_us: iso(at_us).replace(" ", "T").replace("+00:00", "Z"),
    "iso without offset": lambda at_us: iso(at_us).replace("+00:00", ""),
}


@given(st.lists(st.tuples(instants, st.sampled_from(sorted(SPELLINGS))), min_size=1))
def test_any_mix_of_units_reads_as_the_same_instants(rows: list[tuple[int, str]]) -> None:
    """A table of texts whose unit changes from row to row."""
    texts = pl.Series("ts", [SPELLINGS[unit](at_us) for at_us, unit in rows])
    assert time_us(texts).to_list() == [at_us for at_us, _ in rows]


@given(st.lists(st.tuples(instants, st.sampled_from([1_000_000, 1_000, 1])), min_size=1))
def test_integers_of_any_unit_read_as_the_same_instants(rows: list[tuple[int, int]]) -> None:
    """Integers: seconds, milliseconds and microseconds from row to row, and nanoseconds of all of them."""
    mixed = pl.Series("ts", [at_us // unit for at_us, unit in rows])
    assert time_us(mixed).to_list() == [at_us // unit * unit for at_us, unit in rows]
    assert time_us(pl.Series("ts", [at_us * 1000 + 999 for at_us, _ in rows])).to_list() == [row[0] for row in rows]


@given(instants)
def test_doubles_stay_in_their_second(at_us: int) -> None:
    """A double holds an instant to about a microsecond; its whole second is exact."""
    (read,) = time_us(pl.Series("ts", [at_us / 1e6]))
    assert abs(read - at_us) <= 1
    assert read // 1_000_000 == int(at_us / 1e6)


@pytest.mark.parametrize(
    ("value", "expected_us"),
    [
        ("2024-12-31", SECOND_US - 86_399_000_000),
        ("2024-12-31 23:59", SECOND_US - 59_000_000),
        ("2024-12-31T23:59:59Z", SECOND_US),
        ("2024-12-31 23:59:59 UTC", SECOND_US),
        ("2024-12-31T18:59:59-05:00", SECOND_US),
        ("2025-01-01T05:29:59+0530", SECOND_US),
        ("2025-01-01 00:59:59+01", SECOND_US),
        ("2024-12-31T23:59:59,123456789z", EXAMPLE_US),
        ("2024-12-31T23:59:59.999999999Z", SECOND_US + 999_999),
        (" 1735689599 ", SECOND_US),
        ("1735689599999999999", SECOND_US + 999_999),
        ("1.735689599e9", SECOND_US),
        ("1.735689599123e+12", SECOND_US + 123_000),
    ],
)
def test_texts(value: str, expected_us: int) -> None:
    """Offsets are applied, digits below a microsecond are cut."""
    assert time_us(pl.Series([value])).to_list() == [expected_us]


@pytest.mark.parametrize(
    "value",
    ["", "17", "-1735689599", "0", "yesterday", "1735689599e", "NaN", "inf", "1e400", "2024-13-01", "2024-02-30",
     "2024-12-31 25:00", "1969-12-31T23:59:59Z", "56970-01-01", "99999999999999999999", "20241231", "31.12.2024"],
)  # fmt: skip
def test_texts_that_are_no_plausible_time_are_null(value: str) -> None:
    """Nothing is guessed."""
    assert time_us(pl.Series([value])).to_list() == [None]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([SECOND_US]).cast(pl.Datetime("us")),
        pl.Series([SECOND_US]).cast(pl.Datetime("us", "UTC")),
        pl.Series([SECOND_US]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone("America/New_York"),
        pl.Series([SECOND_US // 1000]).cast(pl.Datetime("ms")),
        pl.Series([SECOND_US * 1000 + 999]).cast(pl.Datetime("ns")),
        pl.Series([SECOND_US // 1_000_000], dtype=pl.Int32),
        pl.Series([SECOND_US // 1_000_000], dtype=pl.UInt32),
        pl.Series([SECOND_US], dtype=pl.UInt64),
        pl.Series([SECOND_US / 1e6]),
        pl.Series([SECOND_US / 1e3]),
        pl.Series([SECOND_US * 1e3]),
        pl.Series([str(SECOND_US)]).cast(pl.Decimal(20, 2)),
    ],
    ids=lambda column: str(column.dtype),
)
def test_columns(column: pl.Series) -> None:
    """Every type of column that holds times."""
    assert time_us(column).to_list() == [SECOND_US]


def test_dates() -> None:
    """A date is its midnight in UTC."""
    assert time_us(pl.Series(["2024-12-31"]).str.to_date()).to_list() == [SECOND_US - 86_399_000_000]


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([-1, 0, 17, 2**63 - 1]),
        pl.Series([2**64 - 1], dtype=pl.UInt64),
        pl.Series([float("nan"), float("inf"), -1.0, 1e300]),
        pl.Series([None, None]),
        pl.Series([datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 2100, 9999)]),
    ],
)
def test_implausible_values_are_null(column: pl.Series) -> None:
    """Values outside 2009 to 2099 in every unit."""
    assert time_us(column).null_count() == len(column)


@pytest.mark.parametrize("kind", [pl.Boolean, pl.Float32, pl.Binary])
def test_other_columns_are_refused(kind: type[pl.DataType]) -> None:
    """A single-precision float is minutes off."""
    with pytest.raises(ValueError, match="write ISO 8601 times"):
        time_us(pl.Series([], dtype=kind))
