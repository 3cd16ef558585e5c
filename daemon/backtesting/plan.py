"""What a backtest runs over: bars, dates, folds and kinds, from the command's options and the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from daemon.cli.commands.history import open_ledger
from daemon.clock import SystemClock
from daemon.config import Config
from daemon.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from daemon.timestamps import from_iso, iso
from features.market import Instrument
from models.evaluation.candidates import ALWAYS, RIVALS, Settings, installed_rivals, is_installed, known_kinds
from models.evaluation.inputs import reach_bars
from models.evaluation.splits import Fold, walk_forward_folds
from models.overrides import Overrides
from models.specification import NETWORK_KINDS
from models.training.bars_file import BarsRefused, read_bars

DAY_US = 86_400_000_000
DEFAULT_DAYS = 90


class BacktestRefused(Fatal):
    """The command's arguments do not fit together, or not the data."""

    exit_code = EXIT_USAGE


class NoTestBars(Fatal):
    """The store holds nothing to test on."""

    exit_code = EXIT_UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestOptions:
    """What was asked for; None and empty mean the default.

    models: kinds to judge. overrides: NAME=VALUE of the one network or trees to judge. baselines: what stands beside
    them, all that are installed where empty. conformal: whether online calibration is measured too, None as the
    configuration says. report: a folder.
    """

    symbols: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    folds: int = 3
    models: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    preset: str = "auto"
    overrides: tuple[str, ...] = ()
    epochs: int | None = None
    conformal: bool | None = None
    report: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A backtest that can run. kinds: those to judge first, then the baselines. conformal: calibrated ones beside."""

    bars: pl.DataFrame
    folds: tuple[Fold, ...]
    kinds: tuple[str, ...]
    settings: Settings
    conformal: bool

    @property
    def from_us(self) -> int:
        return self.folds[0].test_from_us

    @property
    def until_us(self) -> int:
        return self.folds[-1].test_until_us


def make_plan(config: Config, options: BacktestOptions) -> Plan:
    """Raises BacktestRefused where the options contradict one another or the data, NoBars for an empty store."""
    kinds = chosen_kinds(options)
    interval_us = config.bars.interval_us
    bars = _from_files(options) if options.data else _from_store(config, options)
    first_us, last_us = _span(bars, interval_us)
    # The last close of the data is a cut-off too, although its outcome is not known yet.
    until_us = _time("--to", options.end, interval_us) if options.end else last_us + interval_us
    from_us = _time("--from", options.start, interval_us) if options.start else until_us - DEFAULT_DAYS * DAY_US
    if not first_us < from_us < until_us <= last_us + interval_us:
        raise BacktestRefused(
            f"--from {iso(from_us)} and --to {iso(until_us)} must be in this order and within the bars, "
            f"{iso(first_us)} to {iso(last_us)}"
        )
    settings = Settings(
        interval_us=interval_us,
        horizons=config.model.horizons,
        levels=config.model.quantiles,
        window=config.features.window,
        preset=config.model.preset if options.preset == "auto" else options.preset,
        device=config.model.device,
        epochs=options.epochs,
        overrides=_overrides(config, options),
        threads=1,  # whatever the engine and the number of workers: the result is the same to the last bit
        keep_in=None if options.report is None else options.report.absolute() / "models",
    )
    try:
        folds = walk_forward_folds(
            first_us=first_us,
            from_us=from_us,
            until_us=until_us,
            count=options.folds,
            interval_us=interval_us,
            label_span_us=max(settings.horizons) * interval_us,
            history_us=config.retrain.history.microseconds,
        )
    except ValueError as error:
        raise BacktestRefused(str(error)) from error
    conformal = config.model.conformal if options.conformal is None else options.conformal
    return Plan(bars, folds, kinds, settings, conformal)


def chosen_kinds(options: BacktestOptions) -> tuple[str, ...]:
    """Those to judge, then the baselines. Raises BacktestRefused for one that is unknown or not installed."""
    for option, names, known in (
        ("--model", options.models, known_kinds()),
        ("--baselines", options.baselines, RIVALS),
    ):
        if unknown := [name for name in names if name not in known]:
            raise BacktestRefused(f"{option}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
        if absent := [name for name in names if not is_installed(name)]:
            raise BacktestRefused(f'{option}: {absent[0]} is not installed: pip install "forecastd[{absent[0]}]"')
    return tuple(dict.fromkeys((*options.models, *(options.baselines or installed_rivals()), *ALWAYS)))


def _overrides(config: Config, options: BacktestOptions) -> dict[str, Overrides]:
    """By kind: what was asked for, else what the configuration says of its own network."""
    if not options.overrides:
        return {config.model.kind: Overrides.parse(config.model.overrides)} if config.model.overrides else {}
    if len(options.models) != 1:
        raise BacktestRefused("--set is of one kind: name it, and only it, with --model")
    [kind] = options.models
    try:
        overrides = Overrides.parse(options.overrides)
        overrides.check(kind)
    except ValueError as error:
        raise BacktestRefused(f"--set: {error}") from error
    return {kind: overrides}


def on_gpu(kinds: Sequence[str], device: str) -> bool:
    """Whether any of the kinds computes on a GPU; torch is imported only where it may."""
    if device == "cpu" or not set(kinds) & set(NETWORK_KINDS):
        return False
    from models.devices import choose_device  # noqa: PLC0415  # no network, no torch

    try:
        return choose_device(device).type == "cuda"
    except ValueError as error:
        raise BacktestRefused(f"model.device: {error}") from error


def _time(option: str, text: str, interval_us: int) -> int:
    """A day or instant of UTC, on the grid of bars."""
    try:
        time_us = from_iso(text)
    except ValueError as error:
        raise BacktestRefused(f"{option} was {text!r}; write a day or time of UTC, e.g. 2025-01-01") from error
    return -(-time_us // interval_us) * interval_us


def _span(bars: pl.DataFrame, interval_us: int) -> tuple[int, int]:
    """The first open and the last close."""
    opens = bars["open_time_us"]
    return int(opens.min()), int(opens.max()) + interval_us  # type: ignore[arg-type]  # an integer column


def _from_files(options: BacktestOptions) -> pl.DataFrame:
    """All files together; of each, the symbols that are wanted and there."""
    try:
        return read_bars(options.data, symbols=options.symbols)
    except BarsRefused as error:
        raise BacktestRefused(str(error)) from error


def _from_store(config: Config, options: BacktestOptions) -> pl.DataFrame:
    interval_us, now_us = config.bars.interval_us, SystemClock().market_us()
    with open_ledger(config) as ledger:
        stored = [Instrument(span.venue, span.symbol) for span in ledger.spans(interval_us)]
        chosen = [each for each in stored if each.symbol in options.symbols] if options.symbols else config.instruments
        if unknown := set(options.symbols) - {each.symbol for each in stored}:
            held = ", ".join(map(str, stored)) or "none"
            raise BacktestRefused(f"--symbols: the store holds no {', '.join(sorted(unknown))}; it holds {held}")
        bars = ledger.bars_frame(chosen, interval_us, 0, now_us)
    if bars.height <= reach_bars(config.features.window):
        raise NoTestBars(
            f"{config.instance.state_dir}: the store holds {bars.height} bars, too few to test on; forecastd history "
            "fetch first, or name files with --data"
        )
    return bars
