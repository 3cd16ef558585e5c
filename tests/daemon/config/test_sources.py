"""Sources of values: defaults, file, credentials, environment and command line, in order of precedence."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.config.types import duration
from features.market import HOUR_US, Instrument
from tests.daemon.config.loading import HOME, Write, problem, problems


def test_defaults_need_no_file() -> None:
    """Without any source the daemon forecasts two symbols of Binance and uses the embedded broker."""
    config = load_config(environ=HOME)
    assert config.instruments == (Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT"))
    assert config.bars.interval_us == HOUR_US
    assert config.model.horizons == (1, 2, 3, 6, 12, 24)
    assert config.mqtt.embedded
    assert config.mqtt.protocol == "auto"
    assert config.http.listen == ("127.0.0.1", 9464)
    assert config.retrain.every == duration("24h")
    assert config.store.keep_bars.microseconds == 10 * 365 * 24 * HOUR_US


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/forecastd:/var/lib/more", "XDG_STATE_HOME": "/x"}, "/var/lib/forecastd"),
        ({"XDG_STATE_HOME": "/x", **HOME}, "/x/forecastd"),
        (HOME, "/home/ann/.local/state/forecastd"),
    ],
)
def test_state_directory(environ: dict[str, str], folder: str) -> None:
    """systemd's directory takes precedence over the user's."""
    assert load_config(environ=environ).instance.state_dir == Path(folder)


def test_precedence(write: Write, tmp_path: Path) -> None:
    """Command line over environment over credentials over file over default; the origin of each is recorded."""
    for name in ("in-file", "mqtt-password"):
        (tmp_path / name).write_text("secret")
    path = write(
        f"""
        bars.grace_s = 1
        features.window = 32
        log.level = "warning"
        [mqtt]
        url = "mqtt://broker"
        username = "ann"
        password_file = "{tmp_path}/in-file"
        """
    )
    environ = {
        **HOME,
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "FORECASTD__LOG__LEVEL": "error",
        "FORECASTD__FEATURES__WINDOW": "64",
        "UNRELATED": "x",
    }
    config = load_config(path, command_line={"log.level": "debug", "log.format": None}, environ=environ)
    assert (config.log.level, config.features.window, config.bars.grace_s) == ("debug", 64, 1.0)
    assert config.mqtt.password_file == tmp_path / "mqtt-password"
    assert {key: str(config.origin(key)) for key in ("log.level", "features.window", "bars.grace_s", "log.format")} == {
        "log.level": "command line",
        "features.window": "environment FORECASTD__FEATURES__WINDOW",
        "bars.grace_s": f"file {path}",
        "log.format": "default",
    }
    assert str(config.origin("mqtt.password_file")) == f"credentials file {tmp_path}/mqtt-password"


def test_environment_beats_credentials(tmp_path: Path) -> None:
    """A file named in the environment takes precedence over a credential of the same key."""
    for name in ("http-token", "other"):
        (tmp_path / name).write_text("a-secret-of-16-or-more")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "FORECASTD__HTTP__TOKEN_FILE": str(tmp_path / "other"), **HOME}
    assert load_config(environ=environ).http.token_file == tmp_path / "other"


@pytest.mark.parametrize(
    "text",
    [
        '[{"venue": "binance", "symbols": ["SOL-USDT"], "ws_url": "ws://127.0.0.1:9443", "rest_url": "http://127.0.0.1:9444"}]',
        '[{venue = "binance", symbols = ["SOL-USDT"], ws_url = "ws://127.0.0.1:9443", rest_url = "http://127.0.0.1:9444"}]',
    ],
)
def test_feeds_from_the_environment(text: str) -> None:
    """The feeds are one value, in JSON or TOML."""
    config = load_config(environ={"FORECASTD__FEEDS": text, **HOME})
    assert config.instruments == (Instrument("binance", "SOL-USDT"),)
    assert config.feeds[0].ws_url == "ws://127.0.0.1:9443"


def test_values_from_the_environment() -> None:
    """Numbers and arrays are parsed; strings are taken unchanged."""
    environ = {
        "FORECASTD__BARS__GRACE_S": "0.5",
        "FORECASTD__MODEL__HORIZONS": "[1, 24]",
        "FORECASTD__INSTANCE__NAME": "7",
        "FORECASTD__RETRAIN__AT": "03:10",
        "FORECASTD__MQTT__URL": "mqtts://broker",
        "FORECASTD__MQTT__PROTOCOL": "5",
        **HOME,
    }
    config = load_config(environ=environ)
    assert config.bars.grace_s == 0.5
    assert config.model.horizons == (1, 24)
    assert config.instance.name == "7"
    assert (config.retrain.at, config.retrain.every) == (time(3, 10), None)
    assert (config.mqtt.broker, config.mqtt.tls, config.mqtt.protocol) == (("broker", 8883), True, "5")


def test_one_key_of_feeds_from_the_environment_is_refused() -> None:
    """A single key of a feed cannot be set; the error shows how to set all feeds."""
    (line,) = problems(environ={"FORECASTD__FEEDS__SYMBOLS": "x", **HOME})
    assert line.startswith(
        "FORECASTD__FEEDS__SYMBOLS: feeds.symbols: feeds are set as a whole; write FORECASTD__FEEDS="
    )


def test_errors_name_their_source() -> None:
    """An error in the environment names the variable; one on the command line names the command line."""
    lines = problems(
        environ={"FORECASTD__LOG__LEVEL": "loud", "FORECASTD__FEATURES__WINDOW": "wide", "FORECASTD__X": "1", **HOME},
        **{"bars.interval": "7m"},  # type: ignore[arg-type]  # a name with a dot
    )
    assert sorted(line.partition(";")[0] for line in lines) == [
        'FORECASTD__FEATURES__WINDOW: features.window: was "wide"',
        'FORECASTD__LOG__LEVEL: log.level: was "loud"',
        "FORECASTD__X: x: unknown key",
        "command line: bars.interval: interval was '7m'",
    ]


def test_unreadable_files_are_problems(tmp_path: Path, write: Write) -> None:
    """A missing file, invalid TOML and invalid UTF-8 are reported together with all other problems."""
    missing = tmp_path / "none.toml"
    assert problems(missing, environ={"FORECASTD__LOG__LEVEL": "loud"}) == [
        f"{missing}: there is no such file; create it or correct the path given with -c",
        'FORECASTD__LOG__LEVEL: log.level: was "loud"; write "debug", "info", "warning" or "error"',
    ]
    assert "is not valid TOML" in problem("[mqtt\nurl = 1", write)
    assert "line 1" in problem("[mqtt\nurl = 1", write)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe4"')
    assert problems(tmp_path / "latin.toml")[0].endswith("byte 5 is not UTF-8; save the file as UTF-8")
    assert "cannot be read" in problems(tmp_path)[0]
