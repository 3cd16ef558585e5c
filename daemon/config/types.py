"""Value types of the configuration (durations, addresses, files), with errors that name the cure."""

from __future__ import annotations

import ipaddress
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, Strict, ValidationInfo, WithJsonSchema

from daemon.config.sharding import Shard, parse_shard
from features.symbols import is_symbol, spell

# Letters and digits of any script: neither white space nor ASCII's signs and small letters.
_CURRENCY = r"[^\s!-/:-@\[-`a-z{-~]+"
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_DURATION = re.compile(r"([1-9][0-9]*)([smhdwy])")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
CREDENTIALS = "${CREDENTIALS_DIRECTORY}"
SHORTEST_TOKEN = 16  # characters
_TOKEN_ADVICE = "write a random token into it, e.g. with openssl rand -hex 32"  # noqa: S105  # advice


class Secrets(Enum):
    """Which files of secrets and certificates must be readable.

    REQUIRED: all, as the daemon needs. UNCHECKED_CREDENTIALS: all but those in ``${CREDENTIALS_DIRECTORY}``, which only
    exists under systemd. UNCHECKED: none, for commands that use no secrets.
    """

    REQUIRED = "required"
    UNCHECKED_CREDENTIALS = "unchecked credentials"
    UNCHECKED = "unchecked"


class ValidationContext(NamedTuple):
    """Validation context: the environment that expands paths, and which files must be readable."""

    environ: Mapping[str, str]
    secrets: Secrets = Secrets.REQUIRED


class KeyProblem(ValueError):
    """A conflict between keys of one section, reported at ``key``."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time with its text in the file, e.g. ``24h``; a year has 365 days."""

    text: str
    seconds: int

    @property
    def microseconds(self) -> int:
        return self.seconds * 1_000_000

    def __str__(self) -> str:
        return self.text


def duration(text: str) -> Duration:
    """Parses ``"24h"``. Raises ValueError unless the text is a whole number and s, m, h, d, w or y."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f'was "{text}"; write a whole number and s, m, h, d, w or y, e.g. "24h"')
    return Duration(text, int(match[1]) * _UNITS_S[match[2]])


class ListenAddress(NamedTuple):
    """Address of the HTTP server; the system chooses a free port for port 0."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def on_loopback(url: str) -> bool:
    """Whether the host of ``url`` is loopback; False for an empty URL, which means the venue's own."""
    host = urlsplit(url).hostname or ""
    return bool(host) and ListenAddress(host, 0).is_loopback


