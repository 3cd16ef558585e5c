"""Protocol between the training child and the daemon: JSON lines to the daemon, one word a line to the child.

The child writes one message a line to its standard output and reads orders from its standard input. The output of
libraries goes to standard error: a line that is not a message means a defective child. No I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from models.specification import Progress

LONGEST_LINE_BYTES = 65_536  # the scores of six horizons take two kilobytes; more is not a message
_LONGEST_TEXT = 2_000


class Order(StrEnum):
    """An order of the daemon; the child executes it between two training steps."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The child has started; ``shortfalls`` are the priority settings that failed, one line each."""

    pid: int
    shortfalls: tuple[str, ...] = ()


class Reported(msgspec.Struct, frozen=True, tag="progress"):
    """The progress of training."""

    progress: Progress


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """A sign of life from a training step or a pause: the child does not hang."""


class Log(msgspec.Struct, frozen=True, tag="log"):
    """One line for the daemon's log."""

    message: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """Training is done: ``artifact`` is the new folder, ``scores`` those of its manifest."""

    artifact: str
    scores: dict[str, Any]


class TrainingFailed(msgspec.Struct, frozen=True, tag="failed"):
    """Training ended without an artifact. unusable_bars: because nothing can be trained on the bars."""

    reason: str
    unusable_bars: bool = False


Message = Started | Reported | Alive | Log | Finished | TrainingFailed

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """One line, newline included. Long text is cut, so that a line stays below LONGEST_LINE_BYTES."""
    if isinstance(message, TrainingFailed):
        message = TrainingFailed(message.reason[:_LONGEST_TEXT], message.unusable_bars)
    elif isinstance(message, Log):
        message = Log(message.message[:_LONGEST_TEXT])
    return _encoder.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """Decodes one line. Raises ValueError, with an excerpt, for a line that ``encode`` does not write."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{error}: {line[:80]!r}") from error
