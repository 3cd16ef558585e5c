"""The configuration: precedence, every error at once with its cure, no secrets, reload, and its documentation."""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Callable
from datetime import time
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.config import Config, Feed, Secrets, known_keys, load_config
from daemon.config.reload import reloadable_changes, with_reloadable
from daemon.config.render import config_schema, show
from daemon.config.sections import ModelSection
from daemon.config.types import duration
from daemon.errors import EXIT_CONFIG, ConfigError
from features.market import HOUR_US, Instrument
from models.specification import BASELINE_KINDS, NETWORK_KINDS, PRESET_NAMES

ROOT = Path(__file__).resolve().parents[3]
HOME = {"HOME": "/home/ann"}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file."""

    def to_file(text: str) -> Path:
        path = tmp_path / "forecastd.toml"
        path.write_text(text)
        return path

    return to_file


def problems(path: Path | None = None, *, environ: dict[str, str] | None = None, **command_line: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load_config(path, command_line=command_line, environ=environ or HOME)
    assert refused.value.exit_code == EXIT_CONFIG
    return refused.value.problems


def problem(text: str, write: Write) -> str:
    """The one problem of a file, without the file's name."""
    path = write(text)
    (line,) = problems(path)
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def test_defaults_need_no_file() -> None:
    """Without any source the daemon watches two symbols of Binance and uses the embedded broker."""
    config = load_config(environ=HOME)
    assert config.instruments == (Instrument("binance", "BTC-USDT"), Instrument("binance", "ETH-USDT"))
    assert config.bars.interval_us == HOUR_US
    assert config.model.horizons == (1, 2, 3, 6, 12, 24)
    assert config.mqtt.embedded
    assert config.mqtt.protocol_version == "311"
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
    """systemd's directory wins over the user's."""
    assert load_config(environ=environ).instance.state_dir == Path(folder)


def test_precedence(write: Write, tmp_path: Path) -> None:
    """Command line over environment over credentials over file over default, and each origin is known."""
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
    """A file named in the environment wins over a credential of the same key."""
    for name in ("http-token", "other"):
        (tmp_path / name).write_text("secret")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "FORECASTD__HTTP__TOKEN_FILE": str(tmp_path / "other"), **HOME}
    assert load_config(environ=environ).http.token_file == tmp_path / "other"


@pytest.mark.parametrize(
    "text",
    [
        '[{"venue": "binance", "symbols": ["SOL-USDT"], "ws_url": "ws://127.0.0.1:9443", "rest_url": "http://127.0.0.1:9444"}]',
        '[{venue = "binance", symbols = ["SOL-USDT"], ws_url = "ws://127.0.0.1:9443", rest_url = "http://127.0.0.1:9444"}]',
    ],
)
def test_feeds_by_environment(text: str) -> None:
    """Feeds are set as a whole, as JSON or as TOML."""
    config = load_config(environ={"FORECASTD__FEEDS": text, **HOME})
    assert config.instruments == (Instrument("binance", "SOL-USDT"),)
    assert config.feeds[0].ws_url == "ws://127.0.0.1:9443"


def test_values_by_environment() -> None:
    """Numbers and arrays are read as such, texts as they stand."""
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
    assert (config.mqtt.broker, config.mqtt.tls, config.mqtt.protocol_version) == (("broker", 8883), True, "5")


def test_a_part_of_feeds_by_environment_is_refused() -> None:
    """There is no way to set one feed's key alone, and the error shows how it is done."""
    (line,) = problems(environ={"FORECASTD__FEEDS__SYMBOLS": "x", **HOME})
    assert line.startswith(
        "FORECASTD__FEEDS__SYMBOLS: feeds.symbols: feeds are set as a whole; write FORECASTD__FEEDS="
    )


