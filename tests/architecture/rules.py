"""The rules that keep the structure and its vocabulary: each returns one line for every violation, with the cure.

The rules go by folder: a new file is under the rules of the folder that it is put in.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.architecture.source_tree import PACKAGES, Module, SourceTree

MOST_LINES = 350
MOST_FUNCTION_LINES = 50
MOST_PARAMETERS = 8

THIRD_PARTY = {"features": {"polars", "numpy", "msgspec"}, "models": {"torch", "numpy", "polars", "safetensors"}}
# The packages that each optional extra installs, and the one module that imports them.
EXTRAS = {"models.baselines.garch": {"arch"}, "models.baselines.boosted_trees": {"lightgbm"}}
# Public names without a caller in the program, each with the reason why it stays.
UNCALLED = {
    "rollback": "the registry's counterpart of promote, for operators' code",
    "unscored": "counts that tests check",
    "forecasts_waiting": "a bound that tests check",
    "send_raw": "a fault that tests inject",
    "log_access": "overrides a method of aiohttp",
}
# Decorators of functions that the program calls by name; any other decorator registers its function with a library.
_PLAIN_DECORATORS = {
    *("property", "classmethod", "staticmethod", "cached_property"),
    *("contextmanager", "asynccontextmanager"),
}
PACKAGES_BELOW = {"features": set[str](), "models": {"features"}, "daemon": {"features", "models"}}

# Folders in which no module does I/O.
CORE = ("daemon.pipeline", "daemon.exchanges", "features")
# Folders of edges: some of their modules do I/O, the others say "No I/O" in their docstrings and are held to it.
EDGES = (
    "daemon.ingest",
    "daemon.store",
    "daemon.publishing",
    "daemon.forecasting",
    "daemon.retraining",
    "daemon.serving",
)
# Folders whose modules without I/O must say so.
DECLARING = ("daemon.publishing", "daemon.forecasting", "daemon.retraining")
# Modules that reach sockets, processes, threads, files, clocks or chance.
IO_MODULES = {
    *("asyncio", "selectors", "socket", "ssl", "aiohttp", "aiomqtt", "paho", "websockets", "uvloop"),
    *("concurrent", "multiprocessing", "queue", "signal", "subprocess", "threading"),
    *("fcntl", "importlib.resources", "io", "os", "pathlib", "shutil", "sqlite3", "tempfile"),
    *("random", "secrets", "time"),
    "daemon.clock",
}
# Calls that read a file or a clock without an import of their own.
IO_CALLS = {"open", "input", "now", "today", "utcnow"}
NO_IO = re.compile(r"\bNo I/O\b")

# Venue modules name what their venue's wire carries, each in its own namespace.
OWN_NAMESPACES = ("daemon.exchanges", "daemon.simulator.dialects")

# Words with a standard term (see CONTRIBUTING.md); they may not appear in docstrings or in names.
WORDS = {
    "told": "published, reported or received",
    "untold": "unpublished",
    "heard": "received or connected",
    "unheard": "lost or undelivered",
    "hearing": "staleness or receiving",
    "whoever": "the caller, the subscriber or the operator",
    "nobody": "the component that is meant",
    "somebody": "the component that is meant",
    "anew": "again",
    "intake": "sequencer",
    "standing": "status or rank",
    "inquiry": "request",
    "overrule": "replace",
    "remake": "rebuild",
    "meddle": "inject a fault",
    "meddling": "injecting a fault",
    "unfit": "rejected",
    "unsaid": "missing",
}


def package_directions(tree: SourceTree) -> Iterator[str]:
    """daemon imports models, models imports features, features imports polars, numpy and msgspec; not the reverse."""
    for module in tree.modules.values():
        tops = _tops(module.imports(typing_only=False))
        allowed = PACKAGES_BELOW[module.package] | {module.package}
        for name in sorted(tops & set(PACKAGES) - allowed):
            yield f"{module.name} imports {name}: move the shared part down, into {module.package} or below"
        others = tops - set(PACKAGES) - set(sys.stdlib_module_names)
        if module.package == "daemon":
            wrong = others & {"torch"}
        else:
            wrong = others - THIRD_PARTY[module.package] - EXTRAS.get(module.name, set())
        for name in sorted(wrong):
            yield f"{module.name} imports {name}: use it in the package that may, see THIRD_PARTY in {__name__}"


def core_without_io(tree: SourceTree) -> Iterator[str]:
    """The core folders read no clock, socket, file or source of chance: their callers pass these in."""
    for folder in CORE:
        for module in tree.below(folder):
            for name in sorted(io_names(module)):
                yield f"{module.name} uses {name}: pass its result in from an edge, {folder} does no I/O"


def declared_modules_without_io(tree: SourceTree) -> Iterator[str]:
    """In the mixed folders a docstring says "No I/O" exactly where that is so."""
    for folder in EDGES:
        for module in tree.below(folder):
            used, declared = sorted(io_names(module)), bool(NO_IO.search(module.docstring))
            if used and declared:
                yield f"{module.name} says No I/O and uses {', '.join(used)}: move that to an edge, or drop the words"
            elif not used and not declared and folder in DECLARING and module.path.name != "__init__.py":
                yield f'{module.name} does no I/O: say "No I/O." in its docstring, so that it stays so'


def edges_apart(tree: SourceTree) -> Iterator[str]:
    """A module of one edge folder imports no module with I/O of another: daemon.runtime joins them."""
    for folder in EDGES:
        for module in tree.below(folder):
            for name in sorted(tree.imported_modules(module, typing_only=False)):
                other = next((edge for edge in EDGES if name == edge or name.startswith(edge + ".")), folder)
                if other != folder and io_names(tree.modules[name]):
                    yield f"{module.name} imports the edge {name}: take a Protocol, join them in daemon.runtime"


def no_cycles(tree: SourceTree) -> Iterator[str]:
    """No module imports itself through others; imports for type checkers and inside functions count."""
    graph = {name: tree.imported_modules(module) for name, module in tree.modules.items()}
    for cycle in _cycles(graph):
        path = " -> ".join([*cycle, cycle[0]])
        yield f"{path}: move what both need into a module of its own, or pass it in"


def short_files(tree: SourceTree) -> Iterator[str]:
    """No file is longer than MOST_LINES, tests and benchmarks included."""
    for module in (*tree.modules.values(), *tree.support.values()):
        lines = len(module.text.splitlines())
        if lines > MOST_LINES:
            yield f"{module.name} has {lines} lines: split it by purpose, {MOST_LINES} at most"


def short_functions(tree: SourceTree) -> Iterator[str]:
    """No function of the program is longer than MOST_FUNCTION_LINES, its docstring included."""
    for module, function in _functions(tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > MOST_FUNCTION_LINES:
            yield f"{module.name}: {function.name} has {lines} lines: split it, {MOST_FUNCTION_LINES} at most"


def few_parameters(tree: SourceTree) -> Iterator[str]:
    """No function or constructor of the program takes more than MOST_PARAMETERS; ``self`` does not count."""
    for module, function in _functions(tree):
        given = function.args
        names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > MOST_PARAMETERS:
            yield (
                f"{module.name}: {function.name} has {count} parameters: make those that are one concept a record, "
                f"{MOST_PARAMETERS} at most"
            )


def nothing_uncalled(tree: SourceTree) -> Iterator[str]:
    """Every public function, method and class is named somewhere in the program; what only tests call is theirs."""
    program = [*tree.modules.values(), *_support_beside_tests(tree)]
    used = {name for module in program for name in _names_used(module)}
    for module in tree.modules.values():
        for node in module.definitions():
            registered = any(ast.unparse(each) not in _PLAIN_DECORATORS for each in node.decorator_list)
            if isinstance(node, ast.ClassDef):
                registered = False
            if not (node.name.startswith("_") or registered or node.name in used or node.name in UNCALLED):
                yield (
                    f"{module.name}: nothing in the program calls {node.name}: delete it, move it to the tests, "
                    f"or name the reason in UNCALLED in {__name__}"
                )


def one_class_a_name(tree: SourceTree) -> Iterator[str]:
    """A public class name is used once, venue modules left out."""
    places = defaultdict[str, list[str]](list)
    for module in tree.modules.values():
        if not module.name.startswith(OWN_NAMESPACES):
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(module.name)
    for name, modules in sorted(places.items()):
        if len(modules) > 1:
            yield f"class {name} is in {' and '.join(modules)}: name each by what sets it apart"


def standard_words(tree: SourceTree) -> Iterator[str]:
    """Docstrings and names use the field's terms, not the words of WORDS; those of tests and benchmarks too."""
    for module in (*tree.modules.values(), *tree.support.values()):
        for place, text in _prose(module):
            for word in sorted(set(re.findall(r"[a-z]+", text.lower())) & WORDS.keys()):
                yield f'{module.name}: {place} has "{word}": write {WORDS[word]}'


