"""``forecastd run`` beside ``forecastd simulate``: two processes, bars of five seconds, and a real broker."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.daemon.publishing.brokers import Mosquitto
from tests.e2e import truth
from tests.e2e.listening import Listener, listener
from tests.e2e.processes import TOPICS, Process, ServiceManager, configuration, process, simulator

pytestmark = pytest.mark.slow

ROUNDS = 2
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


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
                daemon.until(lambda: len(received.of("forecast")) >= ROUNDS * len(SYMBOLS))
                yield running
    finally:
        manager.close()
        broker.kill()


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
    """Each live bar of each symbol is proven as it closes, and equals what the exchange's trades add up to."""
    bars = live_bars(scene)
    assert {bar["symbol"] for bar in bars} == set(SYMBOLS)
    for bar in bars:
        assert (bar["completeness"], bar["revision"], bar["missing_trades"]) == ("proven", 0, 0)
        truth.assert_real(bar, scene.rest_url)
    assert {bar["audit"] for bar in scene.received.documents("bar")} <= {"pending", "equal"}


def test_every_bar_is_forecast_once(scene: Scene) -> None:
    """Forecast and bar messages match one to one, and each forecast starts from its bar's close."""
    closes = {(bar["symbol"], bar["close_time"]): bar["close"] for bar in live_bars(scene)}
    forecasts = [(each["symbol"], each["bar_close"]) for each in scene.received.documents("forecast")]
    assert len(forecasts) == len(set(forecasts))
    live = [each for each in scene.received.documents("forecast") if (each["symbol"], each["bar_close"]) in closes]
    assert len(live) >= len(SYMBOLS)
    for each in live:
        assert each["reference_price"] == closes[each["symbol"], each["bar_close"]]
        assert (each["source"], each["model"]["kind"]) == ("model", "random_walk")
        # the wait for proof ends half a second after the boundary, and the rest takes little
        assert each["latency_ms"]["bar_close_to_publish"] < 3000


def test_without_a_network_torch_is_not_loaded(scene: Scene) -> None:
    """A daemon of kind random_walk maps no library of torch and stays small."""
    maps = Path(f"/proc/{scene.daemon.popen.pid}/maps").read_text("utf-8")
    assert "polars" in maps
    assert "libtorch" not in maps


def test_systemd_is_notified(scene: Scene) -> None:
    """READY comes once, with a status; the watchdog is fed from then on."""
    scene.daemon.until(lambda: scene.manager.lines.count("WATCHDOG=1") >= 3)
    lines = scene.manager.lines
    assert lines.count("READY=1") == 1
    assert "STATUS=online" in lines


def test_the_page_and_the_socket_answer(scene: Scene) -> None:
    """``/readyz`` says yes, ``/metrics`` counts the bars, ``forecastd status`` shows every symbol."""
    (started,) = scene.daemon.events("started")
    address = started["http"].removeprefix("http://").rstrip("/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert opener.open(f"http://{address}/readyz", timeout=5).status == 200
    metrics = opener.open(f"http://{address}/metrics", timeout=5).read().decode()
    assert 'forecastd_bars_total{completeness="proven",symbol="BTC-USDT",venue="binance"}' in metrics
    with process(scene.folder, "status", "--json", "-c", str(scene.config_file)) as status:
        assert status.popen.wait(15) == 0
        document = json.loads(status.out)
    assert document["state"] == "online"
    assert [each["symbol"] for each in document["symbols"]] == list(SYMBOLS)
    assert document["mqtt"]["connected"] is True


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
    assert scene.manager.lines.count("RELOADING=1") == 2
    assert scene.manager.lines.count("READY=1") == 3
    scene.config_file.write_text(good, encoding="utf-8")
    assert scene.daemon.popen.poll() is None


def test_a_retraining_is_ordered_over_the_socket(scene: Scene) -> None:
    """``forecastd retrain --now --json`` follows the run in the daemon to its outcome."""
    with process(scene.folder, "retrain", "--now", "--json", "-c", str(scene.config_file)) as retrain:
        assert retrain.popen.wait(20) == 0
        replies = [json.loads(line) for line in retrain.out.splitlines()]
    assert replies[0] == {"started": True}
    assert replies[-1]["outcome"] == "promoted"
    events = [each["kind"] for each in scene.received.documents("event")]
    assert events[-2:] == ["retrain_started", "retrain_finished"]


def test_sigterm_ends_it_in_order(scene: Scene) -> None:
    """Within 3 s: exit code 0, the retained status says stopped, and nothing was logged as an error."""
    births = [each["state"] for each in scene.received.documents("status")]
    assert births[0] == "starting"
    assert births[-1] == "online"
    assert scene.daemon.end(signal.SIGTERM, within_s=3.0) == 0
    time.sleep(0.2)
    assert scene.received.documents("status")[-1]["state"] == "stopped"
    assert "STOPPING=1" in scene.manager.lines
    assert [e for e in scene.daemon.log.splitlines() if '"level":"error"' in e and "not_reloaded" not in e] == []
    assert "Traceback" not in scene.daemon.log
    with listener(int(scene.config_file.read_text("utf-8").split("mqtt://127.0.0.1:")[1].split('"')[0])) as late:
        time.sleep(0.3)
        kept = {message.topic for message in late.messages if message.retained}
    assert f"{TOPICS}/status" in kept
    assert {f"{TOPICS}/forecast/binance/{symbol}/5s" for symbol in SYMBOLS} <= kept
