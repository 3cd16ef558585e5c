"""Who may know whom: the imports of every module, held to the house's directions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import daemon

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("features", "models", "daemon")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FEATURES_MAY = {"polars", "numpy", "msgspec"}
MODELS_MAY = {"torch", "numpy", "polars", "safetensors"}
# Extras, each imported by one baseline where it is fitted.
MODELS_MAY_IN = {"models/baselines/garch.py": {"arch"}, "models/baselines/boosted_trees.py": {"lightgbm"}}
# What touches sockets, clocks, disks and processes, and which edges these are; no edge knows another.
EDGES = {
    "daemon.ingest.stream": "stream",
    "daemon.ingest.rest_client": "backfill",
    "daemon.store": "store",
    "daemon.publishing.publisher": "publisher",
    "daemon.forecasting.inference": "inference",
    "daemon.retraining.supervisor": "supervisor",
    "daemon.serving": "serving",
}
NO_INPUT_OUTPUT = (
    *(str(path.relative_to(ROOT)) for path in (ROOT / "daemon/pipeline").glob("*.py")),
    "daemon/publishing/topics.py",
    "daemon/publishing/payloads.py",
    "daemon/forecasting/scoreboard.py",
    *(str(path.relative_to(ROOT)) for path in (ROOT / "daemon/exchanges").glob("*.py")),
    *(str(path.relative_to(ROOT)) for path in (ROOT / "features").glob("*.py")),
)
INPUT_OUTPUT = {"asyncio", "socket", "aiohttp", "websockets", "aiomqtt", "sqlite3", "subprocess", "threading", "time"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports when it runs; what only type checkers see does not count."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_know_only_what_lies_below(path: Path) -> None:
    """daemon -> models -> features -> (stdlib, polars, numpy, msgspec), and torch only in models."""
    package = path.relative_to(ROOT).parts[0]
    third_party = top(imports(path)) - set(sys.stdlib_module_names) - set(PACKAGES)
    if package == "features":
        assert third_party <= FEATURES_MAY
        assert not top(imports(path)) & {"models", "daemon"}
    elif package == "models":
        assert third_party <= MODELS_MAY | MODELS_MAY_IN.get(str(path.relative_to(ROOT)), set())
        assert "daemon" not in top(imports(path))
    else:
        assert "torch" not in third_party


@pytest.mark.parametrize("name", NO_INPUT_OUTPUT)
def test_the_core_does_no_input_or_output(name: str) -> None:
    """Nothing in the core imports what reads a clock, a network, a disk or another process."""
    assert not top(imports(ROOT / name)) & INPUT_OUTPUT


def edge_of(module: str) -> str | None:
    return next((edge for prefix, edge in EDGES.items() if module == prefix or module.startswith(prefix + ".")), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_edges_do_not_know_one_another(path: Path) -> None:
    """An edge imports no other edge; the parts are joined where they are built."""
    own = edge_of(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    if own is not None:
        assert {edge for each in imports(path) if (edge := edge_of(each))} <= {own}


def test_the_imported_daemon_is_ours() -> None:
    """``daemon`` is also python-daemon's import name: an environment of its own keeps them apart."""
    assert Path(daemon.__file__).resolve().parent == ROOT / "daemon"


@pytest.mark.parametrize(
    "module",
    [
        "daemon.cli",
        "daemon.runtime.app",
        "daemon.cli.commands.replay",
        "daemon.cli.commands.backtest",
        "daemon.cli.commands.explain",
    ],
)
def test_torch_is_imported_only_for_networks(module: str) -> None:
    """Help, the daemon's frame and replay start without torch."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_no_file_names_a_machine() -> None:
    """Nothing in the repository speaks of paths that exist on one machine only."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = ["/" + "work/", "/" + "root/"]
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".service", ".yaml", ""} and path.is_file():
            text = path.read_text("utf-8")
            assert not any(word in text for word in words), name