def test_a_preset_that_the_kind_lacks_is_refused() -> None:
    """Only the transformer is large; the error names what there is."""
    environ = {"FORECASTD__MODEL__PRESET": "large", **HOME}
    (line,) = problems(environ=environ)
    assert line.endswith('was "large", which attention_lstm does not have; write "auto", "small", "reference"')
    large = load_config(environ={"FORECASTD__MODEL__KIND": "transformer", **environ})
    assert (large.model.kind, large.model.preset) == ("transformer", "large")


def test_overrides_that_the_kind_lacks_are_refused() -> None:
    """The error says what the kind has; what it has is taken, in the environment too."""
    environ = {"FORECASTD__MODEL__OVERRIDES": '["layers=2"]', **HOME}
    (line,) = problems(environ={"FORECASTD__MODEL__KIND": "tft", **environ})
    assert "model.overrides: layers is set, but tft has learning_rate" in line
    assert load_config(environ=environ).model.overrides == ("layers=2",)


BAD_LINES = {
    'model.kind = "oracle"': 'model.kind: was "oracle"; write "lstm", "attention_lstm", "transformer", "tft", "har", '
    '"ewma" or "random_walk"',
    "features.window = 4": "features.window: was 4; it must be greater than or equal to 8",
    "bars.grace_s = -1": "bars.grace_s: was -1; it must be greater than or equal to 0",
    'bars.interval = "7m"': "bars.interval: interval was '7m'; it must divide a day, e.g. 5s, 1m, 15m, 1h, 4h, 1d",
    'instance.shard = "3/3"': 'instance.shard: was "3/3"; write this instance\'s number from 0 and their total',
    'instance.name = "a/b"': 'instance.name: was "a/b"; write letters, digits, dot, dash and underscore',
    'retrain.history = "soon"': 'retrain.history: was "soon"; write a whole number and s, m, h, d, w or y, e.g. "24h"',
    'http.listen = "9464"': 'http.listen: was "9464"; write host:port, e.g. "127.0.0.1:9464" or "[::1]:9464"',
    "store.max_disk_mb = true": "store.max_disk_mb: was True; it must be a valid integer",
    'log.level = "loud"': 'log.level: was "loud"; write "debug", "info", "warning" or "error"',
    'mqtt.base_topic = "a/#"': 'mqtt.base_topic: was "a/#"; write topic levels with single slashes between them',
    'device = "cpu"': "device: unknown key; known here: bars, features, feeds, http, instance, log",
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(chosen=st.sets(st.sampled_from(sorted(BAD_LINES)), min_size=1))
def test_every_error_at_once(chosen: set[str], write: Write) -> None:
    """However many keys are wrong, each has its own line with source, key, fault and cure, and nothing else has."""
    path = write("\n".join(sorted(chosen)))
    found = sorted(problems(path))
    expected = sorted(f"{path}: {BAD_LINES[line]}" for line in chosen)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[mqtt]\nurll = "x"', "mqtt.urll: unknown key; did you mean url?"),
        ("[mqttt]", "mqttt: unknown key; did you mean mqtt?"),
        ('[bars]\nlevel = "info"', "bars.level: unknown key; did you mean log.level?"),
        ("[bars]\naudits = true", "bars.audits: unknown key; did you mean audit?"),
        ("mqtt = 5", "mqtt: must be a table; write [mqtt] and its keys below"),
        ('[feeds]\nvenue = "binance"', "feeds: must be an array of tables; write [[feeds]]"),
        ("feeds = []", "feeds: was empty; write at least one [[feeds]] with venue and symbols"),
        ('[[feeds]]\nvenue = "binance"', "feeds[0].symbols: is missing; add it"),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = []',
            'feeds[0].symbols: was empty; write at least one symbol, e.g. ["BTC-USDT"]',
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT", "ETHUSDT"]',
            'feeds[0].symbols[1]: was "ETHUSDT"; write "ETH-USDT"',
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["strange"]',
            'feeds[0].symbols[0]: was "strange"; write BASE-QUOTE in upper case, e.g. "BTC-USDT"',
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT", "BTC-USDT"]',
            "feeds[0].symbols: names BTC-USDT twice; remove one",
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\n' * 2,
            "feeds: name binance:BTC-USDT twice; remove one",
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nws_url = "http://x"',
            'feeds[0].ws_url: was "http://x"; write an address such as "wss://stream.example.com:9443"',
        ),
        ('[retrain]\nevery = "59s"', 'retrain.every: was "59s"; write "1m" or more, or "off"'),
        (
            'instance.state_dir = "~nobody-here/x"',
            'instance.state_dir: was "~nobody-here/x", but there is no such user',
        ),
        ('mqtt.protocol = "3.1.1"', 'mqtt.protocol: was "3.1.1"; write "auto", 5 for MQTT 5, or 311 for MQTT 3.1.1'),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nws_url = "ws://127.0.0.1:9443"',
            "feeds[0].rest_url: is not on this machine although ws_url is; point both to the simulator",
        ),
        (
            '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nrest_url = "http://[::1]:9444"',
            "feeds[0].ws_url: is not on this machine although rest_url is; point both to the simulator",
        ),
        (
            '[retrain]\nevery = "24h"\nat = "03:10"',
            "retrain.at: is set together with retrain.every; keep one of the two",
        ),
        ('[retrain]\nat = "3:10"', 'retrain.at: was "3:10"; write a UTC time as HH:MM, e.g. "03:10"'),
        ("[model]\nhorizons = [3, 2]", "model.horizons: was [3, 2]; write whole numbers of bars from 1 up, ascending"),
        ("[model]\nhorizons = [0, 2]", "model.horizons: was [0, 2]; write whole numbers of bars from 1 up, ascending"),
        ("[model]\nquantiles = [0.5, 1.0]", "model.quantiles: was [0.5, 1.0]; write levels between 0 and 1, ascending"),
        (
            "[model]\nquantiles = [0.1, 0.5, 0.9]",
            "model.quantiles: lacks 0.025, 0.975, which skill and coverage are measured by; add it",
        ),
        ("[mqtt]\nprotocol = 5", 'mqtt.protocol: was 5, but the embedded broker speaks 3.1.1 only; write "auto"'),
        (
            '[mqtt]\nusername = "ann"',
            "mqtt.username: has no effect on the embedded broker; set mqtt.url or remove it",
        ),
        ('[mqtt]\nurl = "tcp://x"', 'mqtt.url: was "tcp://x"; write an address such as "mqtt://host:1883"'),
        ('[mqtt]\nurl = "mqtt://x/topic"', 'mqtt.url: was "mqtt://x/topic"; an MQTT address is a host and a port'),
        (
            f'[mqtt]\nurl = "mqtt://x"\nca_file = "{__file__}"',
            "mqtt.ca_file: has no effect without TLS; write mqtts:// in mqtt.url",
        ),
        (
            f'[mqtt]\nurl = "mqtts://x"\ncert_file = "{__file__}"',
            "mqtt.cert_file: belongs to a pair; set both mqtt.cert_file and mqtt.key_file",
        ),
        (
            f'[mqtt]\nurl = "mqtt://x"\npassword_file = "{__file__}"',
            "mqtt.password_file: has no effect without a user; set mqtt.username",
        ),
        (
            '[mqtt]\nurl = "mqtt://x"\nusername = "a"\npassword_file = "/no/such/file"',
            'mqtt.password_file: was "/no/such/file", which is not a file; create it or correct the path',
        ),
        (
            '[http]\ntoken_file = "${CREDENTIALS_DIRECTORY}/t"',
            'http.token_file: was "${CREDENTIALS_DIRECTORY}/t", but CREDENTIALS_DIRECTORY is not set; start under',
        ),
        (
            '[http]\nlisten = "0.0.0.0:9464"',
            "http.token_file: is needed because 0.0.0.0:9464 is not loopback; name a file with a token",
        ),
        (
            '[store]\nkeep_bars = "1y"',
            'store.keep_bars: was "1y", less than retrain.history "3y"; raise it or lower the history',
        ),
    ],
)
def test_errors_name_the_key_and_the_cure(text: str, expected: str, write: Write) -> None:
    """One fault gives one line: the file, the key, what was wrong, what to do."""
    assert problem(text, write).startswith(expected)


