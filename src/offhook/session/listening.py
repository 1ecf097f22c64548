"""What callers on sockets of their own say: levels, voices and turns of many sessions in batches.

The audio comes in events of any size, sometimes minutes at once. What waits is worked off in steps of bounded cost, all
sessions side by side, so that nobody's file holds up a conversation. Within a session nothing depends on how its audio
was cut: every window is judged right after the levels that end with it. Positions are milliseconds of its input audio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import RATE_HZ, Codec
from offhook.audio.level import STEP_MS, levels_dbfs
from offhook.audio.pcm import Samples, from_bytes, silence
from offhook.audio.resample import Resampler
from offhook.audio.silero import CONTEXT_SAMPLES, WINDOW_SAMPLES, SileroBatch
from offhook.audio.turn import TurnDetector, TurnEvent, TurnOptions
from offhook.session.spoken import PCM_RATE_HZ
from offhook.wire.session import AudioFormat, PcmFormat, PcmuFormat

Tell = Callable[[Sequence[TurnEvent]], None]

_TICKS_PER_MS: Final = RATE_HZ // 1000
_STEP: Final = STEP_MS * _TICKS_PER_MS
_WHOLE: Final = CONTEXT_SAMPLES + WINDOW_SAMPLES
# Windows of one step. One costs about 30 microseconds in a batch and 80 alone, so a step takes some milliseconds.
MAX_WINDOWS: Final = 64
# Converted at a time: as much as one session can use in a step.
_CONVERTED_MS: Final = MAX_WINDOWS * WINDOW_SAMPLES // _TICKS_PER_MS


def bytes_per_ms(audio_format: AudioFormat) -> int:
    """Return how many bytes a millisecond has."""
    return 2 * PCM_RATE_HZ // 1000 if isinstance(audio_format, PcmFormat) else _TICKS_PER_MS


class Ear:
    """The input of one session, and its turns."""

    __slots__ = (
        "_base_ms",
        "_format",
        "_judged",
        "_levels",
        "_line",
        "_position",
        "_resampler",
        "_rest",
        "_sound",
        "_turns",
        "_waiting",
        "row",
        "tell",
        "waiting_ms",
    )

    def __init__(self, row: int, tell: Tell) -> None:
        self.row = row
        self.tell = tell
        self.waiting_ms = 0.0
        """Audio that was not listened to yet."""
        self._turns: TurnDetector | None = None
        self._waiting: deque[tuple[AudioFormat, bytes]] = deque()
        self._position = 0.0
        self._format: AudioFormat = PcmFormat()
        self._begin()

    def _begin(self) -> None:
        """Begin the line anew where the input is now; everything below counts samples of 8 kHz from there."""
        self._base_ms = round(self._position)
        self._resampler: Resampler | None = None
        self._line = 0
        self._judged = 0
        self._sound = silence(CONTEXT_SAMPLES)
        self._rest = silence(0)
        self._levels: list[float] = []
        self._waiting.clear()
        self.waiting_ms = 0.0

    @property
    def on(self) -> bool:
        """Whether turns are detected."""
        return self._turns is not None

    @property
    def awake(self) -> bool:
        """Whether there has been something to judge lately."""
        return self._turns is not None and self._turns.awake

    def configure(self, options: TurnOptions | None) -> bool:
        """Change the turn detection from here on; None is off. Says whether it was off before and is on now."""
        if options is None:
            self._turns = None
            self._begin()
            return False
        if self._turns is not None:
            self._turns.configure(options)
            return False
        self._begin()
        self._turns = TurnDetector(options, at_ms=self._base_ms)
        return True

    def end_turn(self) -> None:
        """End the turn with the pause that was told, if it lasts still."""
        if self._turns is not None and (events := self._turns.end()):
            self.tell(events)

    def take(self, audio: bytes, audio_format: AudioFormat) -> None:
        """Continue the line."""
        length_ms = len(audio) / bytes_per_ms(audio_format)
        self._position += length_ms
        if self._turns is not None:
            self._waiting.append((audio_format, audio))
            self.waiting_ms += length_ms

    def convert(self) -> None:
        """Make some of what waits ready to be listened to."""
        room_ms = _CONVERTED_MS - (len(self._sound) - CONTEXT_SAMPLES) // _TICKS_PER_MS
        ready: list[Samples] = [self._sound]
        while self._waiting and room_ms > 0:
            audio_format, audio = self._waiting.popleft()
            size = bytes_per_ms(audio_format) * room_ms
            if len(audio) > size:
                self._waiting.appendleft((audio_format, audio[size:]))
                audio = audio[:size]
            length_ms = len(audio) / bytes_per_ms(audio_format)
            room_ms -= int(length_ms)
            self.waiting_ms -= length_ms
            ready += self._convert(audio, audio_format)
        fresh = [self._rest, *ready[1:]]
        stream = np.concatenate(fresh)
        whole = len(stream) // _STEP * _STEP
        if whole:
            self._levels += levels_dbfs(stream[:whole], _STEP).tolist()
        self._line += len(stream) - len(self._rest)
        self._rest = stream[whole:]
        self._sound = np.concatenate(ready)

    def _convert(self, audio: bytes, audio_format: AudioFormat) -> list[Samples]:
        changed = audio_format != self._format
        tail = [self._resampler.finish()] if changed and self._resampler is not None else []
        if changed:
            self._format = audio_format
            self._resampler = None
        if isinstance(audio_format, PcmFormat):
            if self._resampler is None:
                self._resampler = Resampler(PCM_RATE_HZ, RATE_HZ)
            return [*tail, self._resampler.push(from_bytes(audio))]
        return [*tail, g711.decode(audio, Codec.PCMU if isinstance(audio_format, PcmuFormat) else Codec.PCMA)]

    def advance(self) -> Samples | None:
        """Listen as far as the next window ends; return that window, None when it is not whole yet."""
        turns = self._turns
        if turns is None:
            return None
        whole = len(self._sound) >= _WHOLE
        steps = len(self._levels)
        if whole:
            end = self._judged + WINDOW_SAMPLES
            heard = self._line // _STEP - steps  # Steps that were heard before.
            steps = min(steps, max(-(-end // _STEP) - heard, 0))
        if steps:
            events = turns.hear(self._levels[:steps])
            del self._levels[:steps]
            if events:
                self.tell(events)
        if not whole:
            return None
        window = self._sound[:_WHOLE]
        self._sound = self._sound[WINDOW_SAMPLES:]
        self._judged += WINDOW_SAMPLES
        return window

    def judge(self, probability: float) -> None:
        """Take what the detector says of the window that came last."""
        if self._turns is not None:
            events = self._turns.judge(probability, self._base_ms + self._judged // _TICKS_PER_MS)
            if events:
                self.tell(events)

    @property
    def has_more(self) -> bool:
        """Whether a window is whole, or audio waits."""
        return self._turns is not None and (bool(self._waiting) or len(self._sound) >= _WHOLE)


class Listening:
    """Listens to all sessions. ``detector`` is made when the first one needs it."""

    def __init__(self, detector: Callable[[], SileroBatch]) -> None:
        self._make = detector
        self._detector: SileroBatch | None = None
        self._free_rows: list[int] = []
        self._rows = 0
        self._busy: dict[int, Ear] = {}
        self.judged = 0
        """Windows judged."""

    def open(self, tell: Tell) -> Ear:
        """Begin to listen to a session, whose turn detection is off."""
        if not self._free_rows:
            self._free_rows.append(self._rows)
            self._rows += 1
        return Ear(self._free_rows.pop(), tell)

    def close(self, ear: Ear) -> None:
        """Stop listening to a session."""
        self._busy.pop(ear.row, None)
        self._free_rows.append(ear.row)

    def configure(self, ear: Ear, options: TurnOptions | None) -> None:
        """Change a session's turn detection."""
        if ear.configure(options):
            if self._detector is None:
                self._detector = self._make()
            self._detector.reset(ear.row)

    def take(self, ear: Ear, audio: bytes, audio_format: AudioFormat) -> None:
        """Take a session's audio; it waits for `step`."""
        ear.take(audio, audio_format)
        if ear.on:
            self._busy[ear.row] = ear

    def step(self) -> bool:
        """Work off a part of what waits; say whether anything still does."""
        ears = list(self._busy.values())
        for ear in ears:
            ear.convert()
        left = MAX_WINDOWS
        while ears and left > 0:
            asked = self._round(ears)
            left -= max(asked, 1)
            ears = [ear for ear in ears if ear.has_more]
        self._busy = {row: ear for row, ear in self._busy.items() if ear.has_more}
        return bool(self._busy)

    def catch_up(self, ear: Ear) -> None:
        """Work off all that waits of one session, which the caller keeps short."""
        while ear.row in self._busy:
            ear.convert()
            while self._round([ear]):
                pass
            if not ear.has_more:
                self._busy.pop(ear.row, None)

    def _round(self, ears: Sequence[Ear]) -> int:
        """Advance each session by a window; return how many had one."""
        found = [(ear, window) for ear in ears if (window := ear.advance()) is not None]
        asked = []
        for ear, window in found:
            if ear.awake:
                asked.append((ear, window))
            else:
                ear.judge(0.0)
        if asked and self._detector is not None:
            self.judged += len(asked)
            rows = np.array([ear.row for ear, _ in asked])
            windows = np.stack([window for _, window in asked])
            for (ear, _), probability in zip(asked, self._detector.judge(rows, windows).tolist(), strict=True):
                ear.judge(probability)
        return len(found)
