"""Sections of the configuration file, one class per table: keys, defaults and the rules between keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from daemon.config.broker_url import EMBEDDED, broker_endpoint
from daemon.config.sharding import Shard
from daemon.config.sources import default_state_dir
from daemon.config.types import (
    Duration,
    Folder,
    Integer,
    KeyProblem,
    Length,
    LengthOrOff,
    Listen,
    ListenAddress,
    Number,
    ProtocolName,
    ReadableFile,
    RestUrl,
    ShardText,
    Symbol,
    TimeOfDay,
    TokenFile,
    WebsocketUrl,
    duration,
    on_loopback,
)
from daemon.intervals import parse_interval
from models.overrides import Overrides
from models.presets import PRESETS

# The scoreboard reports the median and the 80% and 95% intervals, so their levels are required.
REQUIRED_QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
SHORTEST_RETRAIN_S = 60  # a training run takes longer


def _is_ascending(numbers: tuple[float, ...]) -> bool:
    return all(earlier < later for earlier, later in pairwise(numbers))


def repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs twice, or None."""
    return next((name for index, name in enumerate(names) if name in names[:index]), None)


class Section(BaseModel):
    """Base of all tables: frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class InstanceSection(Section):
    """Name, state directory and shard of this daemon."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "main"
    state_dir: Folder = Field(default_factory=lambda: default_state_dir(os.environ))
    shard: ShardText = Shard(0, 1)


class Feed(Section):
    """One venue and its symbols. An empty URL means the venue's public one."""

    venue: Literal["binance", "coinbase", "kraken", "bybit", "bybit_linear", "okx", "bitstamp"]
    symbols: tuple[Symbol, ...]
    ws_url: WebsocketUrl = ""
    rest_url: RestUrl = ""

    @field_validator("symbols")
    @classmethod
    def _require_unique_symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        if not symbols:
            raise ValueError('was empty; write at least one symbol, e.g. ["BTC-USDT"]')
        if duplicate := repeated(symbols):
            raise ValueError(f"names {duplicate} twice; remove one")
        return symbols

    @model_validator(mode="after")
    def _require_one_market(self) -> Self:
        """Refuses a simulator's stream with the real venue's history, or the reverse: two different markets."""
        for key, other in (("ws_url", "rest_url"), ("rest_url", "ws_url")):
            if on_loopback(getattr(self, other)) and not on_loopback(getattr(self, key)):
                raise KeyProblem(key, f"is not on this machine although {other} is; point both to the simulator")
        return self


class BarsSection(Section):
    """Aggregation of trades into bars.

    ``grace_s`` is the wall time to wait for late trades after the boundary, capped at a twentieth of the bar.
    ``audit`` compares each closed bar with the venue's own candle.
    """

    interval: str = "1h"
    grace_s: Annotated[Number, Field(ge=0, le=30)] = 2.0
    audit: bool = True

    @field_validator("interval")
    @classmethod
    def _require_valid_interval(cls, interval: str) -> str:
        parse_interval(interval)
        return interval

    @property
    def interval_us(self) -> int:
        return parse_interval(self.interval)


class FeaturesSection(Section):
    """Input of the networks: the last ``window`` bars."""

    window: Annotated[Integer, Field(ge=8, le=512)] = 48


