"""Owner of a store: the instance, bar interval and venue hosts that its rows belong to. Another owner is refused."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
import structlog

from daemon.config import Config
from daemon.errors import ConfigError
from daemon.exchanges import venue
from daemon.ingest.http_errors import is_loopback
from daemon.intervals import interval_name
from daemon.store.ledger import Ledger

log = structlog.get_logger(__name__)

_KEY = "owner"
LOOPBACK = "loopback"


class StoreOwner(msgspec.Struct, frozen=True):
    """``venues``: the hosts of the websocket and REST addresses of each venue; ``loopback`` for this machine."""

    instance: str
    interval: str
    venues: dict[str, tuple[str, str]]


def owner_of(config: Config) -> StoreOwner:
    """What the configuration says; every port of this machine is the same host, as a simulator changes its port."""
    venues: dict[str, tuple[str, str]] = {}
    for feed in config.feeds:
        wire = venue(feed.venue, [])
        venues[feed.venue] = (_host(feed.ws_url or wire.default_ws_url), _host(feed.rest_url or wire.default_rest_url))
    return StoreOwner(config.instance.name, interval_name(config.bars.interval_us), venues)


def claim_store(ledger: Ledger, config: Config) -> None:
    """Records the owner in a store that has none, as earlier versions left it, and venues that are new.

    Raises ConfigError where the store belongs to another instance or interval, or has a venue's rows from another host.
    """
    wanted = owner_of(config)
    text = ledger.meta(_KEY)
    if text is None:
        log.info("store_claimed", path=str(ledger.path), instance=wanted.instance, interval=wanted.interval)
        ledger.set_meta(_KEY, msgspec.json.encode(wanted).decode())
        return
    stored = msgspec.json.decode(text, type=StoreOwner)
    if problems := _differences(stored, wanted):
        cure = "choose another [instance] state_dir, or set it back"
        raise ConfigError([f"[instance] state_dir: {ledger.path} {problem}; {cure}" for problem in problems])
    merged = StoreOwner(wanted.instance, wanted.interval, {**stored.venues, **wanted.venues})
    if merged != stored:
        ledger.set_meta(_KEY, msgspec.json.encode(merged).decode())


def _differences(stored: StoreOwner, wanted: StoreOwner) -> list[str]:
    problems = []
    if stored.instance != wanted.instance:
        problems.append(f"belongs to the instance {stored.instance!r}, not to {wanted.instance!r}")
    if stored.interval != wanted.interval:
        problems.append(f"was made with [bars] interval {stored.interval}, not {wanted.interval}")
    for name, hosts in wanted.venues.items():
        before = stored.venues.get(name, hosts)
        if before != hosts:
            problems.append(f"holds {name} from {_listed(before)}, not from {_listed(hosts)}")
    return problems


def _listed(hosts: tuple[str, str]) -> str:
    return " and ".join(dict.fromkeys(hosts))


def _host(url: str) -> str:
    return LOOPBACK if is_loopback(url) else (urlsplit(url).hostname or url)
