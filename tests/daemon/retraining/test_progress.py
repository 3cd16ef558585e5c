"""The protocol between the training child and the daemon."""

from __future__ import annotations

import math

import pytest

from daemon.retraining.progress import (
    LONGEST_LINE_BYTES,
    Alive,
    Finished,
    Log,
    Message,
    Reported,
    Started,
    TrainingFailed,
    decode,
    encode,
)
from models.specification import Progress

PROGRESS = Progress(phase="training", ratio=0.25, elapsed_s=3.0, epoch=1, epochs=4, train_loss=0.5)


@pytest.mark.parametrize(
    "message",
    [
        Started(7, ("be nice: Permission denied",)),
        Reported(PROGRESS),
        Alive(),
        Log("paused"),
        Finished("/models/artifacts/a", {"1": {"pinball_vs_har": 0.99}}),
        TrainingFailed("ValueError: too few bars"),
    ],
)
def test_every_message_survives_the_pipe(message: Message) -> None:
    """One line, and the same message after it."""
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"Epoch 1/10\n",
        b"{}\n",
        b'{"type":"finished"}\n',
        b'{"type":"progress","progress":{"phase":"training","ratio":"most","elapsed_s":1}}\n',
        b"\xff\xfe\n",
        b"[" * 10_000,
    ],
)
def test_an_invalid_line_is_refused_with_an_excerpt(line: bytes) -> None:
    """A line that is not a message raises ValueError with its beginning."""
    with pytest.raises(ValueError, match=r"b['\"]"):
        decode(line)


def test_a_long_reason_is_cut_to_the_line_bound() -> None:
    """An exception that prints a matrix does not break the protocol."""
    assert len(encode(TrainingFailed("\n" * 10**6))) < LONGEST_LINE_BYTES


def test_a_loss_that_is_not_a_number_is_a_missing_one() -> None:
    """JSON has no NaN: the daemon sees None."""
    message = decode(encode(Reported(Progress(phase="training", ratio=0.1, elapsed_s=1.0, train_loss=math.nan))))
    assert isinstance(message, Reported)
    assert message.progress.train_loss is None
