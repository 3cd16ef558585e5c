"""A training run's progress as a bar on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, TaskID

from daemon.cli.commands.work_bar import progress_bar
from models.specification import Progress as TrainingProgress


class TrainingBar:
    """One bar, there from the first ``show`` to ``close``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def show(self, progress: TrainingProgress) -> None:
        text = progress_text(progress)
        if self._bar is None:
            self._bar = progress_bar(self._console, transient=False)
            self._task = self._bar.add_task(text, total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=progress.ratio, description=text)

    def close(self) -> None:
        """Leaves the bar as it stands; nothing happens where none was shown."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def progress_text(progress: TrainingProgress) -> str:
    """One line: the epoch, or the phase where there is none, and the loss so far."""
    stage = f"epoch {progress.epoch}/{progress.epochs}" if progress.epoch else progress.phase
    loss = f", validation loss {progress.validation_loss:.4f}" if progress.validation_loss is not None else ""
    return f"{stage} ({100 * progress.ratio:.0f}%{loss})"
