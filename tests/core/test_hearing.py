"""What is made of a recording: who answered whom, and who broke into what."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio.pcm import Samples, silence
from offhook.testing.hearing import understand
from offhook.testing.voice import voice


def recording(heard_until_ms: int, said_from_ms: int) -> Samples:
    """Return two seconds and more in which the agent speaks first, and then the caller for 800 ms."""
    heard = np.concatenate([voice(heard_until_ms, seed=1), silence(8 * 4000)])[: 8 * 4000]
    said = np.concatenate([silence(8 * said_from_ms), voice(800, seed=2), silence(8 * 4000)])[: 8 * 4000]
    return np.stack([heard, said], axis=1)


def test_who_begins_while_the_other_speaks_interrupts() -> None:
    (barge_in,) = understand(recording(1500, 1400)).barge_ins
    assert 60 <= barge_in.delay_ms <= 140


@pytest.mark.parametrize("pause_ms", [10, 120])
def test_who_begins_in_a_pause_between_two_words_interrupts_at_once(pause_ms: int) -> None:
    """The demonstration called that no interruption, and said that it had failed."""
    (barge_in,) = understand(recording(1500, 1500 + pause_ms)).barge_ins
    assert barge_in.delay_ms == 0


def test_who_waits_for_the_end_does_not_interrupt() -> None:
    assert understand(recording(1500, 1900)).barge_ins == ()