def test_rules_between_sections_are_told_with_the_rest(write: Write) -> None:
    """A history longer than what is kept shows beside a misspelt key elsewhere, not after it is mended."""
    lines = problems(write('mqtt.urll = "x"\nstore.keep_bars = "1y"'))
    assert len(lines) == 2
    assert 'store.keep_bars: was "1y", less than retrain.history "3y"' in lines[1]


def test_a_home_directory_is_expanded(write: Write) -> None:
    """``~/x`` is a folder of the user, not one called ~."""
    assert load_config(write('instance.state_dir = "~/x"')).instance.state_dir == Path.home() / "x"


WITH_SECRETS = """
[mqtt]
url = "mqtts://broker.example.org:8883"
username = "forecastd"
password_file = "${CREDENTIALS_DIRECTORY}/mqtt-password"
ca_file = "/nowhere/ca.crt"
"""


def test_only_the_daemon_needs_its_secrets(write: Write) -> None:
    """From a shell ``${CREDENTIALS_DIRECTORY}`` is not there: the daemon refuses, a client does not ask."""
    path = write(WITH_SECRETS)
    assert [line.split(": ")[1] for line in problems(path)] == ["mqtt.password_file", "mqtt.ca_file"]
    config = load_config(path, environ=HOME, secrets=Secrets.UNCHECKED)
    assert config.unchecked_credentials == ("mqtt.password_file",)
    assert tomllib.loads(show(config))["mqtt"]["password_file"] == "${CREDENTIALS_DIRECTORY}/mqtt-password"


