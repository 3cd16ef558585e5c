"""Training specification and progress as JSON."""

from pathlib import Path

import pytest

from models.specification import Progress, TrainingSpec


def spec(**changes: object) -> TrainingSpec:
    return TrainingSpec(data_file=Path("bars.parquet"), output_dir=Path("out"), **changes)  # type: ignore[arg-type]


def test_a_specification_survives_json() -> None:
    """A specification read back equals the written one, types included."""
    given = spec(horizons=(1, 5), epochs=3, time_budget_s=2.5, parent="older", symbols=("A-B",), run_dir=Path("run"))
    assert TrainingSpec.from_json(given.to_json()) == given


def test_an_unknown_key_is_rejected() -> None:
    """A key that this program does not know is an error that names it."""
    with pytest.raises(ValueError, match="nonsense"):
        TrainingSpec.from_json('{"nonsense": 1}')


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "crystal_ball"},
        {"preset": "huge"},
        {"preset": "large"},
        {"horizons": (3, 1)},
        {"levels": ()},
        {"seeds": 0},
    ],
)
def test_an_impossible_specification_is_rejected(changes: dict[str, object]) -> None:
    """Unknown kinds and presets and unordered horizons are rejected at construction."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        spec(**changes)


def test_progress_survives_json() -> None:
    """One line out, the same record in."""
    progress = Progress(phase="training", ratio=0.5, elapsed_s=3.0, epoch=2, epochs=4, train_loss=1.0)
    assert Progress.from_json(progress.to_json()) == progress
