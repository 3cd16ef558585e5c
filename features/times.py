"""Time columns of files: the one rule by which every reader turns a value into UTC microseconds.

The unit is decided for each value by its size: within the plausible years, seconds, milliseconds, microseconds and
nanoseconds have ranges that are a factor of 300 apart. Fractions below a microsecond are cut, never rounded, so that
no time moves into the next bar.
"""

from __future__ import annotations

import polars as pl

FIRST_TIME_US = 1_230_768_000_000_000  # 2009-01-01: before any coin was traded
END_TIME_US = 4_102_444_800_000_000  # 2100-01-01

ACCEPTED_TIMES = (
    "write ISO 8601 times, or seconds, milliseconds, microseconds or nanoseconds since 1970, within 2009 to 2099"
)

# Below each bound a number has this unit: seconds up to the year 5138, milliseconds and microseconds likewise.
_SECONDS_END, _MILLISECONDS_END, _MICROSECONDS_END = 10**11, 10**14, 10**17
_NUMBER = r"^([0-9]{1,19})(?:\.([0-9]*))?$"
_ISO = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r" ?(?:[Zz]|UTC|([+-])([0-9]{2}):?([0-9]{2})?)?$"
)


def time_us(times: pl.Series) -> pl.Series:
    """UTC microseconds (Int64) of each value; null where it is null, unreadable, or outside 2009 to 2099.

    Takes integers, doubles, decimals, dates, datetimes (UTC where they have no zone), and texts of these; a text
    without an offset is UTC. Raises ValueError for columns of any other type.
    """
    return times.to_frame("time").select(_plausible(_read(times.dtype))).to_series().rename(times.name)


def _read(kind: pl.DataType) -> pl.Expr:
    column = pl.col("time")
    match kind:
        case pl.Datetime():
            return column.dt.epoch("ns") // 1000 if kind.time_unit == "ns" else column.dt.epoch("us")
        case pl.Date():
            return column.cast(pl.Datetime("us")).dt.epoch("us")
        case pl.Float64():
            return _from_float(column)
        case pl.String() | pl.Decimal():
            return _from_text(column.cast(pl.String).str.strip_chars())
        case pl.Null():
            return column.cast(pl.Int64)
        case _ if kind.is_integer():
            return _from_integer(column.cast(pl.Int64, strict=False))
    raise ValueError(f"is {kind}; {ACCEPTED_TIMES}")


def _plausible(time: pl.Expr) -> pl.Expr:
    return pl.when(time.is_between(FIRST_TIME_US, END_TIME_US, closed="left")).then(time)


def _from_integer(number: pl.Expr) -> pl.Expr:
    return (
        pl.when(number < 0)
        .then(None)
        .when(number < _SECONDS_END)
        .then(number * 1_000_000)
        .when(number < _MILLISECONDS_END)
        .then(number * 1_000)
        .when(number < _MICROSECONDS_END)
        .then(number)
        .otherwise(number // 1_000)
    )


def _from_float(number: pl.Expr) -> pl.Expr:
    """The whole part exactly; the fraction to the nearest microsecond that does not reach the next whole number."""
    finite = pl.when(number.is_between(0, 2**63, closed="left")).then(number)
    whole = finite.floor()
    fraction = finite - whole
    whole = whole.cast(pl.Int64)
    parts = (
        pl.when(whole < _SECONDS_END)
        .then((fraction * 1e6).round().clip(0, 999_999))
        .when(whole < _MILLISECONDS_END)
        .then((fraction * 1e3).round().clip(0, 999))
        .otherwise(0)
    )
    return _from_integer(whole) + parts.cast(pl.Int64)


def _from_text(text: pl.Expr) -> pl.Expr:
    number = text.str.extract(_NUMBER, 1).cast(pl.Int64, strict=False)
    digits = text.str.extract(_NUMBER, 2).fill_null("")
    fraction = (
        pl.when(number < _SECONDS_END)
        .then(_digits(digits, 6))
        .when(number < _MILLISECONDS_END)
        .then(_digits(digits, 3))
        .otherwise(0)
    )
    exponent = pl.when(text.str.contains("^[0-9.]+[eE][+]?[0-9]+$")).then(text).cast(pl.Float64, strict=False)
    return pl.coalesce(_from_integer(number) + fraction, _from_iso(text), _from_float(exponent))


def _from_iso(text: pl.Expr) -> pl.Expr:
    date, minute, second, digits, sign, hours, minutes = (text.str.extract(_ISO, group) for group in range(1, 8))
    clock = pl.concat_str(date, minute.fill_null("00:00"), second.fill_null("00"), separator=" ")
    local = clock.str.to_datetime("%Y-%m-%d %H:%M %S", strict=False, time_unit="us").dt.epoch("us")
    offset_minutes = _digits(hours, 2) * 60 + _digits(minutes.fill_null("00"), 2)
    east = pl.when(sign == "-").then(-offset_minutes).otherwise(offset_minutes).fill_null(0)
    return local + _digits(digits.fill_null(""), 6) - east * 60_000_000


def _digits(text: pl.Expr, places: int) -> pl.Expr:
    """The first ``places`` decimals as an integer."""
    return text.str.pad_end(places, "0").str.slice(0, places).cast(pl.Int64, strict=False)