def test_a_check_leaves_out_credentials_only(write: Write, tmp_path: Path) -> None:
    """Where only systemd's credentials may be missing, every other file must be there, and they too under systemd."""

    def load(environ: dict[str, str], *, ca_file: str) -> Config:
        path = write(WITH_SECRETS.replace("/nowhere/ca.crt", ca_file))
        return load_config(path, environ=environ, secrets=Secrets.UNCHECKED_CREDENTIALS)

    with pytest.raises(ConfigError, match=r"/nowhere/ca\.crt"):
        load(HOME, ca_file="/nowhere/ca.crt")
    assert load(HOME, ca_file=__file__).unchecked_credentials == ("mqtt.password_file",)
    with pytest.raises(ConfigError, match="which is not a file"):
        load({"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME}, ca_file=__file__)


def test_the_simulator_example_fits_the_simulator() -> None:
    """The example's ports are those that its own command gives: REST listens next to the websocket."""
    path = ROOT / "examples" / "simulator.toml"
    (feed,) = load_config(path, environ=HOME).feeds
    ws_port, rest_port = urlsplit(feed.ws_url).port, urlsplit(feed.rest_url).port
    assert ws_port is not None
    assert rest_port == ws_port + 1
    command = f"forecastd simulate --interval 5s --port {ws_port}"
    assert command in path.read_text()
    assert command in (ROOT / "docs" / "simulator.md").read_text()


def test_the_readme_configuration_passes_the_check(write: Write) -> None:
    """What the README says to write is a good configuration, also from a shell."""
    text = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"```toml\n# /etc/forecastd/forecastd.toml\n(.*?)```", text, re.DOTALL)
    config = load_config(write(shown), environ=HOME, secrets=Secrets.UNCHECKED_CREDENTIALS)
    assert config.unchecked_credentials == ("mqtt.password_file",)
    assert config.instance.state_dir == Path("/var/lib/forecastd")


def test_errors_name_the_variable() -> None:
    """A fault in the environment names the variable; one on the command line says so."""
    lines = problems(
        environ={"FORECASTD__LOG__LEVEL": "loud", "FORECASTD__FEATURES__WINDOW": "wide", "FORECASTD__X": "1", **HOME},
        **{"bars.interval": "7m"},
    )
    assert sorted(line.partition(";")[0] for line in lines) == [
        'FORECASTD__FEATURES__WINDOW: features.window: was "wide"',
        'FORECASTD__LOG__LEVEL: log.level: was "loud"',
        "FORECASTD__X: x: unknown key",
        "command line: bars.interval: interval was '7m'",
    ]


def test_unreadable_files(tmp_path: Path, write: Write) -> None:
    """A missing file, broken TOML and broken UTF-8 are problems like any other, told beside the rest."""
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


@pytest.mark.parametrize(
    "text",
    [
        '[mqtt]\npassword = "hunter2"',
        '[mqtt]\nurl = "mqtt://ann:hunter2@broker"',
        '[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nrest_url = "ftp://ann:hunter2@x"',
        '[http]\ntoken = "hunter2"',
    ],
)
def test_secrets_are_never_printed(text: str, write: Write) -> None:
    """A secret written where it does not belong is refused without being repeated."""
    assert "hunter2" not in problem(text, write)


def test_a_secret_key_points_to_its_file(write: Write) -> None:
    """``password`` is no key: the cure is ``password_file``."""
    assert "name that in password_file" in problem('[mqtt]\npassword = "x"', write)


def test_show_holds_paths_and_no_content(write: Write, tmp_path: Path) -> None:
    """The shown configuration names the files of the secrets and never what is in them."""
    (tmp_path / "password").write_text("hunter2")
    path = write('[mqtt]\nurl = "mqtt://x"\nusername = "ann"\npassword_file = "${CREDENTIALS_DIRECTORY}/password"')
    shown = show(load_config(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME}), origin=True)
    assert f'password_file = "{tmp_path}/password"' in shown
    assert "hunter2" not in shown


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
def test_shown_configuration_loads_to_the_same(text: str, write: Write) -> None:
    """``config show`` is a configuration file, with or without origins."""
    config = load_config(write(text), environ=HOME)
    for origin in (False, True):
        shown = show(config, origin=origin)
        assert load_config(write(shown), environ=HOME).model_dump() == config.model_dump()
        assert set(tomllib.loads(shown)) == set(Config.model_fields)


