"""``forecastd explain``: the attention and feature weights of a stored forecast. Needs no torch and no model."""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.cli.commands.console import open_console
from daemon.cli.commands.status import client_for
from daemon.config import Secrets, load_config
from daemon.errors import Unreachable
from daemon.explaining.document import document
from daemon.explaining.finding import Explained, find
from daemon.explaining.picture import check_drawable, draw
from daemon.explaining.text import print_explanation
from daemon.serving.status import StatusDocument
from daemon.store.ledger import LEDGER_NAME, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """forecast: an id or "latest". last: forecasts in the heat map. plot: where a PNG goes, None for none.

    state_dir: whose store; None for the running daemon's, else the configured one.
    """

    forecast: str
    symbol: str | None
    last: int
    plot: Path | None
    state_dir: Path | None


def run_explain(config_file: Path | None, options: ExplainOptions, *, json: bool) -> None:
    """Prints the explanation, or one JSON document, and draws where asked.

    Raises Unreachable where there is no store or no forecast, ExplainRefused or PlotRefused for what cannot be done.
    """
    if options.plot is not None:
        check_drawable(options.plot)
    found = _find(config_file, options)
    if json:
        sys.stdout.write(jsonlib.dumps(document(found)) + "\n")
    else:
        print_explanation(open_console(), found)
    if options.plot is not None:
        draw(found, options.plot)
        sys.stderr.write(f"picture: {options.plot}\n")


def _find(config_file: Path | None, options: ExplainOptions) -> Explained:
    config = load_config(config_file, secrets=Secrets.UNCHECKED)
    folder = options.state_dir or _running(config_file) or config.instance.state_dir
    with Ledger(folder / LEDGER_NAME, read_only=True) as ledger:
        return find(ledger, options.forecast, symbol=options.symbol, last=options.last, preferred=config.instruments)


def _running(config_file: Path | None) -> Path | None:
    """The state directory of the daemon that runs, a demo's too; with a configuration file that one counts."""
    if config_file is not None:
        return None

    async def ask() -> Path | None:
        async for reply in client_for(None).stream("status"):
            return Path(msgspec.convert(reply, StatusDocument).store.path)
        return None

    try:
        return asyncio.run(ask())
    except Unreachable:
        return None