RULES = (
    package_directions,
    core_without_io,
    declared_modules_without_io,
    edges_apart,
    no_cycles,
    short_files,
    short_functions,
    few_parameters,
    nothing_uncalled,
    one_class_a_name,
    standard_words,
)


def io_names(module: Module) -> set[str]:
    """The modules and calls of IO_MODULES and IO_CALLS that a module uses when it runs."""
    imported = module.imports(typing_only=False)
    found = (imported & IO_MODULES) | (_tops(imported) & IO_MODULES)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found |= {f"{called}()"} if called in IO_CALLS else set()
    return found


def _functions(tree: SourceTree) -> Iterator[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the program and of its benchmarks and dashboards, methods and nested ones included."""
    for module in (*tree.modules.values(), *_support_beside_tests(tree)):
        for node in module.definitions():
            if not isinstance(node, ast.ClassDef):
                yield module, node


def _support_beside_tests(tree: SourceTree) -> list[Module]:
    return [module for name, module in tree.support.items() if not name.startswith("tests")]


def _names_used(module: Module) -> Iterator[str]:
    """The names that a module reads, imports, passes as keywords or holds as strings; its definitions are none."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name):
                yield name.rpartition(".")[2]
            case ast.Constant(value=str(name)) if name.isidentifier():
                yield name


def _tops(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _prose(module: Module) -> Iterator[tuple[str, str]]:
    """The module's docstrings, and the names of its classes, functions and parameters as words."""
    yield "the docstring", module.docstring
    for node in module.definitions():
        yield f"the docstring of {node.name}", ast.get_docstring(node) or ""
        yield f"the name {node.name}", _words(node.name)
        if not isinstance(node, ast.ClassDef):
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                yield f"the parameter {argument.arg} of {node.name}", _words(argument.arg)


def _words(name: str) -> str:
    """``StaleFeed`` and ``stale_feed`` as ``stale feed``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name)


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """The strongly connected components with more than one node (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for successor in sorted(graph.get(node, ())):
            if successor not in index:
                visit(successor)
                low[node] = min(low[node], low[successor])
            elif successor in stack:
                low[node] = min(low[node], index[successor])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    yield from found
