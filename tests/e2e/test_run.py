"""``forecastd run`` beside ``forecastd simulate``: two processes, bars of five seconds, and a real broker."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.daemon.publishing.brokers import Mosquitto
from tests.e2e import truth
from tests.e2e.processes import TOPICS, Process, ServiceManager, configuration, process, simulator
from tests.e2e.subscriber import Listener, listener
from tests.limits import LIMIT_S

pytestmark = pytest.mark.slow

ROUNDS = 2
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


# A broken file is refused with an error, and a store or model that is late on a slow machine is one.
EXPECTED_ERRORS = ("configuration_not_reloaded", '"reason":"waiting"', "did not answer within")


class Scene(NamedTuple):
    """Everything that runs."""

    daemon: Process
    received: Listener
    rest_url: str
    config_file: Path
    manager: ServiceManager
    folder: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A daemon that has published ROUNDS live bars of each symbol, and forecasts."""
    folder = tmp_path_factory.mktemp("run")
    broker = Mosquitto(folder).start()
    manager = ServiceManager(folder / "notify")
    environ = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"}
    try:
        with simulator(folder, interval="5s") as exchange, listener(broker.port) as received:
            at = {"ws_url": exchange["ws_url"], "rest_url": exchange["rest_url"]}
            file = configuration(folder, interval="5s", symbols=SYMBOLS, mqtt_url=broker.url, **at)
            with process(folder, "run", "-c", str(file), environ=environ) as daemon:
                running = Scene(daemon, received, exchange["rest_url"], file, manager, folder)
                daemon.until(lambda: len(live_bars(running)) >= ROUNDS * len(SYMBOLS))
                daemon.until(lambda: len(live_forecasts(running)) >= ROUNDS * len(SYMBOLS))
                yield running
    finally:
        manager.close()
        broker.kill()


def soon(condition: Callable[[], bool]) -> None:
    """Waits for a condition; the daemon may have ended."""
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def live_bars(scene: Scene) -> list[dict[str, Any]]:
    """The first message of every bar that opened after the start: while history is fetched a bar may lack its proof.

    The simulated exchange makes the candles of history from trades, and answers other requests after them.
    """
    fetched = scene.daemon.events("history_fetched")
    if len(fetched) < len(SYMBOLS):
        return []
    started = max(fetched, key=lambda event: str(event["timestamp"]))
    first = {(bar["symbol"], bar["open_time"]): bar for bar in reversed(scene.received.documents("bar"))}
    return [bar for bar in first.values() if bar["open_time"] >= started["timestamp"][:19]]


def live_forecasts(scene: Scene) -> list[dict[str, Any]]:
    """The forecasts that were made for live bars."""
    closes = {(bar["symbol"], bar["close_time"]) for bar in live_bars(scene)}
    return [each for each in scene.received.documents("forecast") if (each["symbol"], each["bar_close"]) in closes]


def test_every_message_obeys_its_schema(scene: Scene) -> None:
    """All that was published is valid under the schema that it names, in its payload and in its properties."""
    for kind in ("status", "bar", "forecast", "symbol"):
        assert scene.received.documents(kind), kind
    for message in scene.received.messages:
        properties = dict(message.properties["UserProperty"])
        assert properties["schema"] == json.loads(message.payload)["schema"]
        assert message.properties["ContentType"] == "application/json"
        assert message.properties["PayloadFormatIndicator"] == 1


def test_every_bar_is_proven_and_real(scene: Scene) -> None:
    """Each live bar is proven and equals what the exchange's trades add up to, most of them as they close.

    Where this machine stalls for longer than the wait for proof, half a second, the proof comes in a revision.
    """
    closed = live_bars(scene)
    keys = {(bar["symbol"], bar["open_time"]) for bar in closed}

    def newest() -> list[dict[str, Any]]:
        """The last revision of each."""
        last = {(bar["symbol"], bar["open_time"]): bar for bar in scene.received.documents("bar")}
        return [last[key] for key in keys]

    scene.daemon.until(lambda: all(bar["completeness"] == "proven" for bar in newest()))
    assert {bar["symbol"] for bar in closed} == set(SYMBOLS)
    assert any((bar["completeness"], bar["revision"]) == ("proven", 0) for bar in closed)
    for bar in newest():
        assert bar["missing_trades"] == 0
        truth.assert_real(bar, scene.rest_url)
    assert {bar["audit"] for bar in scene.received.documents("bar")} <= {"pending", "equal"}


def test_every_bar_is_forecast_once(scene: Scene) -> None:
    """Forecast and bar messages match one to one, and each forecast starts from its bar's close."""
    live = live_forecasts(scene)
    closes = {(bar["symbol"], bar["close_time"]): bar["close"] for bar in live_bars(scene)}
    forecasts = [(each["symbol"], each["bar_close"]) for each in scene.received.documents("forecast")]
    assert len(forecasts) == len(set(forecasts))
    for each in live:
        assert each["reference_price"] == closes[each["symbol"], each["bar_close"]]
        assert (each["source"], each["model"]["kind"]) == ("model", "random_walk")
    # The wait for proof ends half a second after the boundary, and the rest takes little where the machine runs.
    assert min(each["latency_ms"]["bar_close_to_publish"] for each in live) < 3000


