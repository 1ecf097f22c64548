"""Detectors that judge by sound whether a caller has finished, beside the words (``semantic_vad``).

A detector is found by its name among the installed packages (entry points of the group ``offhook.turns``), each a
function that is called with what stands behind the colon of the setting (``smart-turn:/models/smart-turn.onnx``), if
anything does, and returns a `TurnEndDetector`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from offhook.audio.pcm import Samples, from_bytes
from offhook.errors import ConfigError
from offhook.model.interface import Speech
from offhook.telemetry.log import FactLog

GROUP: Final = "offhook.turns"

HEARD_S: Final = 8.0
"""How much of a turn is judged: its end."""

_OURS: Final = {"smart-turn": "offhook.model.local.smart_turn:smart_turn"}

MAX_WAITING: Final = 4
"""Turns that may wait for the detector's thread. A judgement that comes after the words is worth nothing."""


class TurnEndDetector(Protocol):
    """Judges whether a turn sounds finished. It is called in a thread of its own, one turn at a time."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        ...

    def probability(self, samples: Samples, rate_hz: int) -> float:
        """Return how probable it is that the turn is over, from 0 to 1.

        ``samples`` are the last `HEARD_S` of the turn at most: 16-bit, mono, 8 kHz, with the silence that follows it so
        far at their end.
        """
        ...


class TurnEnds:
    """Asks a detector without holding up the event loop; ``skipped`` counts turns that nobody had time for."""

    def __init__(self, detector: TurnEndDetector, log: FactLog) -> None:
        self.name = detector.name
        self.skipped = 0
        self._detector = detector
        self._log = log
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "turn-end")

    async def judge(self, speech: Speech) -> float | None:
        """Return the probability that a turn is over; None when it cannot be told now."""
        if self._waiting >= MAX_WAITING:
            self.skipped += 1
            return None
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, speech)
        except Exception as bug:  # The detector is not ours: the words alone decide.
            self._log.error("turn detector failed", failure=bug, detector=self.name)
            return None
        finally:
            self._waiting -= 1

    def _ask(self, speech: Speech) -> float:
        samples = from_bytes(speech.pcm)[-int(HEARD_S * speech.rate_hz) :]
        return min(max(float(self._detector.probability(samples, speech.rate_hz)), 0.0), 1.0)

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def load_turn_end(setting: str) -> TurnEndDetector:
    """Return the detector that ``NAME`` or ``NAME:REST`` names. Raises ConfigError."""
    name, _, rest = setting.partition(":")
    try:
        detector: TurnEndDetector = _find(name)(*filter(None, [rest]))
    except ConfigError:
        raise
    except Exception as failure:  # the detector is not ours; whatever it raises is told at the start
        raise ConfigError("--turn-detector", f"'{name}' cannot be loaded: {failure}") from failure
    return detector


def _find(name: str) -> Callable[..., Any]:
    """Return what makes a detector; ours come first."""
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    found: Callable[..., Any]
    if name in _OURS:
        module, _, function = _OURS[name].partition(":")
        found = getattr(import_module(module), function)
    elif name in installed:
        found = installed[name].load()
    else:
        known = ", ".join(sorted({*_OURS, *installed}))
        raise ConfigError("--turn-detector", f"there is no '{name}'", f"there is {known}; a package may bring others")
    return found
