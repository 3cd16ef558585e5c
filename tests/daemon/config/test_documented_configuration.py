"""Examples, README and documentation agree with the configuration."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from daemon.config import Feed, Secrets, known_keys, load_config
from daemon.config.render import show
from tests.daemon.config.loading import HOME, Write
from tests.paths import ROOT


def test_the_simulator_example_uses_the_simulators_ports() -> None:
    """The example's ports are those of the command it shows: the REST port follows the websocket port."""
    path = ROOT / "examples" / "simulator.toml"
    (feed,) = load_config(path, environ=HOME).feeds
    ws_port, rest_port = urlsplit(feed.ws_url).port, urlsplit(feed.rest_url).port
    assert ws_port is not None
    assert rest_port == ws_port + 1
    command = f"forecastd simulate --interval 5s --port {ws_port}"
    assert command in path.read_text()
    assert command in (ROOT / "docs" / "simulator.md").read_text()


def test_the_readme_configuration_passes_the_check(write: Write) -> None:
    """The configuration in the README is valid, also when checked from a shell."""
    text = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"```toml\n# /etc/forecastd/forecastd.toml\n(.*?)```", text, re.DOTALL)
    config = load_config(write(shown), environ=HOME, secrets=Secrets.UNCHECKED_CREDENTIALS)
    assert config.unchecked_credentials == ("mqtt.password_file",)
    assert config.instance.state_dir == Path("/var/lib/forecastd")


def documented_keys() -> dict[str, str]:
    """Default by key, from the tables in docs/configuration.md."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    return dict(re.findall(r"^\| `([a-z_.]+)` \| `?([^|]*?)`? \|", text, re.MULTILINE))


def test_documentation_names_every_key() -> None:
    """docs/configuration.md has one row for each key, with its default, and no other rows."""
    documented = documented_keys()
    feed_keys = {f"feeds.{name}" for name in Feed.model_fields}
    assert set(documented) == (set(known_keys()) - {"feeds"}) | feed_keys
    defaults = tomllib.loads(show(load_config(environ=HOME)))
    for key in set(known_keys()) - {"feeds", "instance.state_dir"}:
        section, name = key.split(".")
        assert tomllib.loads(f"value = {documented[key]}")["value"] == defaults[section][name], key


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_examples_are_valid(path: Path, tmp_path: Path) -> None:
    """Each example loads unchanged, given files for the credentials that it names."""
    for name in re.findall(r'^\w+ = "\$\{CREDENTIALS_DIRECTORY\}/([a-z-]+)"', path.read_text(), re.MULTILINE):
        (tmp_path / name).write_text("a secret of more than 16 characters".replace(" ", "-"))
    load_config(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path), **HOME})


def test_example_with_every_key_shows_the_defaults() -> None:
    """examples/forecastd.toml contains every key with its default."""
    tables = tomllib.loads((ROOT / "examples" / "forecastd.toml").read_text())
    named = {f"{section}.{name}" for section, table in tables.items() if section != "feeds" for name in table}
    assert named == set(known_keys()) - {"feeds", "retrain.at"}
    config = load_config(ROOT / "examples" / "forecastd.toml", environ=HOME)
    default = load_config(environ=HOME)
    assert config.model_dump(exclude={"instance": {"state_dir"}}) == default.model_dump(
        exclude={"instance": {"state_dir"}}
    )
