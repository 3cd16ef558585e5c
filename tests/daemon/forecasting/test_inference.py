"""Tests of inference under asyncio: the deadline holds whatever the network does."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.forecasting.inference import DeviceHung, Inference
from daemon.forecasting.rounds import Champion, RoundForecasts
from models.artifacts.artifact import ArtifactDamaged
from tests.daemon.forecasting.engine_builders import (
    NOW_US,
    FailingChampion,
    HangingChampion,
    NanChampion,
    bars_closing_at,
    history,
    make_engine,
)
from tests.limits import LIMIT_S, SLACK_S
from tests.models.synthetic import HOUR_US


@pytest.fixture
async def inference(tiny_artifact: Path) -> AsyncIterator[Inference]:
    edge = Inference(make_engine())
    await edge.load_history(history())
    await edge.load_champion(tiny_artifact)
    yield edge
    await edge.close()


async def next_round(edge: Inference, hour: int, deadline_s: float = 10.0) -> RoundForecasts:
    close_us = NOW_US + hour * HOUR_US
    return await edge.round(close_us, bars_closing_at(close_us), deadline_s)


def replace_champion(edge: Inference, kind: Callable[..., Any], *arguments: object) -> Any:
    champion = kind(edge._engine._champion, *arguments)
    edge._engine.serve(champion)
    return champion


async def test_a_round_is_answered_by_the_model(inference: Inference) -> None:
    """All instruments of a round come back as the model's, with the time that each stage took."""
    made = await next_round(inference, 1)
    assert [each.source for each in made.forecasts] == ["model", "model"]
    assert made.failure is None
    assert inference.model == made.forecasts[0].issued.model


async def test_an_exception_in_the_network_gives_baselines(inference: Inference) -> None:
    """The failure is reported with its reason, and the next round calls the network again."""
    champion = replace_champion(inference, FailingChampion, RuntimeError("CUDA error"))
    made = await next_round(inference, 1)
    assert {each.source for each in made.forecasts} == {"baseline"}
    assert made.failure == "RuntimeError: CUDA error"
    inference._engine.serve(champion.real)
    assert (await next_round(inference, 2)).failure is None


async def test_nan_from_the_network_gives_baselines(inference: Inference) -> None:
    """A forecast that is not finite is never issued; the baseline's is."""
    replace_champion(inference, NanChampion)
    made = await next_round(inference, 1)
    assert {each.issued.model.kind for each in made.forecasts} == {"har"}
    assert "not finite" in made.failure


async def test_baselines_replace_a_hung_network_within_the_deadline(inference: Inference) -> None:
    """Past the deadline baselines are issued; the thread gets no work until it returns; then the model is used."""
    champion = replace_champion(inference, HangingChampion)
    started_s = time.monotonic()
    made = await next_round(inference, 1, deadline_s=0.2)
    assert time.monotonic() - started_s < 3.0 + SLACK_S
    assert {each.source for each in made.forecasts} == {"baseline"}
    assert "within 0.2 s" in made.failure
    assert inference.hung

    made = await next_round(inference, 2)
    assert "has not returned" in made.failure
    assert champion.asked == 1
    with pytest.raises(DeviceHung):
        await inference.load_champion(Path("anywhere"))

    champion.released.set()
    async with asyncio.timeout(LIMIT_S):
        while inference.hung:  # it ends when a thread returns
            await asyncio.sleep(0.01)
    made = await next_round(inference, 3)
    assert {each.source for each in made.forecasts} == {"model"}
    assert made.close_time_us == NOW_US + 3 * HOUR_US


async def test_a_bad_artifact_leaves_the_champion_in_place(inference: Inference, tmp_path: Path) -> None:
    """A refused artifact raises in the caller, and the rounds continue with the previous champion."""
    with pytest.raises(ArtifactDamaged):
        await inference.load_champion(tmp_path)
    assert (await next_round(inference, 1)).forecasts[0].source == "model"


async def test_a_round_and_a_swap_at_the_same_time_both_succeed(inference: Inference, tiny_artifact: Path) -> None:
    """A round during the loading of an artifact uses the champion served at that time."""
    made, info = await asyncio.gather(next_round(inference, 1), inference.load_champion(tiny_artifact))
    assert {each.source for each in made.forecasts} == {"model"}
    assert info == made.forecasts[0].issued.model


