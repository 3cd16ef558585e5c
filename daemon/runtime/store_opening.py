"""Opens the store in a thread, so that the event loop turns, and checks its file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from daemon.config import Config
from daemon.errors import ConfigError, Retryable
from daemon.private_files import prepare_state_dir
from daemon.runtime.state_lock import TRANSIENT, StateLock
from daemon.store.checking import StoreCheck, stopped_cleanly
from daemon.store.ledger import LEDGER_NAME, Ledger
from daemon.store.thread import StoreThread

log = structlog.get_logger(__name__)


def locked_state(config: Config) -> StateLock:
    """The lock of the state directory, which is made where it does not exist. Raises ConfigError like the lock."""
    return StateLock(prepared_state_dir(config.instance.state_dir), config.instance.name)


async def open_ledger(config: Config) -> Ledger:
    """Opens the ledger; after an unclean stop its whole file is checked first.

    Raises the errors of ``Ledger``, and ConfigError where the state directory cannot be made.
    """
    path = prepared_state_dir(config.instance.state_dir) / LEDGER_NAME
    clean = stopped_cleanly(path)
    if not clean:
        log.info("store_checked_first", path=str(path), reason="the last stop was not clean")
    return await asyncio.to_thread(Ledger, path, check=not clean)


async def check_store(path: Path, store: StoreThread) -> None:
    """Checks the whole file once, beside the writes; damage becomes a fault of ``store``."""
    check = StoreCheck(path)
    checking = asyncio.create_task(asyncio.to_thread(check.run), name="store check")
    try:
        damage = await asyncio.shield(checking)
    finally:
        check.stop()
        await checking
    if damage is not None:
        store.report_fault(damage)


def prepared_state_dir(state_dir: Path) -> Path:
    """The folder, made where it is missing, with private files. Raises ConfigError or, where it may pass, Retryable."""
    try:
        prepare_state_dir(state_dir)
    except OSError as error:
        if error.errno in TRANSIENT:
            raise Retryable(f"[instance] state_dir {state_dir}: {error.strerror}") from error
        raise ConfigError(
            [f"[instance] state_dir {state_dir}: {error.strerror}; make it writable or choose another"]
        ) from error
    return state_dir
