"""``forecastd demo`` as a new user starts it, only faster."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Process, process
from tests.e2e.rig import valid
from tests.limits import LIMIT_S

pytestmark = pytest.mark.slow

HOURS = 2
SYMBOLS = {"BTC-USDT", "ETH-USDT", "SOL-USDT"}
# An hour in six seconds: two hours are over before the model is trained, and a bar has half a second for its proof.
ARGUMENTS = ("demo", "--headless", "--json", "--speed", "600", "--http-port", "0", "--mqtt-port", "0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A demo that ended by itself."""
    folder = tmp_path_factory.mktemp("finished")
    with process(folder, *ARGUMENTS, "--hours", str(HOURS), environ={"TMPDIR": str(folder)}) as demo:
        demo.until(lambda: "forecastd.forecast.v1" in demo.out)
        assert demo.popen.wait(LIMIT_S) == 0, demo.log[-3000:]
        yield demo


def test_every_line_is_a_published_payload(finished: Process) -> None:
    """Standard output holds what was published and nothing else, a forecast for each symbol and hour among it."""
    documents = [valid(line.encode()) for line in finished.out.splitlines()]
    kinds = {each["schema"] for each in documents}
    assert {"forecastd.status.v1", "forecastd.bar.v1", "forecastd.forecast.v1"} <= kinds
    forecasts = [each for each in documents if each["schema"] == "forecastd.forecast.v1"]
    assert all(each["data_quality"]["completeness"] == "proven" for each in forecasts)
    hours = {symbol: [each["bar_close"] for each in forecasts if each["symbol"] == symbol] for symbol in SYMBOLS}
    for closes in hours.values():
        assert len(closes) == len(set(closes)) >= HOURS


def test_the_summary_says_that_every_bar_is_real(finished: Process) -> None:
    """Every live bar was proven and equal to the sample's; the addresses were printed at the start."""
    summary = re.search(r"live bars: (\d+) proven; equal to the real ones: (\d+), different: 0", finished.log)
    assert summary is not None, finished.log[-3000:]
    assert summary[1] == summary[2]
    assert int(summary[1]) >= HOURS * len(SYMBOLS)
    started = finished.events("demo_started")[0]
    assert started["http"].startswith("http://127.0.0.1:")
    assert started["mqtt"].rpartition(":")[2] in started["subscribe"]


def test_it_leaves_no_folder_behind(finished: Process) -> None:
    """What the demo wrote to a temporary folder is gone with it."""
    assert not Path(finished.events("demo_started")[0]["state_dir"]).exists()


def test_ctrl_c_ends_it_soon(tmp_path: Path) -> None:
    """An interrupt while the model trains: exit code 0, the summary, and no training process left behind."""
    with process(tmp_path, *ARGUMENTS, environ={"TMPDIR": str(tmp_path)}) as demo:
        demo.until(lambda: "training:" in demo.log)
        assert demo.end(signal.SIGINT) == 0
        assert "live bars:" in demo.log
        assert "Traceback" not in demo.log
        orphans = [path for path in Path("/proc").glob("[0-9]*/environ") if _mentions(path, str(tmp_path))]
        assert orphans == []


def test_more_hours_than_the_sample_holds_are_refused(tmp_path: Path) -> None:
    """A demo that could never end by itself says so at once, with the limit."""
    with process(tmp_path, *ARGUMENTS, "--hours", "100000") as demo:
        assert demo.popen.wait(LIMIT_S) == 2
        assert "1440" in demo.log


def _mentions(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False  # the process has ended meanwhile