def test_without_a_network_torch_is_not_loaded(scene: Scene) -> None:
    """A daemon of kind random_walk maps no library of torch and stays small."""
    maps = Path(f"/proc/{scene.daemon.popen.pid}/maps").read_text("utf-8")
    assert "polars" in maps
    assert "libtorch" not in maps


def test_systemd_is_notified(scene: Scene) -> None:
    """READY comes once, with a status; the watchdog is fed from then on."""
    lines = scene.manager.lines
    scene.daemon.until(lambda: lines.count("WATCHDOG=1") >= 3)
    scene.daemon.until(lambda: "STATUS=online" in lines)
    assert lines.count("READY=1") == 1


def test_the_page_and_the_socket_answer(scene: Scene) -> None:
    """``/readyz`` says yes, ``/metrics`` counts the bars, ``forecastd status`` shows every symbol."""
    (started,) = scene.daemon.events("started")
    address = started["http"].removeprefix("http://").rstrip("/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    scene.daemon.until(lambda: answers(opener, f"http://{address}/readyz"))
    metrics = opener.open(f"http://{address}/metrics", timeout=LIMIT_S).read().decode()
    assert 'forecastd_bars_total{completeness="proven",symbol="BTC-USDT",venue="binance"}' in metrics
    with process(scene.folder, "status", "--json", "-c", str(scene.config_file)) as status:
        assert status.popen.wait(LIMIT_S) == 0
        document = json.loads(status.out)
    assert document["state"] in {"online", "degraded"}
    assert [each["symbol"] for each in document["symbols"]] == list(SYMBOLS)
    assert document["mqtt"]["connected"] is True


def answers(opener: urllib.request.OpenerDirector, url: str) -> bool:
    """Whether the status is 200; a daemon that is behind is not ready for a moment."""
    try:
        return bool(opener.open(url, timeout=LIMIT_S).status == 200)
    except urllib.error.HTTPError:
        return False


def test_a_reload_applies_what_it_can_and_names_the_rest(scene: Scene) -> None:
    """SIGHUP: the level and the grace change, feeds are refused by name, a broken file changes nothing."""
    good = scene.config_file.read_text("utf-8")
    changed = good.replace("grace_s = 1.0", "grace_s = 0.2").replace('level = "info"', 'level = "debug"')
    changed = changed.replace(', "SOL-USDT"]', "]")
    scene.config_file.write_text(changed, encoding="utf-8")
    scene.daemon.send(signal.SIGHUP)
    scene.daemon.until(lambda: len(scene.daemon.events("configuration_reloaded")) == 1)
    (reloaded,) = scene.daemon.events("configuration_reloaded")
    assert set(reloaded["applied"]) == {"log.level", "bars.grace_s"}
    assert reloaded["refused"] == ["feeds"]

    scene.config_file.write_text(good + '\n[bars]\ninterval = "7s"\n[colour]\n', encoding="utf-8")
    scene.daemon.send(signal.SIGHUP)
    scene.daemon.until(lambda: len(scene.daemon.events("configuration_not_reloaded")) == 1)
    scene.daemon.until(lambda: scene.manager.lines.count("READY=1") == 3)
    assert scene.manager.lines.count("RELOADING=1") == 2
    scene.config_file.write_text(good, encoding="utf-8")
    assert scene.daemon.popen.poll() is None


def test_a_retraining_is_ordered_over_the_socket(scene: Scene) -> None:
    """``forecastd retrain --now --json`` follows the run in the daemon to its outcome."""
    with process(scene.folder, "retrain", "--now", "--json", "-c", str(scene.config_file)) as retrain:
        assert retrain.popen.wait(LIMIT_S) == 0
        replies = [json.loads(line) for line in retrain.out.splitlines()]
    assert replies[0] == {"started": True}
    assert replies[-1]["outcome"] == "promoted"
    kinds = ["retrain_started", "retrain_finished"]

    def events() -> list[str]:
        return [each["kind"] for each in scene.received.documents("event") if each["kind"] in kinds]

    scene.daemon.until(lambda: events()[-2:] == kinds)


def test_sigterm_ends_it_in_order(scene: Scene) -> None:
    """Soon: exit code 0, the retained status says stopped, and nothing was logged as an error."""
    births = [each["state"] for each in scene.received.documents("status")]
    assert births[0] == "starting"
    assert "online" in births
    assert scene.daemon.end(signal.SIGTERM) == 0
    soon(lambda: scene.received.documents("status")[-1]["state"] == "stopped")
    soon(lambda: "STOPPING=1" in scene.manager.lines)
    errors = [line for line in scene.daemon.log.splitlines() if '"level":"error"' in line]
    assert [line for line in errors if not any(word in line for word in EXPECTED_ERRORS)] == []
    assert "Traceback" not in scene.daemon.log
    with listener(int(scene.config_file.read_text("utf-8").split("mqtt://127.0.0.1:")[1].split('"')[0])) as late:
        wanted = {f"{TOPICS}/status"} | {f"{TOPICS}/forecast/binance/{symbol}/5s" for symbol in SYMBOLS}
        soon(lambda: wanted <= {message.topic for message in late.messages if message.retained})
