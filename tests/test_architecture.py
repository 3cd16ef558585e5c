"""The structure of the source tree: its rules hold, and each rule catches a planted violation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import daemon
from tests.architecture import rules
from tests.architecture.source_tree import SourceTree
from tests.paths import ROOT

Rule = Callable[[SourceTree], Iterator[str]]


@pytest.fixture(scope="module")
def tree() -> SourceTree:
    """Our own, which each file is read and parsed for once."""
    return SourceTree(ROOT)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Rule, tree: SourceTree) -> None:
    """Each line of a failure names the module, what is wrong and the cure."""
    violations = list(rule(tree))
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


def test_every_rule_has_a_planted_violation() -> None:
    """A rule without a case below could be one that never fails."""
    assert {rule for rule, _, _ in PLANTED} == set(rules.RULES)


PLANTED: list[tuple[Rule, dict[str, str], str]] = [
    (rules.package_directions, {"features/bars.py": "import daemon.errors\n"}, "features.bars imports daemon"),
    (rules.package_directions, {"models/heads.py": "import pandas\n"}, "models.heads imports pandas"),
    (rules.package_directions, {"daemon/app.py": "def f():\n    import torch\n"}, "daemon.app imports torch"),
    (rules.core_without_io, {"daemon/pipeline/new.py": "import asyncio\n"}, "daemon.pipeline.new uses asyncio"),
    (rules.core_without_io, {"daemon/exchanges/new.py": "from time import time\n"}, "daemon.exchanges.new uses time"),
    (rules.core_without_io, {"features/new.py": "def f():\n    return open('x')\n"}, "features.new uses open()"),
    (
        rules.core_without_io,
        {"daemon/pipeline/new.py": "from daemon.clock import Clock\n", "daemon/clock.py": ""},
        "daemon.pipeline.new uses daemon.clock",
    ),
    (
        rules.declared_modules_without_io,
        {"daemon/publishing/topics.py": '"""Topics. No I/O."""\nimport socket\n'},
        "daemon.publishing.topics says No I/O and uses socket",
    ),
    (
        rules.declared_modules_without_io,
        {"daemon/forecasting/score.py": '"""Scores."""\n'},
        "daemon.forecasting.score does no I/O: say",
    ),
    (
        rules.edges_apart,
        {"daemon/store/thread.py": "import threading\n", "daemon/serving/http.py": "import daemon.store.thread\n"},
        "daemon.serving.http imports the edge daemon.store.thread",
    ),
    (
        rules.no_cycles,
        {
            "daemon/one.py": "from daemon import two\n",
            "daemon/two.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from daemon.one import One\n",
        },
        "daemon.one -> daemon.two -> daemon.one",
    ),
    (rules.short_files, {"models/long.py": "x = 1\n" * 351}, "models.long has 351 lines"),
    (rules.short_files, {"tests/test_long.py": "x = 1\n" * 351}, "tests.test_long has 351 lines"),
    (rules.short_functions, {"daemon/long.py": "def f():\n" + "    g()\n" * 50}, "daemon.long: f has 51 lines"),
    (
        rules.few_parameters,
        {"models/one.py": "class C:\n    def __init__(self, a, b, c, d, e, *, f, g, h, i): ...\n"},
        "models.one: __init__ has 9 parameters",
    ),
    (
        rules.nothing_uncalled,
        {"daemon/one.py": "def f(): ...\n\n\nf()\n", "models/two.py": "class C:\n    def g(self): ...\n\n\nC()\n"},
        "models.two: nothing in the program calls g",
    ),
    (
        rules.one_class_a_name,
        {"daemon/one.py": "class Score: ...\n", "models/two.py": "class Score: ...\n"},
        "class Score is in daemon.one and models.two",
    ),
    (rules.standard_words, {"daemon/one.py": '"""What nobody reads."""\n'}, 'the docstring has "nobody"'),
    (
        rules.standard_words,
        {"tests/test_one.py": "def test_intake() -> None: ...\n"},
        'the name test_intake has "intake"',
    ),
    (rules.standard_words, {"daemon/one.py": "class BarsTold: ...\n"}, 'the name BarsTold has "told"'),
    (rules.standard_words, {"daemon/one.py": "def f(told_us): ...\n"}, 'the parameter told_us of f has "told"'),
]


@pytest.mark.parametrize(("rule", "files", "message"), PLANTED)
def test_a_planted_violation_is_reported(tmp_path: Path, rule: Rule, files: dict[str, str], message: str) -> None:
    """One line a violation, and the cure after a colon."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (found,) = rule(SourceTree(tmp_path))
    assert found.startswith(message) or message in found
    assert ": " in found


def test_what_the_rules_allow_is_not_reported(tmp_path: Path) -> None:
    """Dependencies that point down, private classes and venue modules of one name, and words inside other words."""
    allowed = {
        "features/bars.py": "import polars\n",
        "models/network.py": "import torch\nfrom features.bars import OpenBar\n",
        "features/parameters.py": "class _C:\n    def _f(self, a, b, c, d, e, f, g, h): ...\n",
        "tests/long.py": "def f(a, b, c, d, e, f, g, h, i):\n" + "    g()\n" * 50,
        "daemon/exchanges/one.py": "class Envelope: ...\n\n\nEnvelope()\n",
        "daemon/exchanges/two.py": "class Envelope: ...\n\n\nEnvelope()\n",
        "daemon/cli/one.py": '"""Understanding minor things."""\nclass _View: ...\n',
        "daemon/cli/two.py": "class _View: ...\n",
        "daemon/publishing/topics.py": '"""Topics. No I/O."""\n',
        "daemon/publishing/publisher.py": "import asyncio\nfrom daemon.publishing import topics\n",
    }
    for name, text in allowed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert [line for rule in rules.RULES for line in rule(SourceTree(tmp_path))] == []


def test_the_imported_daemon_is_ours() -> None:
    """``daemon`` is also the import name of python-daemon: an environment of its own keeps the two apart."""
    assert Path(daemon.__file__).resolve().parent == ROOT / "daemon"


def test_torch_is_imported_only_for_networks() -> None:
    """Help, the daemon without a network, replay, backtest and explain start without torch."""
    commands = ("replay", "backtest", "explain")
    modules = ("daemon.cli", "daemon.runtime.app", *(f"daemon.cli.commands.{each}" for each in commands))
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_file_names_a_machine() -> None:
    """No file in the repository contains a path that exists on one machine only."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = ["/" + "work/", "/" + "root/"]
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".service", ".yaml", ""} and path.is_file():
            text = path.read_text("utf-8")
            assert not any(word in text for word in words), name
