"""What callers on sockets of their own say: levels, voices and turns of many sessions in batches.

The audio comes in events of any size, sometimes minutes at once. What waits is worked off in steps of bounded cost, all
sessions side by side, so that nobody's file holds up a conversation. Within a session nothing depends on how its audio
was cut: every window is judged right after the levels that end with it. Positions are milliseconds of its input audio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

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
# A step holds up everything else, so it is a millisecond or two: 32 live sessions are converted in one, which bring 100
# ms each, or a window of each of 32 is judged. In small batches a window costs up to three times as much; 64 will do.
CONVERTED_MS: Final = 3_200
JUDGED_WINDOWS: Final = 32
LISTENED_WINDOWS: Final = 64
MAX_EARS: Final = 48
# Of each session in its turn: what lives brings in, or, of a file that is alone, three seconds.
LIVE_WINDOWS: Final = 4
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
        "_place",
        "_position",
        "_sound",
        "_tail",
        "_turns",
        "_waiting",
        "listened",
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
        self._place = 0  # In the sound: where the next window begins.
        self.listened: deque[npt.NDArray[np.float32]] = deque()
        """What the detector has made in advance of the next windows."""
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
        waiting = self._waiting
        if not waiting:
            return None
        audio_format = self._format
        if audio_format is None or not _same(waiting[0][0], audio_format):
            # Of the one before, less than 10 ms are lost, which nothing depends on.
            audio_format = self._format = waiting[0][0]
            self._tail = bytes(2 * _TO_8_KHZ.lead_samples) if isinstance(audio_format, PcmFormat) else b""
        per_ms, history = _measures(type(audio_format))
        room_bytes = (MAX_WINDOWS - (len(self._sound) - self._place) // WINDOW_SAMPLES) * _WINDOW_MS * per_ms
        pieces: list[bytes | memoryview] = [self._tail]
        pulled_bytes = 0
        while waiting and pulled_bytes < room_bytes and _same(waiting[0][0], audio_format):
            _, audio = waiting.popleft()
            if len(audio) > room_bytes - pulled_bytes:
                waiting.appendleft((audio_format, audio[room_bytes - pulled_bytes :]))
                audio = audio[: room_bytes - pulled_bytes]
            pulled_bytes += len(audio)
            pieces.append(audio)
        self.waiting_ms -= pulled_bytes / per_ms
        stream = b"".join(pieces)
        step_bytes = STEP_MS * per_ms
        used = max(len(stream) - history, 0) // step_bytes * step_bytes
        self._tail = stream[used:]
        return (audio_format, stream[: used + history]) if used else None

    def hear(self, sound: Samples, levels: list[float]) -> None:
        """Take what was made of that."""
        self._sound = np.concatenate((self._sound[self._place :], sound))
        self._place = 0
        self._levels += levels

    def rest(self) -> bool:
        """Pass over what was made if nothing of it is loud and nobody speaks, as with most of what comes.

        Says whether it did, and no whole window is left then.
        """
        if self._turns is None:
            return False
        windows = self._whole_windows
        judged = self._judged + windows * WINDOW_SAMPLES
        if not self._turns.rest(self._levels, self._base_ms + judged // _TICKS_PER_MS):
            return False
        self._heard += len(self._levels)
        self._levels.clear()
        self._place += windows * WINDOW_SAMPLES
        self._judged = judged
        self.listened.clear()
        return True

    @property
    def _whole_windows(self) -> int:
        """How many windows are whole and were not judged."""
        return max(len(self._sound) - self._place - CONTEXT_SAMPLES, 0) // WINDOW_SAMPLES

    def advance(self) -> bool:
        """Listen as far as the next window ends, which is to be judged then; say whether it is whole yet."""
        turns = self._turns
        if turns is None:
            return False
        whole = len(self._sound) - self._place >= _WHOLE
        steps = len(self._levels)
        if whole:
            steps = min(steps, max(-(-(self._judged + WINDOW_SAMPLES) // _STEP) - self._heard, 0))
        if steps:
            self._heard += steps
            events = turns.hear(self._levels[:steps])
            del self._levels[:steps]
            if events:
                self.tell(events)
        return whole and self._turns is turns

    def windows(self, most: int) -> Samples:
        """Return the next windows, those of them that are whole, as ``(n, context and window)`` samples."""
        count = min(self._whole_windows, most)
        return np.ndarray((count, _WHOLE), np.int16, self._sound, 2 * self._place, (2 * WINDOW_SAMPLES, 2))

    def judge(self, probability: float) -> None:
        """Take what the detector says of the next window."""
        if self._turns is None:
            return
        self._place += WINDOW_SAMPLES
        self._judged += WINDOW_SAMPLES
        if self.listened:
            self.listened.popleft()
        events = self._turns.judge(probability, self._base_ms + self._judged // _TICKS_PER_MS)
        if events:
            self.tell(events)

    @property
    def has_more(self) -> bool:
        """Whether a window is whole, or audio waits."""
        return self._turns is not None and (bool(self._waiting) or self._whole_windows > 0)


def _same(one: AudioFormat, other: AudioFormat) -> bool:
    return one is other or one == other


def _measures(kind: type[AudioFormat]) -> tuple[int, int]:
    """Return how many bytes a millisecond has, and how many of the past stand before what is converted."""
    return (48, 2 * _TO_8_KHZ.history_samples) if issubclass(kind, PcmFormat) else (_TICKS_PER_MS, 0)


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
        self._steps: Iterator[None] | None = None
        self._is_left = False
        self.judged = 0
        """Windows judged."""

    def open(self, tell: Tell) -> Ear:
        """Begin to listen to a session, whose turn detection is off."""
        if not self._free_rows:
            self._free_rows.append(self._rows)
            self._rows += 1
        return Ear(self._free_rows.pop(), tell)

    def close(self, ear: Ear) -> None:
        """Stop listening to a session; its place is another's from now on, so nothing of it is used again."""
        ear.configure(None)
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
        """Work off a part of what waits; say whether more of it does. What came between two steps is not in a hurry."""
        steps, self._steps = self._steps, None
        if steps is None:
            steps = self._work_off()
            self._is_left = False
        for _ in steps:
            self._steps = steps
            return True
        return self._is_left

    def catch_up(self, ear: Ear) -> None:
        """Work off all that waits of one session, which the caller keeps short."""
        while ear.has_more:
            speaking = self._convert([ear])
            while speaking:
                speaking = self._round(speaking)

    def _work_off(self) -> Iterator[None]:
        """Work off what waits now, but of a long recording only a part, in steps of bounded cost.

        Between two steps anything may happen to a session: what is known of it is in its ear, and ears that have
        nothing to be done any more are passed over.
        """
        ears, self._busy = list(self._busy.values()), {}
        speaking: list[Ear] = []
        some: list[Ear] = []
        some_ms = 0.0
        for ear in ears:
            some.append(ear)
            some_ms += min(ear.waiting_ms, MAX_WINDOWS * _WINDOW_MS)
            if some_ms >= CONVERTED_MS:
                speaking += self._convert(some)
                some, some_ms = [], 0.0
                yield
        speaking += self._convert(some)
        for start in range(0, len(speaking), MAX_EARS):
            yield
            yield from self._judge(speaking[start : start + MAX_EARS])
        for ear in ears:
            if ear.has_more:
                self._busy[ear.row] = ear
                self._is_left = True

    def _judge(self, ears: list[Ear]) -> Iterator[None]:
        """Judge the windows of some sessions, one of each at a time."""
        judged = 0
        for _ in range(max(MAX_WINDOWS // len(ears), LIVE_WINDOWS)):
            ears = self._round(ears)
            if not ears:
                return
            judged += len(ears)
            if judged >= JUDGED_WINDOWS:
                judged = 0
                yield
        for ear in ears:
            if not ear.has_more:
                ear.advance()  # No window is left, but what came after the last one may end a turn.

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
                if ear.rest():
                    resting.add(ear.row)
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
        found = [ear for ear in ears if ear.advance()]
        asked = []
        for ear in found:
            if ear.awake:
                asked.append(ear)
            else:
                ear.judge(0.0)
        if asked and self._detector is not None:
            self.judged += len(asked)
            self._listen(self._detector, [ear for ear in asked if not ear.listened])
            rows = np.array([ear.row for ear in asked])
            listened = np.concatenate([ear.listened[0] for ear in asked]).reshape(len(asked), -1)
            for ear, probability in zip(asked, self._detector.remember(rows, listened).tolist(), strict=True):
                ear.judge(probability)
        return found

    def _listen(self, detector: SileroBatch, ears: Sequence[Ear]) -> None:
        """Do what can be done for windows in advance: most will be judged, and together they cost half as much."""
        if not ears:
            return
        most = -(-LISTENED_WINDOWS // len(ears))
        windows = [ear.windows(most) for ear in ears]
        listened = iter(detector.listen(np.concatenate(windows)))
        for ear, some in zip(ears, windows, strict=True):
            ear.listened.extend(islice(listened, len(some)))
