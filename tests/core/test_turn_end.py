"""Detectors that judge a turn's end by sound: how they are found, asked, and survived."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offhook.audio.pcm import Samples, to_bytes
from offhook.audio.tone import tone
from offhook.errors import ConfigError
from offhook.model import turn_end
from offhook.model.interface import Speech
from offhook.model.local import smart_turn
from offhook.model.turn_end import HEARD_S, MAX_WAITING, TurnEnds, load_turn_end
from offhook.telemetry.log import FactLog


class Detector:
    name = "mine"

    def __init__(self, rest: str = "", judge: Callable[[Samples], float] = lambda _: 0.25) -> None:
        self.rest = rest
        self.judge = judge

    def probability(self, samples: Samples, rate_hz: int) -> float:
        assert rate_hz == 8000
        return self.judge(samples)


def judge(detector: Detector, seconds: float = 1.0) -> float | None:
    ends = TurnEnds(detector, FactLog("test"))
    try:
        return asyncio.run(ends.judge(Speech(bytes(int(seconds * 16000)), 8000)))
    finally:
        ends.close()


def test_a_detector_hears_the_last_seconds_of_a_turn() -> None:
    lengths: list[int] = []

    def listen(samples: Samples) -> float:
        lengths.append(len(samples))
        return 0.25

    assert judge(Detector(judge=listen), 30.0) == 0.25
    assert judge(Detector(judge=listen), 1.0) == 0.25
    assert lengths == [int(HEARD_S * 8000), 8000]


@pytest.mark.parametrize(("said", "taken"), [(1.7, 1.0), (-3.0, 0.0)])
def test_what_a_detector_says_is_a_probability(said: float, taken: float) -> None:
    assert judge(Detector(judge=lambda _: said)) == taken


def test_a_detector_that_breaks_leaves_the_decision_to_the_words() -> None:
    def fail(_: Samples) -> float:
        raise RuntimeError("out of tune")

    assert judge(Detector(judge=fail)) is None


@pytest.mark.real_time
def test_a_detector_that_is_too_slow_is_not_asked_more_and_more() -> None:
    go_on = threading.Event()

    def wait(_: Samples) -> float:
        go_on.wait(20)
        return 0.5

    async def test() -> None:
        ends = TurnEnds(Detector(judge=wait), FactLog("test"))
        try:
            asked = [asyncio.ensure_future(ends.judge(Speech(bytes(160), 8000))) for _ in range(MAX_WAITING)]
            await asyncio.sleep(0)
            assert await ends.judge(Speech(bytes(160), 8000)) is None
            assert ends.skipped == 1
            go_on.set()
            assert await asyncio.gather(*asked) == [0.5] * MAX_WAITING
        finally:
            go_on.set()
            ends.close()

    asyncio.run(test())


def test_a_detector_of_an_installed_package_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("mine", f"{__name__}:Detector", turn_end.GROUP),
        EntryPoint("broken", f"{__name__}:nothing", turn_end.GROUP),
    ]
    monkeypatch.setattr(turn_end, "entry_points", lambda group: [each for each in entries if each.group == group])
    plain: Any = load_turn_end("mine")
    given: Any = load_turn_end("mine:/models/it:v2.onnx")
    assert (plain.rest, given.rest) == ("", "/models/it:v2.onnx")
    with pytest.raises(ConfigError, match="'broken' cannot be loaded"):
        load_turn_end("broken")
    with pytest.raises(ConfigError, match="there is no 'other'") as caught:
        load_turn_end("other")
    assert "mine, smart-turn" in str(caught.value)


def test_smart_turn_hears_the_end_of_the_turn_with_silence_before_it() -> None:
    picture = smart_turn.features(tone(3, 1000), 8000)
    assert picture.shape == (80, 800)
    assert picture[:, 710:790].max() > picture[:, :690].max() + 0.5
    louder = smart_turn.features((tone(3, 1000) // 4).astype(np.int16), 8000)
    assert np.abs(louder - picture)[:, 710:790].mean() < 0.02, "loudness is no sign of anything"


def test_smart_turn_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"smart-turn is not installed.*pipecat-ai"):
        smart_turn._installed()
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match="cannot read"):
        load_turn_end(f"smart-turn:{tmp_path}/none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_turn_end(f"smart-turn:{tmp_path}/broken.onnx")


def test_smart_turn_answers_with_a_probability() -> None:
    pytest.importorskip("onnxruntime")
    try:
        detector = load_turn_end("smart-turn")
    except ConfigError:
        pytest.skip("smart-turn is not installed: pip install --no-deps pipecat-ai")
    sound = to_bytes(tone(3, 2000))
    found = judge(Detector(judge=lambda samples: detector.probability(samples, 8000)), len(sound) / 16000)
    assert found is not None
    assert 0 < found < 1
