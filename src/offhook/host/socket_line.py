"""The sound of a session on a socket of its own: what the client appended, kept and listened to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from offhook.audio import turn as turns
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.audio.turn import TurnEvent
from offhook.host.line import LineOptions, noise_level, turn_options
from offhook.media.noise import INSTALL, NoiseReducer, PcmNoiseReducer, Processors
from offhook.session import inputs as talk
from offhook.session.input_audio import AppendedAudio
from offhook.session.listening import Ear, Listening, bytes_per_ms
from offhook.session.spoken import PCM_RATE_HZ
from offhook.wire import limits
from offhook.wire.session import AudioFormat, NoiseReduction, PcmFormat, PcmuFormat, TurnDetection

if TYPE_CHECKING:
    from offhook.host.socket_session import SocketSession


class _Cleaning:
    """Takes the noise out of what is appended, format by format."""

    __slots__ = ("_format", "_level", "_make", "_reducer")

    def __init__(self, make: Processors, level: int) -> None:
        self._make = make
        self._level = level
        self._format: AudioFormat | None = None
        self._reducer: NoiseReducer | PcmNoiseReducer | None = None

    def clean(self, audio: bytes, audio_format: AudioFormat) -> bytes:
        """Return as many bytes without the noise."""
        if self._reducer is None or audio_format != self._format:
            self._format = audio_format
            processor = self._make(self._level)
            if isinstance(audio_format, PcmFormat):
                self._reducer = PcmNoiseReducer(processor, PCM_RATE_HZ)
            else:
                codec = Codec.PCMU if isinstance(audio_format, PcmuFormat) else Codec.PCMA
                self._reducer = NoiseReducer(processor, codec)
        return self._reducer.clean(audio)


class SocketLine:
    """Input comes by ``take``; of the output nothing passes here, since the client plays it."""

    def __init__(
        self, session: SocketSession, listening: Listening, options: LineOptions, noise: Processors | None
    ) -> None:
        self._session = session
        self._listening = listening
        self._options = options
        self._noise = noise
        self._cleaning: _Cleaning | None = None
        self._kept = AppendedAudio()
        self._ear: Ear = listening.open(self._tell)

    @property
    def dropped_ms(self) -> int:
        """Input that was too old to be kept before it became a turn."""
        return self._kept.dropped_ms

    # -- input

    def take(self, audio: bytes, audio_format: AudioFormat) -> None:
        """Continue the input; a recording that comes all at once is not cleaned, which would hold up everybody."""
        if self._cleaning is not None and len(audio) <= limits.MAX_CLEANED_MS * bytes_per_ms(audio_format):
            audio = self._cleaning.clean(audio, audio_format)
        self._kept.append(audio, audio_format)
        self._listening.take(self._ear, audio, audio_format)
        if self._ear.is_quiet:
            # A microphone that is left open: what was silence is no turn's any more.
            self._kept.release(self._ear.listened_ms)

    @property
    def is_full(self) -> bool:
        """Whether more is waiting to be listened to than should."""
        return self._ear.waiting_ms > limits.MAX_UNHEARD_MS

    def catch_up(self) -> None:
        """Listen to all that waits: what comes next in the client's order builds on it."""
        self._listening.catch_up(self._ear)

    def release(self, before_ms: int) -> None:
        """A turn was made of what lies before a position."""
        self._kept.release(before_ms)

    def _tell(self, events: Sequence[TurnEvent]) -> None:
        take = self._session.take
        for event in events:
            match event:
                case turns.SpeechStarted(start_ms=start_ms):
                    take(talk.VoiceStarted(start_ms))
                case turns.SpeechPaused(end_ms=end_ms, decided_ms=decided_ms):
                    take(talk.VoicePaused(end_ms, decided_ms))
                case turns.SpeechResumed():
                    take(talk.VoiceResumed())
                case turns.SpeechStopped(end_ms=end_ms, decided_ms=decided_ms):
                    take(talk.VoiceStopped(end_ms, decided_ms))
                case _:
                    assert_never(event)

    # -- what a conversation wants of its sound

    def configure_turns(self, detection: TurnDetection | None) -> None:
        """Detect the client's turns in this way."""
        self._listening.configure(self._ear, turn_options(detection, self._options))

    def reduce_noise(self, wanted: NoiseReduction | None) -> None:
        """Clean what is appended from here on in this way; where that is not installed, say so and go on without."""
        level = noise_level(wanted)
        if level and self._noise is None:
            self._session.log.warning("noise reduction is not installed, and left out", mend=INSTALL)
        self._cleaning = _Cleaning(self._noise, level) if level and self._noise is not None else None

    @property
    def input_ms(self) -> int:
        """How much was appended so far, in milliseconds."""
        return self._kept.end_ms

    def input_audio(self, start_ms: int, end_ms: int) -> tuple[bytes, int]:
        """Return 16-bit mono samples between two positions, and their rate in Hz."""
        return self._kept.samples(start_ms, end_ms)

    def retrieved_audio(self, start_ms: int, end_ms: int) -> bytes:
        """Return the audio between two positions in the session's input format."""
        return self._kept.as_sent(start_ms, end_ms, self._session.engine.session.audio.input.format)

    def end_turn(self) -> None:
        """End the client's turn in its pause, if that lasts still."""
        self._ear.end_turn()

    def fill(self, number: int, samples: Samples, *, loops: bool = False, whole: bool = False) -> None:
        """Nothing is played here, so it is over at once."""
        del samples, loops, whole
        self._session.take(talk.FillerEnded(number, 0))

    def stop_filling(self) -> None:
        """Nothing is played here."""

    def duck(self, *, ducked: bool) -> None:
        """Nothing is played here."""

    def play(self, run: int, pcm: bytes, rate_hz: int) -> None:
        """Nothing is played here."""

    def finish(self, run: int) -> None:
        """Nothing is played here."""

    def stop_playout(self) -> None:
        """Nothing is played here."""

    def close(self) -> None:
        """Let go of the detector's memory."""
        self._listening.close(self._ear)
