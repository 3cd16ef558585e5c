"""What the training child and the daemon say to each other: JSON lines up, one word a line down.

The child writes one message a line to its standard output and reads orders from its standard input. Whatever a
library prints goes to standard error, so that a line which is no message means a broken child.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from models.specification import Progress

LONGEST_LINE_BYTES = 65_536  # the scores of six horizons take two kilobytes; more is not ours
_LONGEST_TEXT = 2_000


class Order(StrEnum):
    """What the daemon may ask of the child; obeyed between two training steps."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The child is up; ``shortfalls`` are the ways in which it could not lower its own priority."""

    pid: int
    shortfalls: tuple[str, ...] = ()


class Reported(msgspec.Struct, frozen=True, tag="progress"):
    """Where training stands."""

    progress: Progress


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """A training step was done or a pause goes on: the child is no hanging one."""


class Log(msgspec.Struct, frozen=True, tag="log"):
    """One line for the daemon's log."""

    message: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Training is done: ``artifact`` is the new folder, ``scores`` those of its manifest."""

    artifact: str
    scores: dict[str, Any]


class TrainingFailed(msgspec.Struct, frozen=True, tag="failed"):
    """Training ended without an artifact."""

    reason: str


Message = Started | Reported | Alive | Log | Finished | TrainingFailed

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """One line, newline included. Text is cut so that a line stays within its bound."""
    if isinstance(message, TrainingFailed):
        message = TrainingFailed(message.reason[:_LONGEST_TEXT])
    elif isinstance(message, Log):
        message = Log(message.message[:_LONGEST_TEXT])
    return _encoder.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """Raises ValueError, with an excerpt of the line, for anything that ``encode`` does not write."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{error}: {line[:80]!r}") from error
