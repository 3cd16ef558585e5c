"""Complete training runs, tiny, and the command in its own process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from models.artifacts.artifact import ArtifactError, read_artifact
from models.networks.network_forecaster import NetworkForecaster
from models.specification import Progress
from models.train import main, train
from models.training.fitting import Fitting
from tests.models.tiny_artifacts import HORIZONS, tiny_spec
from tests.paths import ROOT

HOURLY = ROOT.parent / "shared" / "data" / "hourly"


class Cancelled(Exception):
    pass


def test_two_runs_give_identical_weights(tmp_path: Path, tiny_artifact: Path) -> None:
    """Same data, specification and seed: the same id, the same bytes of weights."""
    again = train(tiny_spec(tmp_path))
    assert train(tiny_spec(tmp_path)) == again
    assert again.name == tiny_artifact.name
    assert (again / "weights.safetensors").read_bytes() == (tiny_artifact / "weights.safetensors").read_bytes()


def test_another_seed_gives_other_weights(tmp_path: Path, tiny_artifact: Path) -> None:
    """The seed matters, so the equality above is not trivial."""
    assert train(tiny_spec(tmp_path, seed=1)).name != tiny_artifact.name


def test_scores_include_both_baselines_and_standard_errors(tiny_artifact: Path) -> None:
    """Every horizon is scored against HAR and the random walk on the same bars."""
    manifest = read_artifact(tiny_artifact).manifest
    assert set(manifest.scores) == {str(horizon) for horizon in HORIZONS}
    for score in manifest.scores.values():
        assert score["scored"] > 100
        for baseline in ("har", "random_walk"):
            assert 0.5 < score[f"pinball_vs_{baseline}"] < 2.0
            assert 0.0 < score[f"pinball_vs_{baseline}_se"] < 0.5
        assert 0.7 < score["coverage_90"] < 1.0
    assert manifest.fitted_until_us < manifest.trained_until_us


def test_every_measure_is_documented(tiny_artifact: Path) -> None:
    """docs/mqtt.md names every key of ``scores`` in the model message."""
    documented = (ROOT / "docs" / "mqtt.md").read_text()
    measures = set(read_artifact(tiny_artifact).manifest.scores["1"])
    for measure in measures:
        name = "coverage_80" if measure.startswith("coverage_") else measure.removesuffix("_se")
        assert f"`{name}`" in documented, measure
    assert {"pinball_bp_har", "pinball_vs_har_se"} <= measures


def test_progress_rises_to_one_through_all_phases(tmp_path: Path) -> None:
    """The ratio never falls and the phases come in order."""
    reports: list[Progress] = []
    train(tiny_spec(tmp_path), on_progress=reports.append)
    ratios = [report.ratio for report in reports]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0
    assert list(dict.fromkeys(report.phase for report in reports)) == ["features", "training", "scoring", "done"]


def test_a_checkpoint_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    """Cancelling between steps passes the exception on; no artifact appears."""
    calls = iter(range(1000))

    def cancel_at_the_third() -> None:
        if next(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        train(tiny_spec(tmp_path), checkpoint=cancel_at_the_third)
    assert not (tmp_path / "artifacts").exists()


def test_several_seeds_are_averaged_if_that_scores_better(tmp_path: Path) -> None:
    """The artifact records the loss of each seed and of their average, and holds the best of them."""
    path = train(tiny_spec(tmp_path, seeds=2))
    manifest = read_artifact(path).manifest
    losses, average = manifest.training["seed_losses"], manifest.training["average_loss"]
    assert len(set(losses)) == 2
    pays = average < min(losses)
    assert manifest.network["members"] == (2 if pays else 1)
    assert manifest.training["validation_loss"] == min(average, *losses)
    NetworkForecaster.load(path)


def test_an_average_that_scores_worse_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If its loss is above that of the best seed, the artifact holds that seed's network."""
    best = train(tiny_spec(tmp_path / "alone"))
    judged = Fitting.evaluate
    monkeypatch.setattr(Fitting, "evaluate", lambda self, *given: judged(self, *given) + 9.0 * len(given))
    both = train(tiny_spec(tmp_path / "both", seeds=2))
    manifest = read_artifact(both).manifest
    assert manifest.network["members"] == 1
    assert manifest.training["average_loss"] > min(manifest.training["seed_losses"])
    if manifest.training["seed_losses"][0] == min(manifest.training["seed_losses"]):
        assert both.name == best.name


def test_the_time_budget_is_kept(tmp_path: Path) -> None:
    """With a clock that runs fast, training stops early and still writes a complete artifact."""
    now = iter(range(10_000))
    path = train(tiny_spec(tmp_path, epochs=50, time_budget_s=40.0), monotonic_s=lambda: float(next(now)))
    training = read_artifact(path).manifest.training
    assert training["stopped_by"] == "time"
    assert training["epochs_run"] <= 5


