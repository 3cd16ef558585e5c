"""The proxy of the environment: which one a venue's address is reached through, and whether it can be used."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from daemon.errors import ConfigError
from daemon.ingest.http_errors import is_loopback

if TYPE_CHECKING:
    import aiohttp

_SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
_SCHEMES = ("http", "https", *_SOCKS)
# The environment's variables (name_proxy) in the order in which they are asked.
_VARIABLES = {
    "wss": ("wss", "https", "socks", "all"),
    "https": ("https", "socks", "all"),
    "ws": ("ws", "http", "socks", "all"),
    "http": ("http", "socks", "all"),
}


def socks_errors() -> tuple[type[Exception], ...]:
    """The errors of requests through a SOCKS proxy that are none of aiohttp's."""
    if not _socks_installed():
        return ()
    import aiohttp_socks  # noqa: PLC0415  # an extra
    import python_socks  # noqa: PLC0415

    # aiohttp_socks has errors of its own from 0.12 on; they derive from Exception alone.
    own = (aiohttp_socks.ProxyError, aiohttp_socks.ProxyConnectionError, aiohttp_socks.ProxyTimeoutError)
    return (*own, python_socks.ProxyError, EOFError, OSError)


class Proxy(NamedTuple):
    """A usable proxy: its URL with credentials, and whether it speaks SOCKS."""

    url: str
    socks: bool

    def connector(self) -> aiohttp.BaseConnector | None:
        """The connector for requests through a SOCKS proxy; None for HTTP, which aiohttp speaks itself."""
        if not self.socks:
            return None
        from aiohttp_socks import ProxyConnector  # noqa: PLC0415  # an extra

        scheme, _, rest = self.url.partition("://")
        # The proxy resolves names with the schemes socks4a and socks5h only.
        resolved_there = scheme in ("socks4a", "socks5h")
        connector: aiohttp.BaseConnector = ProxyConnector.from_url(f"{scheme[:6]}://{rest}", rdns=resolved_there)
        return connector


def proxy_for(url: str) -> Proxy | None:
    """The proxy for ``url``; None for this machine, hosts of ``no_proxy``, and where no variable names one.

    Raises ConfigError where the variable's value cannot be used.
    """
    found = _variable(url)
    if found is None:
        return None
    variable, value = found
    parts = _split(value)
    scheme = value.partition("://")[0].lower() if "://" in value else ""
    if parts is None or scheme not in _SCHEMES:
        raise ConfigError([f"{variable} was {_printable(value)}; write {_example(parts)}"])
    if scheme in _SOCKS and not _socks_installed():
        cure = 'install the extra: pip install "forecastd[socks]", or name an HTTP proxy'
        raise ConfigError([f"{variable} was {_printable(value)}, a SOCKS proxy; {cure}"])
    return Proxy(f"{scheme}://{value.partition('://')[2]}".rstrip("/"), scheme in _SOCKS)


def check_proxies(urls: Iterable[str]) -> None:
    """Raises ConfigError with one line for each variable that names an unusable proxy for any of ``urls``."""
    problems: dict[str, None] = {}
    for url in urls:
        try:
            proxy_for(url)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(list(problems))


def _variable(url: str) -> tuple[str, str] | None:
    """The variable, as it is spelt in messages, and its value."""
    parts = urlsplit(url)
    if is_loopback(url):
        return None
    proxies = getproxies_environment()
    if proxy_bypass(parts.netloc.rpartition("@")[2], proxies):
        return None
    for name in _VARIABLES.get(parts.scheme, ()):
        if value := proxies.get(name, "").strip():
            variable = f"{name}_proxy"
            return variable if variable in os.environ else variable.upper(), value
    return None


def _split(value: str) -> SplitResult | None:
    """The parts of the value, with or without a scheme; None without a host, or with an impossible port."""
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable and not any(character.isspace() for character in value) else None


def _example(parts: SplitResult | None) -> str:
    """The cure: the value as an HTTP proxy, without its credentials."""
    if parts is None:
        return "http://HOST:PORT"
    return f"http://{parts.netloc.rpartition('@')[2]}"


def _printable(value: str) -> str:
    """The value without its credentials."""
    scheme, mark, rest = value.rpartition("://")
    return f'"{scheme}{mark}{rest.rpartition("@")[2]}"'


def _socks_installed() -> bool:
    return find_spec("python_socks") is not None and find_spec("aiohttp_socks") is not None