async def test_a_load_that_hangs_is_given_up_and_the_rounds_go_on(inference: Inference, tiny_artifact: Path) -> None:
    """A hung driver while loading neither delays a round nor replaces the champion; a later load is refused at once."""
    released, started = threading.Event(), threading.Event()
    engine = inference._engine
    load = engine.load_champion

    def hang(path: Path, *, device: str) -> Champion:
        started.set()
        released.wait(LIMIT_S)
        return load(path, device=device)

    engine.load_champion = hang  # type: ignore[method-assign, assignment]  # a driver that hangs
    loading = asyncio.create_task(inference.load_champion(tiny_artifact, deadline_s=0.5))
    while not started.is_set():
        await asyncio.sleep(0.01)
    made = await next_round(inference, 1)
    assert {each.source for each in made.forecasts} == {"model"}
    assert not loading.done()
    activity = inference.activities["loader"]
    assert activity is not None
    assert activity.name == f"loading {tiny_artifact.name}"
    with pytest.raises(DeviceHung, match=r"not loaded within 0\.5 s"):
        await loading
    with pytest.raises(DeviceHung, match="has not returned"):
        await inference.load_champion(tiny_artifact)
    assert (await next_round(inference, 2)).failure is None
    released.set()
    async with asyncio.timeout(LIMIT_S):
        while inference.activities["loader"] is not None:
            await asyncio.sleep(0.01)
    engine.load_champion = load  # type: ignore[method-assign]
    await inference.load_champion(tiny_artifact)


async def test_each_thread_names_its_job_and_since_when(inference: Inference) -> None:
    """A hung feature thread is seen by the age of its job; an idle thread has none."""
    assert set(inference.activities.values()) == {None}
    released = threading.Event()
    prepare = inference._engine.prepare
    inference._engine.prepare = lambda *given: (released.wait(LIMIT_S), prepare(*given))[1]  # type: ignore[method-assign]
    before_s = time.monotonic()
    asking = asyncio.create_task(next_round(inference, 1))
    async with asyncio.timeout(LIMIT_S):
        while (activity := inference.activities["features"]) is None:
            await asyncio.sleep(0.01)
    assert activity.name == "a round"
    assert before_s <= activity.since_s <= time.monotonic()
    released.set()
    await asking
    assert inference.activities["features"] is None


async def test_bars_that_do_not_fit_raise_and_change_nothing(inference: Inference) -> None:
    """Bars of different closes are refused; the next round is unaffected."""
    mixed = [bars_closing_at(NOW_US + HOUR_US)[0], bars_closing_at(NOW_US + 2 * HOUR_US)[1]]
    with pytest.raises(ValueError, match="close at the same time"):
        await inference.round(NOW_US + HOUR_US, mixed)
    assert (await next_round(inference, 1)).failure is None


async def test_the_event_loop_stays_responsive_during_a_round(inference: Inference) -> None:
    """Features and network run outside the event loop's thread."""
    threads: set[str] = set()
    engine = inference._engine
    prepare, predict = engine.prepare, engine.predict

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            threads.add(threading.current_thread().name)
            return call(*given)

        return noted

    engine.prepare, engine.predict = noting(prepare), noting(predict)  # type: ignore[method-assign]
    await next_round(inference, 1)
    assert threads == {"forecasting-features", "forecasting-device"}


async def test_close_does_not_wait_for_a_hung_thread(tiny_artifact: Path) -> None:
    """Shutdown abandons a hung thread after its timeout."""
    edge = Inference(make_engine())
    await edge.load_history(history())
    await edge.load_champion(tiny_artifact)
    champion = replace_champion(edge, HangingChampion)
    await next_round(edge, 1, deadline_s=0.05)
    started_s = time.monotonic()
    await edge.close(timeout_s=0.2)
    assert time.monotonic() - started_s < 2.0 + SLACK_S
    champion.released.set()


@pytest.mark.long
@pytest.mark.slow
async def test_a_busy_process_beside_it_does_not_stall_inference(inference: Inference) -> None:
    """Beside processes that keep every core busy, the median forward pass stays within ten times its idle time."""
    idle_ms = await median_inference_ms(inference, range(1, 12))
    burner = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: sum(range(1000))"
    busy = [subprocess.Popen([sys.executable, "-c", burner]) for _ in range(2)]
    try:
        busy_ms = await median_inference_ms(inference, range(12, 23))
    finally:
        for process in busy:
            process.kill()
            process.wait(LIMIT_S)
    assert busy_ms < max(10 * idle_ms, 50.0), f"{busy_ms:.1f} ms busy, {idle_ms:.1f} ms idle"


async def median_inference_ms(edge: Inference, hours: range) -> float:
    times: list[float] = sorted([(await next_round(edge, hour)).inference_ms for hour in hours])
    return times[len(times) // 2]