def test_show_tells_the_origin(write: Write) -> None:
    """Each value stands beside where it came from."""
    path = write('log.level = "error"')
    lines = show(load_config(path, environ={"FORECASTD__BARS__GRACE_S": "1", **HOME}), origin=True).splitlines()
    shown = {line.split(" = ")[0]: line.partition("  # ")[2] for line in lines if " = " in line}
    assert shown["level"] == f"file {path}"
    assert shown["grace_s"] == "environment FORECASTD__BARS__GRACE_S"
    assert shown["window"] == "default"


def test_schema_accepts_what_the_loader_accepts() -> None:
    """The JSON Schema is valid, takes a full file and refuses an unknown key and a wrong symbol."""
    schema = config_schema()
    json.dumps(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    full = tomllib.loads(FULL)
    validator.validate(full)
    validator.validate({})
    assert not validator.is_valid({**full, "extra": 1})
    assert not validator.is_valid({"feeds": [{"venue": "binance", "symbols": ["btcusdt"]}]})


def test_reload_parts_what_changed() -> None:
    """Level, grace, retraining and the store are applied; everything else is refused by name."""
    old = load_config(environ=HOME)
    new = load_config(
        command_line={
            "log.level": "debug",
            "log.format": "json",
            "bars.grace_s": 1.0,
            "bars.interval": "4h",
            "retrain.every": "12h",
            "store.max_disk_mb": 100,
            "feeds": [{"venue": "binance", "symbols": ["SOL-USDT"]}],
        },
        environ=HOME,
    )
    changes = reloadable_changes(old, new)
    assert changes.applied == ("bars.grace_s", "retrain.every", "store.max_disk_mb", "log.level")
    assert changes.refused == ("feeds", "bars.interval", "log.format")
    merged = with_reloadable(old, new)
    assert reloadable_changes(merged, new).applied == ()
    assert reloadable_changes(old, merged).refused == ()
    assert str(merged.origin("log.level")) == "command line"
    assert reloadable_changes(old, old) == ((), ())


def test_shards_part_the_instruments() -> None:
    """Three instances with the same file share the symbols out among them."""
    symbols = [f"COIN{number}-USDT" for number in range(30)]
    shares = [
        load_config(
            command_line={"instance.shard": f"{n}/3", "feeds": [{"venue": "binance", "symbols": symbols}]}, environ=HOME
        ).instruments
        for n in range(3)
    ]
    assert sorted(each.symbol for share in shares for each in share) == sorted(symbols)


def test_configuration_is_frozen() -> None:
    """Nobody changes a running configuration."""
    with pytest.raises(ValueError, match="frozen"):
        load_config(environ=HOME).log.level = "debug"


def documented_keys() -> dict[str, str]:
    """Key to default, from the tables of the documentation."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    return dict(re.findall(r"^\| `([a-z_.]+)` \| `?([^|]*?)`? \|", text, re.MULTILINE))


def test_documentation_names_every_key() -> None:
    """docs/configuration.md has a row for every key, for no other, and with its default."""
    documented = documented_keys()
    feed_keys = {f"feeds.{name}" for name in Feed.model_fields}
    assert set(documented) == (set(known_keys()) - {"feeds"}) | feed_keys
    defaults = tomllib.loads(show(load_config(environ=HOME)))
    for key in set(known_keys()) - {"feeds", "instance.state_dir"}:
        section, name = key.split(".")
        assert tomllib.loads(f"value = {documented[key]}")["value"] == defaults[section][name], key


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path, tmp_path: Path) -> None:
    """Every example loads as it is; the credentials it names are made here."""
    for name in re.findall(r'^\w+ = "\$\{CREDENTIALS_DIRECTORY\}/([a-z-]+)"', path.read_text(), re.MULTILINE):
        (tmp_path / name).write_text("secret")
    load_config(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME})


def test_example_with_every_key_shows_the_defaults() -> None:
    """examples/forecastd.toml names every key with its default."""
    tables = tomllib.loads((ROOT / "examples" / "forecastd.toml").read_text())
    named = {f"{section}.{name}" for section, table in tables.items() if section != "feeds" for name in table}
    assert named == set(known_keys()) - {"feeds", "retrain.at"}
    config = load_config(ROOT / "examples" / "forecastd.toml", environ=HOME)
    default = load_config(environ=HOME)
    assert config.model_dump(exclude={"instance": {"state_dir"}}) == default.model_dump(
        exclude={"instance": {"state_dir"}}
    )


def test_one_address_of_a_venue_may_be_regional(write: Write) -> None:
    """A regional stream host beside the venue's own REST host is one market all the same."""
    path = write('[[feeds]]\nvenue = "binance"\nsymbols = ["BTC-USDT"]\nws_url = "wss://stream.example.com:9443"')
    assert load_config(path, environ=HOME).feeds[0].rest_url == ""


def test_every_kind_that_can_serve_can_be_configured() -> None:
    """The configuration names exactly the networks and baselines that the program has."""
    kinds = typing.get_args(ModelSection.model_fields["kind"].annotation)
    assert kinds == (*NETWORK_KINDS, *BASELINE_KINDS)
    assert typing.get_args(ModelSection.model_fields["preset"].annotation) == PRESET_NAMES
