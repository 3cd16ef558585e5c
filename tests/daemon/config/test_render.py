"""The rendered configuration loads to the same values, and its JSON Schema accepts it."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest

from daemon.config import Config, load_config
from daemon.config.render import config_schema, show
from tests.daemon.config.loading import HOME, Write

FULL = """
[instance]
name = "east-1"
state_dir = '/var/lib/fore "cast"d'
shard = "1/3"
[[feeds]]
venue = "binance"
symbols = ["BTC-USDT", "SOL-USDT"]
ws_url = "wss://stream.example.com:9443"
rest_url = "https://api.example.com"
[bars]
interval = "15m"
[retrain]
at = "03:10"
[http]
listen = "[::1]:0"
[log]
level = "error"
"""


@pytest.mark.parametrize("text", ["", FULL, '[retrain]\nevery = "off"'])
def test_rendered_configuration_loads_to_the_same(text: str, write: Write) -> None:
    """The output of ``config show`` is a valid configuration file, with or without origins."""
    config = load_config(write(text), environ=HOME)
    for origin in (False, True):
        shown = show(config, origin=origin)
        assert load_config(write(shown), environ=HOME).model_dump() == config.model_dump()
        assert set(tomllib.loads(shown)) == set(Config.model_fields)


def test_show_names_the_origin(write: Write) -> None:
    """Each value has its source as a comment."""
    path = write('log.level = "error"')
    lines = show(load_config(path, environ={"FORECASTD__BARS__GRACE_S": "1", **HOME}), origin=True).splitlines()
    shown = {line.split(" = ")[0]: line.partition("  # ")[2] for line in lines if " = " in line}
    assert shown["level"] == f"file {path}"
    assert shown["grace_s"] == "environment FORECASTD__BARS__GRACE_S"
    assert shown["window"] == "default"


def test_schema_accepts_what_the_loader_accepts() -> None:
    """The JSON Schema is valid, accepts a full file and refuses an unknown key and a wrong symbol."""
    schema = config_schema()
    json.dumps(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    full = tomllib.loads(FULL)
    validator.validate(full)
    validator.validate({})
    assert not validator.is_valid({**full, "extra": 1})
    assert not validator.is_valid({"feeds": [{"venue": "binance", "symbols": ["btcusdt"]}]})
