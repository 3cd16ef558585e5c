"""The modules of a source tree with what each imports, read from the files without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("features", "models", "daemon")
SUPPORT = ("tests", "benchmarks", "grafana")
_WORD_LISTS = "tests.architecture"  # names the forbidden words

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file. ``name`` is its import name: a package's is that of its folder."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def package(self) -> str:
        """The top-level package: features, models or daemon."""
        return self.name.partition(".")[0]

    @property
    def folder(self) -> str:
        """The import name of the folder that holds the file."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    def imports(self, *, typing_only: bool) -> set[str]:
        """Every dotted name that the file imports, from inside functions too.

        typing_only: whether imports under ``if TYPE_CHECKING`` count.
        """
        found: set[str] = set()
        for node in _nodes(self.tree, typing_only=typing_only):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return found

    def definitions(self) -> Iterator[Definition]:
        """Every class and function, nested ones included."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, Definition))


@dataclass(frozen=True)
class SourceTree:
    """The source below ``root``: ``modules`` are those of features, models and daemon, ``support`` the rest."""

    root: Path

    @cached_property
    def modules(self) -> dict[str, Module]:
        return self._modules(PACKAGES)

    @cached_property
    def support(self) -> dict[str, Module]:
        found = self._modules(SUPPORT)
        return {name: module for name, module in found.items() if not name.startswith(_WORD_LISTS)}

    def _modules(self, folders: Iterable[str]) -> dict[str, Module]:
        paths = sorted(path for folder in folders for path in (self.root / folder).rglob("*.py"))
        found = (Module(_module_name(path.relative_to(self.root)), path) for path in paths)
        return {module.name: module for module in found}

    def below(self, folder: str) -> list[Module]:
        """The modules of a folder and of the folders in it, e.g. ``daemon.pipeline``."""
        return [module for name, module in self.modules.items() if name == folder or name.startswith(folder + ".")]

    def imported_modules(self, module: Module, *, typing_only: bool = True) -> set[str]:
        """The modules of this tree that ``module`` imports, itself left out."""
        names = module.imports(typing_only=typing_only)
        parents = {name.rpartition(".")[0] for name in names if name in self.modules}
        # ``from package import module`` names the package as well: its __init__ is not what is meant.
        return {name for name in names & self.modules.keys() if name not in parents or self._uses(module, name)} - {
            module.name
        }

    def _uses(self, module: Module, package: str) -> bool:
        """Whether ``module`` imports a name that the package's own ``__init__`` defines."""
        return any(
            f"{package}.{alias.name}" not in self.modules
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and node.module == package
            for alias in node.names
        ) or any(
            alias.name == package
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        )


def _module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _nodes(tree: ast.AST, *, typing_only: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        guarded = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        if not guarded or typing_only:
            yield child
            yield from _nodes(child, typing_only=typing_only)
