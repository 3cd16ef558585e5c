"""Lock files: complete, hashed, and equal to the tested set of ``constraints.txt`` and to what is installed here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.paths import ROOT

LOCKS = ROOT / "requirements"
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(*files: str) -> dict[str, str]:
    """Version by package. Every line of the files is a pin with at least one hash."""
    found: dict[str, str] = {}
    for file in files:
        lines = [line for line in (LOCKS / file).read_text().splitlines() if not line.startswith("#")]
        for block in re.split(r"\n(?=\S)", "\n".join(lines)):
            match = _PIN.match(block)
            assert match, block
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
            found[canonical(match[1])] = match[2]
    return found


def constraints() -> dict[str, str]:
    text = (ROOT / "constraints.txt").read_text()
    return {canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)}


def closure(extras: set[str]) -> dict[str, str]:
    """Version of every installed distribution that forecastd with these extras depends on, forecastd's own apart."""
    found: dict[str, str] = {}
    waiting = [("forecastd", extras)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, wanted = waiting.pop()
        for requirement in required(name, wanted):
            key = canonical(requirement.name)
            if (key, str(sorted(requirement.extras))) in seen:
                continue
            seen.add((key, str(sorted(requirement.extras))))
            found[key] = metadata.version(key)
            waiting.append((key, requirement.extras))
    return found


def required(name: str, extras: set[str]) -> Iterator[Requirement]:
    declared = declared_here(extras) if name == "forecastd" else metadata.requires(name) or []
    for text in declared:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in {"", *extras}):
            yield requirement


def declared_here(extras: set[str]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]


@pytest.mark.parametrize(("lock", "extras"), [("run.txt", set[str]()), ("dev.txt", {"dev"})])
def test_the_whole_closure_is_locked(lock: str, extras: set[str]) -> None:
    """pip --require-hashes refuses an installation that lacks one; versions are those that the tests run with."""
    locked = pins(lock) | {"torch": "2.13.0"}
    needed = closure(extras)
    assert needed
    assert {name for name in needed if name not in locked} == set()
    installed = {name: version.removeprefix("v").partition("+")[0] for name, version in needed.items()}
    assert {name: (locked[name], version) for name, version in installed.items() if locked[name] != version} == {}


@pytest.mark.parametrize("lock", ["run.txt", "dev.txt", "fuzz.txt", "torch.txt", "torch-cpu.txt"])
def test_the_lock_files_hold_the_tested_versions(lock: str) -> None:
    """``constraints.txt`` lists them for those who install otherwise; CUDA's libraries follow torch's own pins."""
    tested = constraints()
    for name, version in pins(lock).items():
        if name in tested:
            assert version.partition("+")[0] == tested[name], name
        else:
            assert lock == "torch.txt" or name == "colorama", name  # colorama: on Windows only


def test_the_build_is_locked_too() -> None:
    """forecastd is built without isolation, by the setuptools of the lock file."""
    assert "setuptools" in pins("run.txt")
    assert "setuptools" in constraints()
