"""Schedule of a program for one row: its steps in groups that one NumPy call computes for all series.

The values of a row are an array (slots, S) of numbers, and one of conditions. A step has a slot in one of them; the
steps of a group have adjacent slots. Groups are in an order in which each finds its arguments computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.algebra import Condition, Node, Operator
from features.program import Program, ProgramStep

IntArray = npt.NDArray[np.int64]

_BY_SLOT = frozenset({Operator.COLUMN, Operator.CONSTANT, Operator.SINCE, Operator.UNTIL, Operator.LAG})
"""Steps that read no value of the row; one group each, whatever their parameters."""


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Steps of one operator. out: their slots. arguments: for each argument the slots (K,) that the K steps read."""

    operator: Operator
    steps: tuple[ProgramStep, ...]
    out: slice
    arguments: tuple[IntArray, ...]

    @property
    def node(self) -> Node:
        """The first step's; its parameters are those of all, unless the group reads no value of the row."""
        return self.steps[0].node

    def slots(self) -> Iterator[tuple[int, ProgramStep]]:
        """Each step with its slot."""
        return enumerate(self.steps, self.out.start)


class RowSchedule:
    """The groups of a program in order, and the slot of each step.

    slot: by step number, in the array of its kind. numbers, conditions: how many slots each array has.
    """

    def __init__(self, compiled: Program) -> None:
        self.program = compiled
        groups: dict[tuple[object, ...], list[ProgramStep]] = {}
        depths: list[int] = []
        for step in compiled.steps:
            depths.append(_depth(step, depths))
            parameters = () if step.operator in _BY_SLOT else step.node.parameters
            content = (depths[-1], step.operator, len(step.arguments), parameters)
            groups.setdefault(content, []).append(step)
        in_order = sorted(groups.values(), key=lambda steps: depths[steps[0].number])
        self.slot: Mapping[int, int] = _slots(in_order)
        self.numbers = sum(not _is_condition(step) for step in compiled.steps)
        self.conditions = len(compiled.steps) - self.numbers
        self.groups = tuple(map(self._group, in_order))
        self.outputs = self.slots(compiled.outputs.values())

    def slots(self, steps: Iterable[int]) -> IntArray:
        """The slots of the steps of these numbers."""
        return np.array([self.slot[each] for each in steps], dtype=np.int64)

    def _group(self, steps: list[ProgramStep]) -> StepGroup:
        first = self.slot[steps[0].number]
        arguments = tuple(self.slots(each) for each in zip(*(step.arguments for step in steps), strict=True))
        return StepGroup(steps[0].operator, tuple(steps), slice(first, first + len(steps)), arguments)


def _depth(step: ProgramStep, depths: list[int]) -> int:
    """The round in which a step is computed: after those whose values of the same row it reads."""
    if step.operator in _BY_SLOT:
        return 0
    return 1 + max(depths[each] for each in step.arguments)


def _slots(groups: Iterable[list[ProgramStep]]) -> dict[int, int]:
    slots: dict[int, int] = {}
    used = {True: 0, False: 0}
    for steps in groups:
        for step in steps:
            kind = _is_condition(step)
            slots[step.number] = used[kind]
            used[kind] += 1
    return slots


def _is_condition(step: ProgramStep) -> bool:
    return isinstance(step.node, Condition)
