"""``forecastd replay``."""

from __future__ import annotations

import json as jsonlib
import os
import sys
from collections import Counter
from pathlib import Path

import msgspec
import polars as pl

from daemon.errors import EXIT_USAGE, Fatal
from daemon.exchanges import VENUE_NAMES, venue
from daemon.exchanges.base import traits
from daemon.intervals import parse_interval
from daemon.logs import start_logging
from daemon.output_files import write_file, write_parquet
from daemon.publishing import payloads
from daemon.recordings import read
from daemon.recordings.replay import Replay, ReplayResult
from features.market import Audit, Instrument
from features.symbols import is_symbol, letters_and_digits, readings, spell, why_not_split
from models.baselines import RANDOM_WALK_LEAST_RETURNS

_MISSING = pl.List(pl.Struct({"first_id": pl.Int64, "last_id": pl.Int64, "after": pl.String, "before": pl.String}))
_LEAST_BARS = RANDOM_WALK_LEAST_RETURNS + 1


class ReplayRefused(Fatal):
    """The command's arguments do not fit together."""

    exit_code = EXIT_USAGE


def run_replay(
    file: Path,
    *,
    venue_name: str,
    interval: str,
    bars_file: Path | None,
    forecasts_file: Path | None,
    symbol: str | None,
    json: bool,
) -> None:
    """Replays a file and writes what comes out; prints a summary."""
    start_logging(level="warning")
    interval_us = _checked(venue_name, interval, symbol)
    _check_folder("--bars", bars_file)
    _check_folder("--forecasts", forecasts_file)
    recording = read(file, venue_name=venue_name, symbol=symbol)
    instruments = [Instrument(venue_name, name) for name in recording.symbols]
    known = {venue_name: traits(venue(venue_name, None))}
    replayed = Replay(instruments, interval_us=interval_us, traits=known).run(recording, venue_name)
    if bars_file is not None:
        write_parquet(bars_file, bars_table(replayed))
    if forecasts_file is not None:
        write_file(forecasts_file, b"".join(line + b"\n" for line in replayed.forecasts))
    _summarise(file, replayed, json=json)


def _checked(venue_name: str, interval: str, symbol: str | None) -> int:
    """The interval in microseconds, once the arguments are usable."""
    if venue_name not in VENUE_NAMES:
        raise ReplayRefused(f"--venue was {venue_name!r}; known venues: {', '.join(VENUE_NAMES)}")
    if symbol is not None and not is_symbol(symbol):
        _check_spelling(symbol)
    try:
        return parse_interval(interval)
    except ValueError as error:
        raise ReplayRefused(f"--interval: {error}") from error


def _check_spelling(symbol: str) -> None:
    """A name that cannot be split may be what a venue calls a contract."""
    if (spelt := spell(symbol)) is not None:
        raise ReplayRefused(f"--symbol was {symbol!r}; write {spelt}")
    if len(readings(letters_and_digits(symbol))) > 1:
        raise ReplayRefused(f"--symbol was {symbol!r}, which {why_not_split(symbol)}; write one of them")


def _check_folder(option: str, file: Path | None) -> None:
    """Before the work, not after it."""
    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise ReplayRefused(f"{option} was {file}; there is no folder {file.parent}")
    if file.is_dir() or not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise ReplayRefused(f"{option} was {file}, which cannot be written")


def bars_table(replayed: ReplayResult) -> pl.DataFrame:
    """The bars with the columns of ``forecastd.bar.v1``; times as UTC datetimes."""
    rows = [
        msgspec.json.decode(payloads.bar(msgspec.structs.replace(bar, audit=Audit.UNAVAILABLE)))
        for _, bar in sorted(replayed.bars.items())
    ]
    numbers = dict.fromkeys(
        (
            *("open", "high", "low", "close", "vwap", "volume", "quote_volume"),
            *("taker_buy_volume", "taker_buy_quote_volume"),
        ),
        pl.Float64,
    )
    counts = dict.fromkeys(
        ("revision", "trades", "first_trade_id", "last_trade_id", "missing_trades", "late_trades"), pl.Int64
    )
    types: dict[str, pl.DataType | type[pl.DataType]] = {**numbers, **counts, "missing_ranges": _MISSING}
    table = pl.DataFrame(rows, infer_schema_length=None, schema_overrides=types)
    ranges = pl.element().struct.with_fields(_times(pl.field("after")), _times(pl.field("before")))
    return table.with_columns(_times(pl.col("open_time", "close_time")), pl.col("missing_ranges").list.eval(ranges))


def _times(texts: pl.Expr) -> pl.Expr:
    return texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")


def _summarise(file: Path, replayed: ReplayResult, *, json: bool) -> None:
    verdicts = Counter(bar.completeness.value for bar in replayed.bars.values())
    if json:
        summary = {
            "file": str(file),
            "trades": replayed.trades,
            "duplicates": replayed.duplicates,
            "bars": len(replayed.bars),
            "completeness": dict(verdicts),
            "forecasts": len(replayed.forecasts),
            "why_no_forecasts": _silence(replayed),
        }
        sys.stdout.write(jsonlib.dumps(summary) + "\n")
        return
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    sys.stdout.write(
        f"{replayed.trades} trades ({replayed.duplicates} duplicates dropped), {len(replayed.bars)} bars ({counts}), "
        f"{len(replayed.forecasts)} forecasts\n"
    )
    if silence := _silence(replayed):
        sys.stdout.write(f"{silence}\n")


def _silence(replayed: ReplayResult) -> str | None:
    """Why nothing was forecast."""
    if replayed.forecasts:
        return None
    bars = Counter(instrument for instrument, _ in replayed.bars)
    longest = max(bars.values(), default=0)
    return (
        f"no forecasts: a baseline needs {_LEAST_BARS} traded bars of a symbol, here are {longest} at most; "
        "replay a longer recording or a shorter --interval"
    )
