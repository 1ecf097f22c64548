"""The demonstration finds its way around what runs on the machine already."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from offhook.audio.wav import write_wav

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.real_time
@pytest.mark.parametrize("taken", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_demo_takes_another_sip_port_when_either_transport_is_taken(
    demo: ModuleType, taken: socket.SocketKind
) -> None:
    """Only UDP was tried: with a TCP server on 5060 the demonstration did not start."""
    with socket.socket(socket.AF_INET, taken) as there:
        there.bind(("127.0.0.1", 0))
        if taken is socket.SOCK_STREAM:
            there.listen()
        usual = there.getsockname()[1]
        port = demo.free_port(usual, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        assert port not in {0, usual}
    assert demo.free_port(port, socket.SOCK_DGRAM, socket.SOCK_STREAM) == port


def test_a_caller_without_recorded_speech_still_says_as_much_and_interrupts(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "VOICES", tmp_path)
    lines = demo.caller_lines(talks=False)
    assert [line.interrupts_after_s for line in lines] == [part.interrupts_after_s for part in demo.PARTS]
    assert all(line.seconds >= 1 for line in lines)


def test_recorded_words_are_said_with_a_breath_between_them(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "VOICES", tmp_path)
    for file in {file for part in demo.PARTS for file in part.files}:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(write_wav(np.ones(8000, np.int16), 8000))
    assert [line.seconds for line in demo.caller_lines(talks=True)] == [1.0, 2.1, 2.1]


@pytest.mark.parametrize(
    ("said", "good"),
    [
        (
            ("the agent asks opening_hours({...}): On Tuesday ...", "the agent says: On Tuesday the clinic is open."),
            True,
        ),
        (
            ("the agent asks opening_hours({...}): On Friday ...", "the agent says: On Friday the clinic is open."),
            False,
        ),
        (("the agent asks opening_hours({...}): On Tuesday ...", "the agent says: I heard you say: Hours"), False),
        ((), False),
    ],
)
def test_the_exit_status_is_that_of_the_conversation(demo: ModuleType, said: tuple[str, ...], good: bool) -> None:
    assert demo.understood(SimpleNamespace(said=list(said))) is good


@pytest.mark.parametrize(
    ("failure", "turns", "barge_ins", "told"),
    [
        (None, 3, 1, []),
        (None, 4, 2, []),
        (None, 2, 1, ["The caller spoke 3 times and was answered 2 times."]),
        (None, 3, 0, ["The caller broke in, and the recording does not show that the agent spoke then."]),
        ("busy", 0, 0, ["The call failed: busy"]),
    ],
)
def test_the_demo_says_what_did_not_go_as_it_should(
    demo: ModuleType, failure: str | None, turns: int, barge_ins: int, told: list[str]
) -> None:
    figures = {"turn_ms": [600] * turns, "barge_in_ms": [90] * barge_ins}
    assert demo.complaints(figures, spoken=3, failure=failure) == told
