"""The registry: promotion, rollback and pruning on real files."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from models.artifacts.artifact import ArtifactError, write_artifact
from models.artifacts.registry import Registry
from tests.models.artifacts.test_artifact import artifact


def add_artifacts(registry: Registry, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        made = artifact()
        named = replace(made, manifest=replace(made.manifest, id=f"model-{number}"))
        paths.append(write_artifact(registry.artifacts_dir, named))
        os.utime(paths[-1], ns=(number, number))
    return paths


def test_an_empty_registry_has_no_champion(tmp_path: Path) -> None:
    """Before the first training there is no champion, and reading it is no error."""
    registry = Registry(tmp_path / "models")
    assert (registry.champion(), registry.previous(), registry.artifacts()) == (None, None, [])


def test_promotion_and_rollback_move_the_pointer(tmp_path: Path) -> None:
    """The promoted artifact is the champion, the one before it the previous, and rollback swaps them."""
    registry = Registry(tmp_path)
    first, second = add_artifacts(registry, 2)
    registry.promote(first)
    assert (registry.champion(), registry.previous()) == (first, None)
    registry.promote(second)
    assert (registry.champion(), registry.previous()) == (second, first)
    assert registry.rollback() == first
    assert (registry.champion(), registry.previous()) == (first, second)


def test_promoting_the_champion_again_keeps_the_previous(tmp_path: Path) -> None:
    """A repeated promotion keeps the artifact to roll back to."""
    registry = Registry(tmp_path)
    first, second = add_artifacts(registry, 2)
    for path in (first, second, second):
        registry.promote(path)
    assert registry.previous() == first


def test_only_artifacts_of_this_registry_can_be_promoted(tmp_path: Path) -> None:
    """A folder from elsewhere is refused, and so is a rollback to nothing."""
    registry = Registry(tmp_path / "models")
    with pytest.raises(ArtifactError, match="is not in"):
        registry.promote(tmp_path)
    with pytest.raises(ArtifactError, match="no previous"):
        registry.rollback()


def test_a_pointer_to_nowhere_is_an_error(tmp_path: Path) -> None:
    """A champion whose folder was removed, or a pointer out of the registry, is an error."""
    registry = Registry(tmp_path)
    [path] = add_artifacts(registry, 1)
    registry.promote(path)
    (tmp_path / "champion").write_text("../../etc\n")
    with pytest.raises(ArtifactError, match="not in"):
        registry.champion()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\x00b", b"x" * 5000, b"..", b"", None])
def test_a_pointer_that_cannot_be_read_is_an_error_until_the_next_promotion(
    tmp_path: Path, content: bytes | None
) -> None:
    """No other exception than ArtifactError; promotion replaces it, also where a folder (None) is in its place."""
    registry = Registry(tmp_path)
    (artifact_path,) = add_artifacts(registry, 1)
    if content is None:
        (tmp_path / "champion").mkdir()
    else:
        (tmp_path / "champion").write_bytes(content)
    with pytest.raises(ArtifactError, match="champion"):
        registry.champion()
    registry.prune()
    registry.promote(artifact_path)
    assert registry.champion() == artifact_path


@pytest.mark.parametrize("target", ["nowhere/champion", "champion"])
def test_a_pointer_that_is_a_broken_link_is_no_empty_registry(tmp_path: Path, target: str) -> None:
    """A link to nothing or to itself: an operator's mistake is named, it is not a registry without a champion."""
    registry = Registry(tmp_path)
    (artifact_path,) = add_artifacts(registry, 1)
    (tmp_path / "champion").symlink_to(tmp_path / target)
    with pytest.raises(ArtifactError, match=r"champion .*; the next promotion replaces it"):
        registry.champion()
    registry.promote(artifact_path)
    assert registry.champion() == artifact_path


def test_pruning_keeps_the_newest_the_champion_and_the_previous(tmp_path: Path) -> None:
    """The champion and the previous one survive however old they are."""
    registry = Registry(tmp_path)
    paths = add_artifacts(registry, 6)
    registry.promote(paths[0])
    registry.promote(paths[1])
    assert registry.prune(keep=2) == [paths[2], paths[3]]
    assert registry.artifacts() == [paths[0], paths[1], paths[4], paths[5]]
