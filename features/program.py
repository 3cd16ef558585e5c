"""Expressions as a numbered list of distinct steps, each after its arguments: what evaluators and the hash work on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from features.algebra import WARM_UP_ROWS, Node, Operator, Scope

_SOURCES_OF_TIME = frozenset({"open_time_us"})
_SOURCES_OF_MARKET = frozenset({"venue", "symbol"})


@dataclass(frozen=True, slots=True)
class ProgramStep:
    """One operator. ``arguments``: the numbers of the steps that it reads, all of them smaller than its own."""

    number: int
    node: Node
    arguments: tuple[int, ...]

    @property
    def operator(self) -> Operator:
        return self.node.operator

    @property
    def is_leaf(self) -> bool:
        """Whether it reads no other step."""
        return not self.arguments

    def text(self) -> str:
        """The step in the canonical text, e.g. ``12 mean 24 %7``."""
        parameters = (repr(each) for each in self.node.parameters)
        return " ".join([str(self.number), self.operator, *parameters, *(f"%{each}" for each in self.arguments)])


@dataclass(frozen=True, slots=True)
class Program:
    """The steps of named expressions; equal expressions share one step.

    outputs: for each name, in order, the number of the step that computes it.
    """

    steps: tuple[ProgramStep, ...]
    outputs: Mapping[str, int]

    def text(self) -> str:
        """The canonical text: it depends on the expressions, their names and their order, and on nothing else."""
        results = (f"{name} = %{number}" for name, number in self.outputs.items())
        return "\n".join([*(step.text() for step in self.steps), *results])

    def uses(self) -> list[list[int]]:
        """For each step the numbers of the steps that read it, once for each time."""
        users: list[list[int]] = [[] for _ in self.steps]
        for step in self.steps:
            for argument in step.arguments:
                users[argument].append(step.number)
        return users


def program(expressions: Mapping[str, Node]) -> Program:
    """The program that computes ``expressions``, numbered in the order in which they need their steps."""
    steps: list[ProgramStep] = []
    by_content: dict[tuple[object, ...], int] = {}
    by_identity: dict[int, int] = {}
    for node in _in_order(expressions.values()):
        arguments = tuple(by_identity[id(argument)] for argument in node.arguments)
        content = (node.operator, node.parameters, arguments)
        if content not in by_content:
            by_content[content] = len(steps)
            steps.append(ProgramStep(len(steps), node, arguments))
        by_identity[id(node)] = by_content[content]
    return Program(tuple(steps), {name: by_identity[id(node)] for name, node in expressions.items()})


def _in_order(nodes: Iterable[Node]) -> Iterator[Node]:
    """All nodes that ``nodes`` are made of, each once and after its arguments."""
    seen: set[int] = set()

    def visit(node: Node) -> Iterator[Node]:
        if id(node) not in seen:
            seen.add(id(node))
            for argument in node.arguments:
                yield from visit(argument)
            yield node

    for node in nodes:
        yield from visit(node)


def memory_rows(node: Node) -> int:
    """Rows that the longest chain of operators behind ``node`` reaches back.

    The bound: a recursive average of a recursive average forgets about as fast as a single one.
    """
    reach: dict[int, int] = {}
    for each in _in_order([node]):
        behind = max((reach[id(argument)] for argument in each.arguments), default=0)
        reach[id(each)] = min(each.rows + behind, WARM_UP_ROWS)
    return reach[id(node)]


def sources(node: Node) -> frozenset[str]:
    """The bar columns that ``node`` derives from."""
    found: set[str] = set()
    for each in _in_order([node]):
        if each.operator is Operator.COLUMN:
            found.add(each.name)
        elif each.operator in (Operator.SINCE, Operator.UNTIL):
            found |= _SOURCES_OF_TIME
        elif each.scope is Scope.MOMENT:
            found |= _SOURCES_OF_MARKET
    return frozenset(found)
