"""Every order of what can happen in a call, at small bounds, keeps the promises of `tests.promises`.

The number of states is asserted, so that a walk that has become blind is noticed. ``WALK_DEPTH=5`` looks further.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from tests.sim.turn_walk import Call, walk

from offhook.session.options import EngineOptions
from offhook.session.socket import SocketDoor
from offhook.wire.session import SemanticVad, ServerVad, TurnDetection

TURN = ("voice starts", "voice pauses", "voice stops")
ANSWER = ("create", "model speaks 1", "model ends 1", "playout starts 1", "playout ends 1")

# turn detection, needs_transcripts, hears_early, what has happened before, steps, the states that are seen at least
WALKS: dict[str, tuple[TurnDetection | None, bool, bool, tuple[str, ...], int, int]] = {
    "a new call": (ServerVad(), False, False, (), 3, 280),
    "semantic turns": (SemanticVad(), False, True, (), 3, 280),
    "manual turns, by a model that reads": (None, True, False, (), 3, 220),
    "an answer that plays": (ServerVad(), False, False, (*TURN, "model speaks 1", "playout starts 1"), 2, 140),
    "a caller who may be interrupting": (
        SemanticVad(), True, True, ("create", "model speaks 1", "playout starts 1", "voice starts"), 2, 150,
    ),
    "a function that was called": (ServerVad(), True, False, ("create", "model calls 1", "model ends 1"), 3, 450),
    "a turn whose words are not known": (ServerVad(), True, False, TURN, 3, 340),
    "a caller who says nothing": (ServerVad(idle_timeout_ms=5000), True, False, ANSWER, 2, 85),
}  # fmt: skip
ON_SOCKET = {
    "a socket": ((), 3, 280),
    "a socket with an answer": ((*TURN, "model speaks 1"), 2, 120),
}
DEPTH = os.environ.get("WALK_DEPTH")


@pytest.mark.parametrize("name", WALKS)
def test_every_order_keeps_the_promises(name: str, record_property: Callable[[str, object], None]) -> None:
    detection, needs_transcripts, hears_early, opening, depth, least = WALKS[name]
    options = EngineOptions(needs_transcripts=needs_transcripts, hears_early=hears_early)
    seen = walk(lambda: Call(options, detection), opening, int(DEPTH) if DEPTH else depth)
    record_property("seen", f"{name}: {seen.states} states by {seen.steps} steps")
    assert seen.states >= least, "the walk has become blind"


@pytest.mark.parametrize("name", ON_SOCKET)
def test_every_order_keeps_the_promises_on_a_socket(name: str, record_property: Callable[[str, object], None]) -> None:
    opening, depth, least = ON_SOCKET[name]
    options = EngineOptions(needs_transcripts=False)
    seen = walk(lambda: Call(options, ServerVad(), SocketDoor), opening, int(DEPTH) if DEPTH else depth)
    record_property("seen", f"{name}: {seen.states} states by {seen.steps} steps")
    assert seen.states >= least, "the walk has become blind"
