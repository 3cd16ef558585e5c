"""The registry of finished artifacts: a folder of them and two pointer files, ``champion`` and ``previous``.

A pointer holds the name of a folder below ``artifacts/``. Promotion and rollback each replace ``champion`` by
one rename, so that a reader sees the old name or the new one.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from models.artifacts.artifact import ArtifactError, remove_partial, sync_folder
from models.atomic_file import replace_file

KEEP = 5


class Registry:
    """``root`` is created when the first artifact is written or promoted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts_dir = root / "artifacts"

    def artifacts(self) -> list[Path]:
        """Every finished artifact, oldest first."""
        if not self.artifacts_dir.is_dir():
            return []
        finished = [path for path in self.artifacts_dir.iterdir() if not path.name.startswith(".") and path.is_dir()]
        return sorted(finished, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def champion(self) -> Path | None:
        """The artifact to serve; None before the first promotion. Raises ArtifactError if it cannot be read."""
        return self._read("champion")

    def previous(self) -> Path | None:
        """The champion before this one; None if there was none. Raises ArtifactError if it was removed."""
        return self._read("previous")

    def promote(self, artifact: Path) -> None:
        """Makes an artifact of this registry the champion. Raises ArtifactError for any other folder."""
        if artifact.parent.resolve() != self.artifacts_dir.resolve() or not artifact.is_dir():
            raise ArtifactError(f"{artifact} is not in {self.artifacts_dir}")
        current = self._readable_name("champion")
        if current is not None and current != artifact.name:
            self._write("previous", current)
        self._write("champion", artifact.name)

    def rollback(self) -> Path:
        """Makes the previous champion the champion again. Raises ArtifactError if there is none."""
        previous = self.previous()
        if previous is None:
            raise ArtifactError(f"{self.root} holds no previous champion to go back to")
        self.promote(previous)
        return previous

    def prune(self, keep: int = KEEP) -> list[Path]:
        """Removes all but the newest ``keep`` artifacts, the champion and the previous one; returns the removed.

        Also removes unfinished folders of killed writers, so no writer may run at the same time.
        """
        remove_partial(self.artifacts_dir)
        pointed = {self._readable_name("champion"), self._readable_name("previous")}
        finished = self.artifacts()
        removed = [path for path in finished[: max(len(finished) - keep, 0)] if path.name not in pointed]
        for path in removed:
            shutil.rmtree(path)
        return removed

    def _name(self, pointer: str) -> str | None:
        """The content of a pointer; None where there is none. Raises ArtifactError where it cannot be read."""
        path = self.root / pointer
        try:
            return path.read_text("utf-8").strip()
        except FileNotFoundError:
            if path.is_symlink():
                raise ArtifactError(f"{path} is a link to nothing; the next promotion replaces it") from None
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}; the next promotion replaces it") from error

    def _readable_name(self, pointer: str) -> str | None:
        try:
            return self._name(pointer)
        except ArtifactError:
            return None

    def _read(self, pointer: str) -> Path | None:
        name = self._name(pointer)
        if name is None:
            return None
        path = self.artifacts_dir / name
        if not name or Path(name).name != name or name not in {each.name for each in self.artifacts()}:
            raise ArtifactError(f"{self.root / pointer} names {name[:80]!r}, which is not in {self.artifacts_dir}")
        return path

    def _write(self, pointer: str, name: str) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        target = self.root / pointer
        if target.is_dir():  # a rename does not replace a folder
            target.rename(target.with_name(f"{pointer}.unreadable-{time.time_ns()}"))
        replace_file(target, f"{name}\n".encode())
        sync_folder(self.root)