def listen_address(text: str) -> ListenAddress:
    """Parses ``"127.0.0.1:9464"`` or ``"[::1]:9464"``. Raises ValueError."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or (":" in bare and bare == host) or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f'was "{text}"; write host:port, e.g. "127.0.0.1:9464" or "[::1]:9464"')
    return ListenAddress(bare, int(port))


def address(text: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    """Splits a URL. Raises ValueError for another scheme, a missing host, or credentials in the URL.

    The message never repeats a URL that may contain a password.
    """
    if "@" in text:
        raise ValueError("holds a user or password; a URL is printed and logged, so credentials go in their own keys")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f'was "{text}"; write an address such as "{example}"') from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise ValueError(f'was "{text}"; write an address such as "{example}"')
    return parts


def _parsed_text(parse: Callable[[str], Any]) -> Callable[[object], Any]:
    def validate(value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"was {value!r}; write a text in quotes")  # noqa: TRY004  # pydantic collects ValueErrors
        return parse(value)

    return validate


def _optional_duration(text: str) -> Duration | None:
    return None if text == "off" else duration(text)


def _time_of_day(text: str) -> time | None:
    if not text:
        return None
    match = _TIME_OF_DAY.fullmatch(text)
    if match is None:
        raise ValueError(f'was "{text}"; write a UTC time as HH:MM, e.g. "03:10"')
    return time(int(match[1]), int(match[2]))


def _symbol(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if is_symbol(text):
        return text
    canonical = spell(text)
    cure = f'write "{canonical}"' if canonical else 'write BASE-QUOTE in upper case, e.g. "BTC-USDT"'
    raise ValueError(f'was "{text}"; {cure}')


def _url_parser(schemes: tuple[str, ...], example: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text:
            address(text, schemes, example)
        return text.rstrip("/")

    return parse


def expand_file(text: str, environ: Mapping[str, str]) -> Path:
    """Expands ``${CREDENTIALS_DIRECTORY}`` and ``~``. Raises ValueError if the variable is not set."""
    if CREDENTIALS in text:
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise ValueError(
                f'was "{text}", but CREDENTIALS_DIRECTORY is not set; start under systemd with LoadCredential=, '
                "or write the file's own path"
            )
        text = text.replace(CREDENTIALS, folder)
    return _expand_home(text)


def _expand_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f'was "{text}", but there is no such user on this machine; write the full path') from None


def _readable_file(value: object, info: ValidationInfo) -> Path | None:
    if not isinstance(value, str):
        raise ValueError("must be the path of a file, in quotes")  # noqa: TRY004  # pydantic collects ValueErrors
    if not value:
        return None
    environ, secrets = info.context if isinstance(info.context, ValidationContext) else ValidationContext(os.environ)
    if secrets is not Secrets.REQUIRED and CREDENTIALS in value and not environ.get("CREDENTIALS_DIRECTORY"):
        return Path(value)
    path = expand_file(value, environ)
    if secrets is Secrets.UNCHECKED:
        return path
    if not path.is_file():
        raise ValueError(f'was "{path}", which is not a file; create it or correct the path')
    if not os.access(path, os.R_OK):
        raise ValueError(f'was "{path}", which this user cannot read; give read permission to the daemon\'s user')
    return path


def read_token(path: Path) -> str:
    """The bearer token in a file: its only line. Raises ValueError for a token that does not protect anything."""
    try:
        token = path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise ValueError(f'was "{path}", which holds more than ASCII characters; {_TOKEN_ADVICE}') from None
    if any(character.isspace() or not character.isprintable() for character in token):
        raise ValueError(f'was "{path}", which holds spaces or control characters; {_TOKEN_ADVICE}')
    if len(token) < SHORTEST_TOKEN:
        fault = "is empty" if not token else f"holds {len(token)} characters, of at least {SHORTEST_TOKEN}"
        raise ValueError(f'was "{path}", which {fault}; {_TOKEN_ADVICE}')
    return token


def _token_file(value: object, info: ValidationInfo) -> Path | None:
    path = _readable_file(value, info)
    secrets = info.context.secrets if isinstance(info.context, ValidationContext) else Secrets.REQUIRED
    if path is not None and secrets is not Secrets.UNCHECKED and CREDENTIALS not in str(path):
        read_token(path)
    return path


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("was empty; write a folder or leave the key out")
    return _expand_home(text)


def _as_text(value: object) -> str:
    """A value as written in the file; None is an empty text."""
    return "" if value is None else f"{value:%H:%M}" if isinstance(value, time) else str(value)


def _text_field(parse: Callable[..., Any], pattern: str | None = None) -> tuple[Any, ...]:
    """Pydantic annotations of a type that is a string in the file: parser, serializer and JSON Schema."""
    schema = {"type": "string"} | ({"pattern": f"^({pattern})$"} if pattern else {})
    return PlainValidator(parse), PlainSerializer(_as_text), WithJsonSchema(schema)


Length = Annotated[Duration, *_text_field(_parsed_text(duration), _DURATION.pattern)]
LengthOrOff = Annotated[Duration | None, *_text_field(_parsed_text(_optional_duration), f"off|{_DURATION.pattern}")]
TimeOfDay = Annotated[time | None, *_text_field(_parsed_text(_time_of_day), f"|{_TIME_OF_DAY.pattern}")]
Symbol = Annotated[str, *_text_field(_parsed_text(_symbol), f"{_CURRENCY}-{_CURRENCY}")]
ShardText = Annotated[Shard, *_text_field(_parsed_text(parse_shard), "[0-9]+/[1-9][0-9]*")]
Listen = Annotated[ListenAddress, *_text_field(_parsed_text(listen_address))]
WebsocketUrl = Annotated[str, *_text_field(_parsed_text(_url_parser(("ws", "wss"), "wss://stream.example.com:9443")))]
RestUrl = Annotated[str, *_text_field(_parsed_text(_url_parser(("http", "https"), "https://api.example.com")))]
ReadableFile = Annotated[Path | None, *_text_field(_readable_file)]
TokenFile = Annotated[Path | None, *_text_field(_token_file)]
Folder = Annotated[Path, *_text_field(_parsed_text(_folder))]
# TOML has integers and floats, so a quoted "5" is an error in the file.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
ProtocolName = BeforeValidator(lambda value: str(value) if type(value) is int else value)
