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

from daemon.config import load_config
from daemon.serving.control import ControlClient, search_paths
from daemon.serving.status import StatusDocument

DEMO_INSTANCE = "demo"


def client_for(config_file: Path | None) -> ControlClient:
    """A client of the configured instance; without a configuration file a running demo is found too."""
    instance = load_config(config_file).instance
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
    document = msgspec.convert(reply, StatusDocument)
    console = Console()
    console.print(f"[bold]{document.instance}[/] is {document.state} {document.reason} (market time {document.clock})")
    console.print(_symbols(document))
    console.print(f"broker {document.mqtt.url}: {'connected' if document.mqtt.connected else document.mqtt.reason}")
    if document.model:
        console.print(f"model {document.model.kind} {document.model.id}, trained until {document.model.trained_until}")
    if document.retrain and document.retrain.running:
        console.print(f"retraining: {document.retrain.stage} {100 * (document.retrain.progress or 0):.0f}%")


async def _ask(client: ControlClient) -> dict[str, Any]:
    async for reply in client.stream("status"):
        return reply
    return {}


def _symbols(document: StatusDocument) -> Table:
    table = Table("symbol", "state", "price", "last bar", "verdict", "forecast", "scored", "pinball vs HAR")
    for each in document.symbols:
        skill = each.skill
        table.add_row(
            f"{each.venue}:{each.symbol}",
            each.state,
            f"{each.price:g}" if each.price else "-",
            each.bar.close_time if each.bar else "-",
            each.bar.completeness if each.bar else "-",
            f"{each.forecast.source} ({each.forecast.kind})" if each.forecast else "-",
            str(skill.scored) if skill else "0",
            ratio(skill.pinball_vs_har, skill.pinball_vs_har_se) if skill else "-",
        )
    return table


def ratio(value: float | None, standard_error: float | None) -> str:
    """A skill ratio beside its standard error; a dash until there are enough scores."""
    if value is None or standard_error is None:
        return "-"
    return f"{value:.3f} ± {standard_error:.3f}"
