"""``forecastd status``: asks the running daemon over its socket."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from daemon.cli.commands.console import grouped_table, open_console
from daemon.config import Secrets, load_config
from daemon.serving.control import ControlClient, search_paths
from daemon.serving.status import StatusDocument, SymbolStatus

DEMO_INSTANCE = "demo"


def client_for(config_file: Path | None) -> ControlClient:
    """A client of the configured instance; without a configuration file a running demo is found too."""
    instance = load_config(config_file, secrets=Secrets.UNCHECKED).instance
    paths = search_paths(instance.name, instance.state_dir, os.environ)
    if config_file is None:
        paths += search_paths(DEMO_INSTANCE, instance.state_dir, os.environ)
    return ControlClient(paths)


def show_status(config_file: Path | None, *, json: bool) -> None:
    """Prints the status document, or as JSON. Raises Unreachable without a daemon."""
    reply = asyncio.run(_ask(client_for(config_file)))
    if json:
        sys.stdout.write(msgspec.json.encode(reply).decode() + "\n")
        return
    print_document(open_console(), msgspec.convert(reply, StatusDocument))


def print_document(console: Console, document: StatusDocument) -> None:
    """The document for people: state, one row a symbol, broker, model."""
    reason = f": {document.reason}" if document.reason else ""
    console.print(f"[bold]{document.instance}[/] is {document.state}{reason} (market time {document.clock})")
    console.print(_symbols(console, document))
    console.print(f"broker {document.mqtt.url}: {'connected' if document.mqtt.connected else document.mqtt.reason}")
    if document.model:
        console.print(f"model {document.model.kind} {document.model.id}, trained until {document.model.trained_until}")
    if document.retrain and document.retrain.running:
        console.print(f"retraining: {document.retrain.stage} {100 * (document.retrain.progress or 0):.0f}%")


async def _ask(client: ControlClient) -> dict[str, Any]:
    async for reply in client.stream("status"):
        return reply
    return {}


def _symbols(console: Console, document: StatusDocument) -> Table:
    header = (("symbol", "venue"), ("state", "price"), ("last bar", "verdict"), ("source", "kind"))
    return grouped_table(console, (*header, ("scored", "pinball/HAR")), map(_symbol_row, document.symbols))


def _symbol_row(each: SymbolStatus) -> tuple[tuple[str, str], ...]:
    skill = each.skill
    return (
        (each.symbol, each.venue),
        (each.state, "-" if each.price is None else f"{each.price:.10g}"),
        (_minute(each.bar.close_time), each.bar.completeness) if each.bar else ("-", "-"),
        (each.forecast.source, each.forecast.kind) if each.forecast else ("-", "-"),
        (str(skill.scored), ratio(skill.pinball_vs_har, skill.pinball_vs_har_se)) if skill else ("0", "-"),
    )


def _minute(time: str) -> str:
    """``2025-11-02T01:00:00Z`` as ``2025-11-02 01:00Z``; seconds stay where they are not 0."""
    return time.replace("T", " ").replace(":00Z", "Z")


def ratio(value: float | None, standard_error: float | None) -> str:
    """A skill ratio beside its standard error; a dash until there are enough scores."""
    if value is None or standard_error is None:
        return "-"
    return f"{value:.3f} ± {standard_error:.3f}"
