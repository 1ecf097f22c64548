"""What callers on sockets of their own say: levels, voices and turns of many sessions in batches.

The audio comes in events of any size, sometimes minutes at once. What waits is worked off in steps of bounded cost, all
sessions side by side, so that nobody's file holds up a conversation. Within a session nothing depends on how its audio
was cut: every window is judged right after the levels that end with it. Positions are milliseconds of its input audio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import RATE_HZ, Codec
from offhook.audio.level import SILENCE_DBFS, STEP_MS, levels_dbfs
from offhook.audio.pcm import Samples, from_bytes, silence
from offhook.audio.resample import BatchResampler
from offhook.audio.silero import CONTEXT_SAMPLES, WINDOW_SAMPLES, SileroBatch
from offhook.audio.turn import TurnDetector, TurnEvent, TurnOptions
from offhook.session.spoken import PCM_RATE_HZ
from offhook.wire.session import AudioFormat, PcmFormat, PcmuFormat

Tell = Callable[[Sequence[TurnEvent]], None]

_TICKS_PER_MS: Final = RATE_HZ // 1000
_STEP: Final = STEP_MS * _TICKS_PER_MS
_WHOLE: Final = CONTEXT_SAMPLES + WINDOW_SAMPLES
# Of one step, which holds up everything else: some milliseconds. A window costs about 30 microseconds in a batch, and
# live sessions bring one to four at a time; a file alone gets through three seconds of itself. Fewer ears at a time
# make small batches, in which a window costs a quarter more.
MAX_EARS: Final = 48
MAX_WINDOWS: Final = 96
_WINDOW_MS: Final = WINDOW_SAMPLES // _TICKS_PER_MS
_TO_8_KHZ: Final = BatchResampler(PCM_RATE_HZ, RATE_HZ)


def bytes_per_ms(audio_format: AudioFormat) -> int:
    """Return how many bytes a millisecond has."""
    return 2 * PCM_RATE_HZ // 1000 if isinstance(audio_format, PcmFormat) else _TICKS_PER_MS


class Ear:
    """The input of one session, and its turns."""

    __slots__ = (
        "_base_ms",
        "_format",
        "_heard",
        "_judged",
        "_levels",
        "_position",
        "_sound",
        "_tail",
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
        self._waiting: deque[tuple[AudioFormat, memoryview]] = deque()
        self._position = 0.0
        self._begin()

    def _begin(self) -> None:
        """Begin the line anew where the input is now; everything below counts samples of 8 kHz from there."""
        self._base_ms = round(self._position)
        self._format: AudioFormat | None = None
        self._tail = b""
        self._heard = 0
        self._judged = 0
        self._sound = silence(CONTEXT_SAMPLES)
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

    @property
    def is_quiet(self) -> bool:
        """Whether turns are detected and none is under way, as far as was listened."""
        return self._turns is not None and self._turns.listening

    @property
    def listened_ms(self) -> int:
        """How far was listened."""
        return int(self._position - self.waiting_ms)

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
            self._waiting.append((audio_format, memoryview(audio)))
            self.waiting_ms += length_ms

    def pull(self) -> tuple[AudioFormat, bytes] | None:
        """Give away what is to be converted next: whole steps of one format, after the history that it needs."""
        if self._format is None or (self._waiting and self._waiting[0][0] != self._format and not self._whole_steps()):
            self._change_format()
        if self._format is None:
            return None
        step_bytes = STEP_MS * bytes_per_ms(self._format)
        room_bytes = (MAX_WINDOWS - len(self._sound) // WINDOW_SAMPLES) * _WINDOW_MS * bytes_per_ms(self._format)
        pieces: list[bytes | memoryview] = [self._tail]
        while self._waiting and room_bytes > 0 and self._waiting[0][0] == self._format:
            _, audio = self._waiting.popleft()
            if len(audio) > room_bytes:
                self._waiting.appendleft((self._format, audio[room_bytes:]))
                audio = audio[:room_bytes]
            room_bytes -= len(audio)
            pieces.append(audio)
            self.waiting_ms -= len(audio) / bytes_per_ms(self._format)
        stream = b"".join(pieces)
        history = _history_bytes(self._format)
        used = max(len(stream) - history, 0) // step_bytes * step_bytes
        self._tail = stream[used:]
        return (self._format, stream[: used + history]) if used else None

    def _whole_steps(self) -> bool:
        assert self._format is not None
        return len(self._tail) - _history_bytes(self._format) >= STEP_MS * bytes_per_ms(self._format)

    def _change_format(self) -> None:
        """Begin another format; of the one before, less than 10 ms are lost, which nothing depends on."""
        self._format = self._waiting[0][0] if self._waiting else None
        self._tail = bytes(2 * _TO_8_KHZ.lead_samples) if isinstance(self._format, PcmFormat) else b""

    def hear(self, sound: Samples, levels: list[float]) -> None:
        """Take what was made of that."""
        self._sound = np.concatenate((self._sound, sound))
        self._levels += levels

    def rest(self) -> bool:
        """Pass over what was made if nothing of it is loud and nobody speaks, as with most of what comes.

        Says whether it did, and no whole window is left then.
        """
        if self._turns is None:
            return False
        windows = max(len(self._sound) - CONTEXT_SAMPLES, 0) // WINDOW_SAMPLES
        judged = self._judged + windows * WINDOW_SAMPLES
        if not self._turns.rest(self._levels, self._base_ms + judged // _TICKS_PER_MS):
            return False
        self._heard += len(self._levels)
        self._levels.clear()
        self._sound = self._sound[windows * WINDOW_SAMPLES :]
        self._judged = judged
        return True

    def advance(self) -> Samples | None:
        """Listen as far as the next window ends; return that window, None when it is not whole yet."""
        turns = self._turns
        if turns is None:
            return None
        whole = len(self._sound) >= _WHOLE
        steps = len(self._levels)
        if whole:
            steps = min(steps, max(-(-(self._judged + WINDOW_SAMPLES) // _STEP) - self._heard, 0))
        if steps:
            self._heard += steps
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


def _history_bytes(audio_format: AudioFormat) -> int:
    return 2 * _TO_8_KHZ.history_samples if isinstance(audio_format, PcmFormat) else 0


def _samples(kind: type[AudioFormat], stream: bytes) -> int:
    """Return how many samples of 8 kHz are made of a stream of one format, after its history."""
    if issubclass(kind, PcmFormat):
        return (len(stream) // 2 - _TO_8_KHZ.history_samples) * RATE_HZ // PCM_RATE_HZ
    return len(stream)


def _convert(kind: type[AudioFormat], streams: list[bytes]) -> Samples:
    """Return the samples of 8 kHz that some streams of one format hold, one behind the other."""
    if issubclass(kind, PcmFormat):
        return _TO_8_KHZ.convert([from_bytes(stream) for stream in streams])
    return g711.decode(b"".join(streams), Codec.PCMU if issubclass(kind, PcmuFormat) else Codec.PCMA)


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
        """Stop listening to a session; its place is another's from now on, so nothing of it may be used again."""
        self._let_go(ear)
        self._free_rows.append(ear.row)

    def _let_go(self, ear: Ear) -> None:
        if self._waits(ear):
            del self._busy[ear.row]

    def _waits(self, ear: Ear) -> bool:
        # What a session is told may close it, or another one, and open a third in its place.
        return self._busy.get(ear.row) is ear

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
        ears = list(islice(self._busy.values(), MAX_EARS))
        left = MAX_WINDOWS
        speaking = self._convert(ears)
        while left > 0 and speaking:
            speaking = self._round(speaking)
            left -= len(speaking)
        for ear in ears:
            if self._waits(ear):
                # What has more to say waits until the others were listened to.
                del self._busy[ear.row]
                if ear.has_more:
                    self._busy[ear.row] = ear
        return bool(self._busy)

    def catch_up(self, ear: Ear) -> None:
        """Work off all that waits of one session, which the caller keeps short."""
        while self._waits(ear):
            found = self._convert([ear])
            while found:
                found = self._round(found)
            if not ear.has_more:
                self._let_go(ear)

    def _convert(self, ears: Sequence[Ear]) -> list[Ear]:
        """Make some of what waits ready to be listened to, of all sessions at once; return those that need more."""
        resting: set[int] = set()
        pulled: dict[type[AudioFormat], list[tuple[Ear, bytes]]] = {}
        for ear in ears:
            if (given := ear.pull()) is None:
                continue
            audio_format, stream = given
            if isinstance(audio_format, PcmFormat) and stream == bytes(len(stream)):
                # A microphone that is muted, as many are for most of the time: what is made of nothing is known.
                sound = silence(_samples(PcmFormat, stream))
                ear.hear(sound, [SILENCE_DBFS] * (len(sound) // _STEP))
                ear.rest()
            else:
                pulled.setdefault(type(audio_format), []).append((ear, stream))
        for kind, streams in pulled.items():
            sound = _convert(kind, [stream for _, stream in streams])
            levels: list[float] = levels_dbfs(sound, _STEP).tolist()
            start = 0
            for ear, stream in streams:
                end = start + _samples(kind, stream)
                ear.hear(sound[start:end], levels[start // _STEP : end // _STEP])
                if ear.rest():
                    resting.add(ear.row)
                start = end
        return [ear for ear in ears if ear.row not in resting]

    def _round(self, ears: Sequence[Ear]) -> list[Ear]:
        """Advance each session by a window; return those that had one."""
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
        return [ear for ear, _ in found]
