"""The daemon as ``forecastd run`` starts it, on the soak's clock: ``python -m tests.soak.child CONFIG CLOCK``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import uvloop

from daemon.config import load_config
from daemon.logs import start_logging
from daemon.runtime.app import App
from tests.soak.clock import SharedClock


async def serve(config_file: Path, clock: SharedClock) -> None:
    config = load_config(config_file)
    start_logging(level=config.log.level, log_format=config.log.format)
    app = App(config, clock=clock, environ=os.environ)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, app.stop)
    await app.run()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), SharedClock(**json.loads(sys.argv[2]))))
