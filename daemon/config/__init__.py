"""The configuration: one frozen model of all settings, and its loader.

The first source that sets a key wins: command line, environment (``FORECASTD__SECTION__KEY``), systemd's credentials,
TOML file, default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_origin

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator

from daemon.config.error_messages import describe
from daemon.config.sections import (
    BarsSection,
    FeaturesSection,
    Feed,
    HttpSection,
    InstanceSection,
    LogSection,
    ModelSection,
    MqttSection,
    RetrainSection,
    Section,
    StoreSection,
    repeated,
)
from daemon.config.sharding import shard_symbols
from daemon.config.sources import DEFAULT, Origin, default_state_dir, gather
from daemon.config.types import CREDENTIALS, KeyProblem, Secrets, ValidationContext
from daemon.errors import ConfigError
from features.market import Instrument

__all__ = ["Config", "Feed", "Secrets", "known_keys", "load_config"]


class Config(Section):
    """The whole configuration. ``origins`` holds the source of each value."""

    instance: InstanceSection = Field(default_factory=InstanceSection)
    feeds: tuple[Feed, ...] = (Feed(venue="binance", symbols=("BTC-USDT", "ETH-USDT")),)
    bars: BarsSection = BarsSection()
    features: FeaturesSection = FeaturesSection()
    model: ModelSection = ModelSection()
    retrain: RetrainSection = RetrainSection()
    mqtt: MqttSection = MqttSection()
    http: HttpSection = HttpSection()
    store: StoreSection = Field(default=StoreSection(), validate_default=True)
    log: LogSection = LogSection()
    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @field_validator("feeds")
    @classmethod
    def _require_unique_feeds(cls, feeds: tuple[Feed, ...]) -> tuple[Feed, ...]:
        if not feeds:
            raise ValueError("was empty; write at least one [[feeds]] with venue and symbols")
        urls: dict[str, Feed] = {}
        for feed in feeds:
            first = urls.setdefault(feed.venue, feed)
            if (first.ws_url, first.rest_url) != (feed.ws_url, feed.rest_url):
                both = " and ".join(f"ws_url={each.ws_url!r} rest_url={each.rest_url!r}" for each in (first, feed))
                raise ValueError(
                    f"name {feed.venue} with different addresses, {both}; one venue has one address: "
                    "write the same in both, or run a second instance"
                )
        if duplicate := repeated([f"{feed.venue}:{symbol}" for feed in feeds for symbol in feed.symbols]):
            raise ValueError(f"name {duplicate} twice; remove one")
        return feeds

    @field_validator("store")
    @classmethod
    def _keep_training_history(cls, store: StoreSection, info: ValidationInfo) -> StoreSection:
        """Checks a field, not the whole model: a model validator would not run beside errors in other fields."""
        retrain = info.data.get("retrain")
        if retrain is not None and store.keep_bars.seconds < retrain.history.seconds:
            kept, wanted = store.keep_bars, retrain.history
            raise KeyProblem(
                "keep_bars", f'was "{kept}", less than retrain.history "{wanted}"; raise it or lower the history'
            )
        return store

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Origin by dotted key; a key that is absent has its default."""
        return self._origins

    def origin(self, key: str) -> Origin:
        """The source of the value of a dotted key."""
        return self._origins.get(key, DEFAULT)

    @property
    def unchecked_credentials(self) -> tuple[str, ...]:
        """Keys whose file is in ``${CREDENTIALS_DIRECTORY}`` and was not checked; see ``Secrets``."""
        files = (
            (f"{section}.{name}", value)
            for section, keys in self
            if isinstance(keys, Section)
            for name, value in keys
            if name.endswith("_file")
        )
        return tuple(key for key, value in files if CREDENTIALS in str(value))

    def with_origins(self, origins: Mapping[str, Origin]) -> Self:
        """A copy with ``origins`` added."""
        copy = self.model_copy()
        copy._origins = {**self._origins, **origins}  # noqa: SLF001  # a copy made here
        return copy

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments of this instance's shard, in the order of the file."""
        return tuple(
            Instrument(feed.venue, symbol)
            for feed in self.feeds
            for symbol in shard_symbols(feed.symbols, self.instance.shard)
        )


def load_config(
    path: Path | None = None,
    *,
    command_line: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    secrets: Secrets = Secrets.REQUIRED,
) -> Config:
    """Reads, merges and validates all sources.

    Args:
        path: the TOML file, or None.
        command_line: values by dotted key, e.g. ``{"log.level": "debug"}``; a value of None is ignored.
        environ: environment variables; by default those of the process.
        secrets: which files of the ``*_file`` keys must be readable.

    Raises:
        ConfigError: with all problems, one line each: source, key, fault and cure.
    """
    environ = os.environ if environ is None else environ
    gathered = gather(path, command_line=command_line or {}, environ=environ, keys=known_keys())
    tree = gathered.tree()
    if isinstance(instance := tree.setdefault("instance", {}), dict):
        instance.setdefault("state_dir", str(default_state_dir(environ)))
    try:
        config = Config.model_validate(tree, context=ValidationContext(environ, secrets))
    except ValidationError as error:
        raise ConfigError([*gathered.problems, *describe(error, gathered.origins, list(known_keys()))]) from None
    if gathered.problems:
        raise ConfigError(gathered.problems)
    return config.with_origins(gathered.origins)


def known_keys() -> dict[str, bool]:
    """All dotted keys in the order of the file, each with whether its value is a string; ``feeds`` is one key."""
    keys: dict[str, bool] = {}
    for section, outer in Config.model_fields.items():
        if isinstance(outer.annotation, type) and issubclass(outer.annotation, Section):
            for name, inner in outer.annotation.model_fields.items():
                keys[f"{section}.{name}"] = not (
                    inner.annotation in (int, float) or get_origin(inner.annotation) is tuple
                )
        else:
            keys[section] = False
    return keys


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted key; for ``feeds`` the whole section."""
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name) if name else getattr(config, section)