class ModelSection(Section):
    """The forecaster and its forecasts. ``horizons`` are in bars; ``overrides`` change values of the preset.

    ``conformal`` calibrates: intervals that were recently too narrow or too wide are widened or narrowed before they
    are published.
    """

    kind: Literal["lstm", "attention_lstm", "transformer", "tft", "har", "ewma", "random_walk"] = "attention_lstm"
    preset: Literal["auto", "small", "reference", "large"] = "auto"
    overrides: tuple[str, ...] = ()
    horizons: tuple[Integer, ...] = (1, 2, 3, 6, 12, 24)
    quantiles: tuple[Number, ...] = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+)$")] = "auto"
    conformal: bool = True

    @field_validator("horizons")
    @classmethod
    def _require_ascending_horizons(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if not horizons or horizons[0] < 1 or not _is_ascending(horizons):
            raise ValueError(f"was {list(horizons)}; write whole numbers of bars from 1 up, ascending, each once")
        return horizons

    @field_validator("quantiles")
    @classmethod
    def _require_ascending_quantiles(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if not _is_ascending(quantiles) or any(not 0 < level < 1 for level in quantiles):
            raise ValueError(f"was {list(quantiles)}; write levels between 0 and 1, ascending, each once")
        missing = [level for level in REQUIRED_QUANTILES if level not in quantiles]
        if missing:
            raise ValueError(f"lacks {', '.join(map(str, missing))}, which skill and coverage are measured by; add it")
        return quantiles

    @model_validator(mode="after")
    def _require_preset_of_kind(self) -> Self:
        presets = PRESETS.get(self.kind)
        if presets is not None and self.preset not in {"auto", *presets}:
            available = ", ".join(f'"{name}"' for name in presets)
            raise KeyProblem(
                "preset", f'was "{self.preset}", which {self.kind} does not have; write "auto", {available}'
            )
        return self

    @model_validator(mode="after")
    def _require_overrides_of_kind(self) -> Self:
        try:
            Overrides.parse(self.overrides).check(self.kind)
        except ValueError as error:
            raise KeyProblem("overrides", f"{error}; correct it or remove it") from None
        return self


class RetrainSection(Section):
    """Retraining schedule: ``every`` so long, ``at`` a time of day (UTC), or never (``every = "off"``).

    ``history`` is the length of the training data. ``quiet_before_close_s`` is the wall time before a bar closes during
    which training pauses, capped at a tenth of the bar.
    """

    every: LengthOrOff = duration("24h")
    at: TimeOfDay = None
    history: Length = duration("3y")
    quiet_before_close_s: Annotated[Number, Field(ge=0)] = 20.0

    @model_validator(mode="before")
    @classmethod
    def _at_replaces_the_default(cls, keys: Any) -> Any:
        if isinstance(keys, dict) and keys.get("at") and "every" not in keys:
            return {**keys, "every": "off"}
        return keys

    @field_validator("every")
    @classmethod
    def _require_shortest_interval(cls, every: Duration | None) -> Duration | None:
        if every is not None and every.seconds < SHORTEST_RETRAIN_S:
            raise ValueError(f'was "{every}"; write "1m" or more, or "off"')
        return every

    @model_validator(mode="after")
    def _require_one_schedule(self) -> Self:
        if self.at is not None and self.every is not None:
            raise KeyProblem("at", "is set together with retrain.every; keep one of the two")
        return self


class MqttSection(Section):
    """The broker. ``url = "embedded"`` starts one inside the daemon, on loopback, with MQTT 3.1.1."""

    url: str = EMBEDDED
    protocol: Annotated[Literal["auto", "5", "311"], ProtocolName] = "auto"
    username: str = ""
    password_file: ReadableFile = None
    ca_file: ReadableFile = None
    cert_file: ReadableFile = None
    key_file: ReadableFile = None
    embedded_port: Annotated[Integer, Field(ge=0, le=65_535)] = 1883
    base_topic: Annotated[str, Field(pattern=r"^[^/+#$\s][^/+#\s]*(/[^/+#\s]+)*$")] = "forecastd/v1"

    @field_validator("url")
    @classmethod
    def _require_known_scheme(cls, url: str) -> str:
        if url != EMBEDDED:
            broker_endpoint(url)
        return url

    @model_validator(mode="after")
    def _require_effective_keys(self) -> Self:
        if self.embedded and self.protocol == "5":
            raise KeyProblem("protocol", 'was 5, but the embedded broker speaks 3.1.1 only; write "auto"')
        for key in ("username", "password_file", "ca_file", "cert_file", "key_file"):
            if getattr(self, key) and (missing := self._missing_requirement(key)):
                raise KeyProblem(key, missing)
        return self

    def _missing_requirement(self, key: str) -> str | None:
        """Why ``key`` has no effect with the other values, or None if it has."""
        if self.embedded:
            return "has no effect on the embedded broker; set mqtt.url or remove it"
        if key == "password_file" and not self.username:
            return "has no effect without a user; set mqtt.username"
        if key in ("ca_file", "cert_file", "key_file") and not self.tls:
            return "has no effect without TLS; write mqtts:// in mqtt.url"
        if key in ("cert_file", "key_file") and None in (self.cert_file, self.key_file):
            return "belongs to a pair; set both mqtt.cert_file and mqtt.key_file"
        return None

    @property
    def embedded(self) -> bool:
        return self.url == EMBEDDED

    @property
    def tls(self) -> bool:
        return not self.embedded and broker_endpoint(self.url).tls

    @property
    def broker(self) -> tuple[str, int] | None:
        """Host and port; None for the embedded broker."""
        return None if self.embedded else broker_endpoint(self.url)[:2]


class HttpSection(Section):
    """HTTP server of the status page, API and metrics; off loopback each request needs the token of ``token_file``."""

    listen: Listen = ListenAddress("127.0.0.1", 9464)
    token_file: TokenFile = None

    @model_validator(mode="after")
    def _require_token_off_loopback(self) -> Self:
        if not self.listen.is_loopback and self.token_file is None:
            raise KeyProblem("token_file", f"is needed because {self.listen} is not loopback; name a file with a token")
        return self


class StoreSection(Section):
    """Retention of the stored data. ``max_disk_mb`` is in units of 1,000,000 bytes."""

    keep_bars: Length = duration("10y")
    keep_forecasts: Length = duration("2y")
    keep_open_bar_trades: Length = duration("2h")
    max_disk_mb: Annotated[Integer, Field(ge=16)] = 4096


class LogSection(Section):
    """Level and format of the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
