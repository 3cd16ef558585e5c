"""Sections of the configuration: rules between keys, and the kinds and presets of models."""

from __future__ import annotations

import typing
import unicodedata
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.config.sections import ModelSection
from models.specification import BASELINE_KINDS, NETWORK_KINDS, PRESET_NAMES
from tests.daemon.config.loading import HOME, Write, problems


def test_a_preset_that_the_kind_lacks_is_refused() -> None:
    """Only the transformer has the preset "large"; the error names the presets of the kind."""
    environ = {"FORECASTD__MODEL__PRESET": "large", **HOME}
    (line,) = problems(environ=environ)
    assert line.endswith('was "large", which attention_lstm does not have; write "auto", "small", "reference"')
    large = load_config(environ={"FORECASTD__MODEL__KIND": "transformer", **environ})
    assert (large.model.kind, large.model.preset) == ("transformer", "large")


def test_overrides_that_the_kind_lacks_are_refused() -> None:
    """The error names the kind's overrides; a valid override is accepted from the environment."""
    environ = {"FORECASTD__MODEL__OVERRIDES": '["layers=2"]', **HOME}
    (line,) = problems(environ={"FORECASTD__MODEL__KIND": "tft", **environ})
    assert "model.overrides: layers is set, but tft has learning_rate" in line
    assert load_config(environ=environ).model.overrides == ("layers=2",)


def test_every_kind_of_model_can_be_configured() -> None:
    """The configuration accepts exactly the networks, baselines and presets that exist."""
    kinds = typing.get_args(ModelSection.model_fields["kind"].annotation)
    assert kinds == (*NETWORK_KINDS, *BASELINE_KINDS)
    assert typing.get_args(ModelSection.model_fields["preset"].annotation) == PRESET_NAMES


def test_rules_between_sections_are_checked_with_all_others(write: Write) -> None:
    """A history longer than the kept bars is reported together with a misspelt key of another section."""
    lines = problems(write('mqtt.urll = "x"\nstore.keep_bars = "1y"'))
    assert len(lines) == 2
    assert 'store.keep_bars: was "1y", less than retrain.history "3y"' in lines[1]


def test_one_url_of_a_venue_may_be_regional(write: Write) -> None:
    """A regional stream host and the venue's own REST host serve the same market."""
    path = write('[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nws_url = "wss://stream.example.com:9443"')
    assert load_config(path, environ=HOME).feeds[0].rest_url == ""


def test_a_home_directory_is_expanded(write: Write) -> None:
    """``~/x`` is a folder in the user's home, not in a folder called ~."""
    assert load_config(write('instance.state_dir = "~/x"')).instance.state_dir == Path.home() / "x"


def test_configuration_is_frozen() -> None:
    """A loaded configuration cannot be changed."""
    with pytest.raises(ValueError, match="frozen"):
        load_config(environ=HOME).log.level = "debug"


def test_symbols_of_any_script(write: Write) -> None:
    """Letters and digits of any script; composed and decomposed letters are one symbol."""
    decomposed = unicodedata.normalize("NFD", "ÅÉ-USDT")
    path = write(f'[[feeds]]\nvenue = "binance"\nsymbols = ["币安人生-USDT", "{decomposed}"]')
    config = load_config(path, environ=HOME)
    assert [each.symbol for each in config.instruments] == ["币安人生-USDT", "ÅÉ-USDT"]
