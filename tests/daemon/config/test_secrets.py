"""Secrets: never printed, and their files checked where a command needs them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from daemon.config import Config, Secrets, load_config
from daemon.config.render import show
from daemon.config.types import read_token
from daemon.errors import ConfigError
from tests.daemon.config.loading import HOME, Write, problem, problems

WITH_SECRETS = """
[mqtt]
url = "mqtts://broker.example.org:8883"
username = "forecastd"
password_file = "${CREDENTIALS_DIRECTORY}/mqtt-password"
ca_file = "/nowhere/ca.crt"
"""


def test_only_the_daemon_needs_its_secrets(write: Write) -> None:
    """Without ``${CREDENTIALS_DIRECTORY}``, as in a shell, the daemon refuses; a client command does not check."""
    path = write(WITH_SECRETS)
    assert [line.split(": ")[1] for line in problems(path)] == ["mqtt.password_file", "mqtt.ca_file"]
    config = load_config(path, environ=HOME, secrets=Secrets.UNCHECKED)
    assert config.unchecked_credentials == ("mqtt.password_file",)
    assert tomllib.loads(show(config))["mqtt"]["password_file"] == "${CREDENTIALS_DIRECTORY}/mqtt-password"


def test_a_check_skips_credentials_only(write: Write, tmp_path: Path) -> None:
    """A check outside systemd skips systemd's credentials only; under systemd it checks them too."""

    def load(environ: dict[str, str], *, ca_file: str) -> Config:
        path = write(WITH_SECRETS.replace("/nowhere/ca.crt", ca_file))
        return load_config(path, environ=environ, secrets=Secrets.UNCHECKED_CREDENTIALS)

    with pytest.raises(ConfigError, match=r"/nowhere/ca\.crt"):
        load(HOME, ca_file="/nowhere/ca.crt")
    assert load(HOME, ca_file=__file__).unchecked_credentials == ("mqtt.password_file",)
    with pytest.raises(ConfigError, match="which is not a file"):
        load({"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME}, ca_file=__file__)


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
    """A secret in the wrong key is refused, and the error does not repeat it."""
    assert "hunter2" not in problem(text, write)


def test_a_secret_key_points_to_its_file(write: Write) -> None:
    """The error for ``password`` names ``password_file``."""
    assert "name that in password_file" in problem('[mqtt]\npassword = "x"', write)


def test_show_holds_paths_and_no_content(write: Write, tmp_path: Path) -> None:
    """The rendered configuration contains the paths of secret files, not their content."""
    (tmp_path / "password").write_text("hunter2")
    path = write('[mqtt]\nurl = "mqtt://x"\nusername = "ann"\npassword_file = "${CREDENTIALS_DIRECTORY}/password"')
    rendered = show(load_config(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME}), origin=True)
    assert f'password_file = "{tmp_path}/password"' in rendered
    assert "hunter2" not in rendered


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"0123456789abcde\n", "holds 15 characters, of at least 16"),
        (b"0123456789abcdef 0123456789abcdef", "spaces or control characters"),
        (b"0123456789abcdef\n0123456789abcdef\n", "spaces or control characters"),
        (b"0123456789\x00abcdef", "spaces or control characters"),
        ("gehe\u00efmnis-0123456789".encode(), "more than ASCII characters"),
        (b"\xff\xfe0123456789abcdef", "more than ASCII characters"),
    ],
)
@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "127.0.0.1:9464"])
def test_a_token_that_protects_nothing_is_refused(
    content: bytes, fault: str, listen: str, write: Write, tmp_path: Path
) -> None:
    """The daemon and ``config check`` refuse an empty, short or unreadable token and do not repeat it."""
    (tmp_path / "token").write_bytes(content)
    path = write(f'[http]\nlisten = "{listen}"\ntoken_file = "{tmp_path}/token"')
    with pytest.raises(ConfigError) as checked:
        load_config(path, environ=HOME, secrets=Secrets.UNCHECKED_CREDENTIALS)
    (line,) = problems(path)
    assert checked.value.problems == [line]
    assert f'http.token_file: was "{tmp_path}/token", which' in line
    assert fault in line
    assert "openssl rand" in line
    assert "0123456789" not in line.replace("openssl rand -hex 32", "")


def test_a_token_of_16_characters_is_accepted(write: Write, tmp_path: Path) -> None:
    """White space around the token, as editors leave it, does not count."""
    (tmp_path / "token").write_text("  0123456789abcdef\n")
    path = write(f'[http]\nlisten = "0.0.0.0:9464"\ntoken_file = "{tmp_path}/token"')
    assert load_config(path, environ=HOME).http.token_file == tmp_path / "token"
    assert read_token(tmp_path / "token") == "0123456789abcdef"


def test_commands_without_need_of_the_token_do_not_read_it(write: Write, tmp_path: Path) -> None:
    """``forecastd status`` works for a user who may not read the daemon's secrets."""
    path = write(f'[http]\nlisten = "0.0.0.0:9464"\ntoken_file = "{tmp_path}/absent"')
    assert load_config(path, environ=HOME, secrets=Secrets.UNCHECKED).http.token_file == tmp_path / "absent"