def test_an_output_that_is_a_file_is_named(tmp_path: Path) -> None:
    """A folder that cannot be made is an ArtifactError with its path."""
    spec = tiny_spec(tmp_path)
    spec.output_dir.write_text("in the way")
    with pytest.raises(ArtifactError, match="artifacts"):
        train(spec)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere.parquet"], "nowhere.parquet: there is no such file"),
        (["--data", __file__], "is neither .parquet nor .csv"),
        (["--data", __file__, "--preset", "huge"], "preset was 'huge'"),
    ],
)
def test_unusable_arguments_are_an_error_of_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line that names it."""
    assert main([*arguments, "--out", str(tmp_path / "artifacts")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.parametrize("option", ["--epochs", "--interval-seconds", "--time-budget-seconds"])
def test_invalid_numbers_are_rejected_before_data_is_read(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Zero epochs are rejected before the missing data file is opened."""
    with pytest.raises(SystemExit) as refused:
        main(["--data", "nowhere.parquet", "--out", "artifacts", option, "0"])
    assert refused.value.code == 2
    assert f"{option}: was 0; write a number above 0" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.slow
def test_the_command_trains_with_nothing_else_imported(tmp_path: Path) -> None:
    """``python -m models.train`` prints JSON lines and the path, and imports no third party beyond the four.

    It is fed klines as they are published, and takes one of their symbols.
    """
    spec = tiny_spec(tmp_path)
    open_time = pl.from_epoch("open_time_us", time_unit="us").alias("open_time")
    bars = pl.read_parquet(spec.data_file).with_columns(open_time, pl.col("symbol").str.replace("-", ""))
    bars.drop("venue", "open_time_us", "complete").write_parquet(spec.data_file)
    code = (
        "import sys; from models.train import main\n"
        f"where = ['--data', {str(spec.data_file)!r}, '--out', {str(spec.output_dir)!r}]\n"
        "code = main([*where, '--epochs', '1', '--symbols', 'BTC-USDT'])\n"
        "foreign = ('msgspec', 'pydantic', 'aiohttp', 'aiomqtt', 'structlog', 'typer', 'websockets', 'pandas')\n"
        "print([name for name in foreign if name in sys.modules]); sys.exit(code)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    *lines, path, foreign = done.stdout.splitlines()
    assert foreign == "[]"
    assert json.loads(lines[-1])["phase"] == "done"
    manifest = read_artifact(Path(path)).manifest
    assert manifest.preset == "small"
    assert manifest.symbols == ("binance:BTC-USDT",)


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_process_resumes(tmp_path: Path) -> None:
    """After ``kill -9`` in its second epoch the same command resumes there and writes the same artifact."""
    spec, run_dir = tiny_spec(tmp_path), tmp_path / "run"
    command = [
        sys.executable, "-m", "models.train", "--data", str(spec.data_file), "--out", str(spec.output_dir),
        "--epochs", "3", "--run-dir", str(run_dir), "--device", "cpu",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        for line in killed.stdout:
            if json.loads(line)["epoch"] == 2:
                killed.kill()
                break
    assert killed.returncode == -signal.SIGKILL
    [checkpoint] = run_dir.iterdir()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    *lines, path = done.stdout.splitlines()
    assert next(epoch for line in lines if (epoch := json.loads(line)["epoch"])) == 2
    assert not checkpoint.exists()
    alone = [*command[:-4], "--device", "cpu"]
    undisturbed = subprocess.run(alone, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert undisturbed.stdout.splitlines()[-1] == path, "another hash of the weights"


@pytest.mark.long
@pytest.mark.slow
def test_small_on_real_bars_is_near_har_after_one_epoch(tmp_path: Path) -> None:
    """Started from HAR's quantiles, one epoch on a year of BTC stays within two percent of HAR's pinball loss."""
    file = HOURLY / "binance_BTCUSDT_1h.parquet"
    if not file.exists():
        pytest.skip(f"the hourly bars are not at {HOURLY}")
    real_bars(file).write_parquet(tmp_path / "bars.parquet")
    spec = tiny_spec(tmp_path, horizons=(1, 6), levels=(0.1, 0.5, 0.9))
    scores = read_artifact(train(spec)).manifest.scores
    for score in scores.values():
        assert score["pinball_vs_har"] < 1.02
        assert score["pinball_vs_random_walk"] < 1.0


def real_bars(file: Path) -> pl.DataFrame:
    hourly = pl.read_parquet(file).tail(9_000)
    return hourly.select(
        pl.lit("binance").alias("venue"),
        pl.lit("BTC-USDT").alias("symbol"),
        pl.col("open_time").dt.epoch("us").alias("open_time_us"),
        "open", "high", "low", "close", "volume", "quote_volume", "trades",
        "taker_buy_volume", "taker_buy_quote_volume",
        pl.lit(value=True).alias("complete"),
    )  # fmt: skip


def test_a_defect_is_one_line_and_its_traceback_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 70; no traceback on the screen."""

    def broken(*_: object, **__: object) -> None:
        raise KeyError("first line\nsecond line")

    monkeypatch.setattr("models.train.train", broken)
    assert main(["--data", "bars.parquet", "--out", str(tmp_path / "out")]) == 70
    error = capsys.readouterr().err
    assert error.startswith("models.train: internal error: KeyError: ")
    assert (error.count("\n"), "Traceback" in error) == (1, False)
    assert str(tmp_path / "out" / "errors.log") in error
    assert "Traceback" in (tmp_path / "out" / "errors.log").read_text()
