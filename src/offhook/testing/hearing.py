"""What a recording says about a conversation: who spoke when, how fast it was answered, how fast it fell silent.

Everything is judged from the caller's stereo recording (left: what the caller heard, right: what it said), because that
is the only clock that both sides share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from offhook.audio.level import STEP_MS, levels_dbfs
from offhook.audio.pcm import Samples

RATE_HZ: Final = 8000
# Softer than any speech on a telephone, louder than its idle noise.
SPEECH_DBFS: Final = -50.0
# A pause within one utterance; longer ones part two.
BRIDGE_MS: Final = 400
SHORTEST_MS: Final = 60
# A hole of this length in what should be continuous sound can be heard.
AUDIBLE_GAP_MS: Final = 40
# Nobody answers so soon: who begins within this time of a sound began before it was clear that it was the last, as
# between two words of which the second was never said.
REACTION_MS: Final = 150


class Utterance(NamedTuple):
    """A stretch of sound of one side, in milliseconds of the recording; ``longest_gap_ms`` is its longest pause."""

    start_ms: int
    end_ms: int
    longest_gap_ms: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The caller stopped, and the agent answered after ``delay_ms``."""

    said_until_ms: int
    answered_at_ms: int

    @property
    def delay_ms(self) -> int:
        """From the caller's last sound to the agent's first."""
        return self.answered_at_ms - self.said_until_ms


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The caller began while the agent spoke, and the agent was silent after ``delay_ms``: 0 where it paused."""

    began_at_ms: int
    silent_at_ms: int

    @property
    def delay_ms(self) -> int:
        """From the caller's first sound to the agent's last."""
        return self.silent_at_ms - self.began_at_ms


@dataclass(frozen=True, slots=True)
class Conversation:
    """A recording, understood."""

    heard: tuple[Utterance, ...]
    said: tuple[Utterance, ...]
    turns: tuple[Turn, ...]
    barge_ins: tuple[BargeIn, ...]

    @property
    def first_heard_ms(self) -> int | None:
        """When the agent was heard for the first time."""
        return self.heard[0].start_ms if self.heard else None


def find_utterances(samples: Samples, *, bridge_ms: int = BRIDGE_MS) -> tuple[Utterance, ...]:
    """Return the stretches of sound in a channel of 8 kHz."""
    loud = levels_dbfs(samples) > SPEECH_DBFS
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(np.int8)))
    found: list[Utterance] = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start_ms, end_ms = start * STEP_MS, end * STEP_MS
        last = found[-1] if found else None
        if last is not None and start_ms - last.end_ms <= bridge_ms:
            found[-1] = Utterance(last.start_ms, end_ms, max(last.longest_gap_ms, start_ms - last.end_ms))
        else:
            found.append(Utterance(start_ms, end_ms, 0))
    return tuple(each for each in found if each.end_ms - each.start_ms >= SHORTEST_MS)


def understand(stereo: Samples) -> Conversation:
    """Return who spoke when in a stereo recording, and how the agent kept up."""
    heard = find_utterances(stereo[:, 0])
    said = find_utterances(stereo[:, 1])
    turns, barge_ins = [], []
    for index, utterance in enumerate(said):
        limit_ms = said[index + 1].start_ms if index + 1 < len(said) else len(stereo) * 1000 // RATE_HZ
        began_ms = utterance.start_ms
        during = next((each for each in heard if each.start_ms < began_ms < each.end_ms + REACTION_MS), None)
        if during is not None:
            barge_ins.append(BargeIn(began_ms, max(began_ms, during.end_ms)))
        answer = next((each for each in heard if utterance.end_ms <= each.start_ms <= limit_ms), None)
        if answer is not None:
            turns.append(Turn(utterance.end_ms, answer.start_ms))
    return Conversation(heard, said, tuple(turns), tuple(barge_ins))
