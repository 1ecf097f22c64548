"""A conversation on a socket of its own: audio in and out as base64 in events, and the client plays.

Source: API reference, "input_audio_buffer.append", "response.output_audio.delta".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import UnsetType

from offhook.errors import ApiProblem
from offhook.session import outputs as do
from offhook.session.given import decode_base64
from offhook.session.inputs import AudioProduced
from offhook.session.listening import bytes_per_ms
from offhook.session.response import Response
from offhook.session.spoken import SpokenAudio
from offhook.wire import client_events as asked
from offhook.wire import limits
from offhook.wire import server_events as ev
from offhook.wire.client_events import ClientEvent, InputAudioBufferAppend
from offhook.wire.problem import invalid, missing_parameter
from offhook.wire.session import AudioFormat, PcmFormat, as_shown
from offhook.wire.transcription import (
    TranscriptionSessionCreated,
    TranscriptionSessionUpdated,
    as_transcription,
)

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# Longer deltas would hold up what a client has to be told meanwhile; the service's own are about as long.
DELTA_MS: Final = 200
_APPEND_CHARS: Final = -(-limits.MAX_APPEND_BYTES // 3) * 4


class SocketDoor:
    """Audio comes and goes in events; where playing has got to is only the client's to know."""

    plays = False
    formats_given = True
    answers = True
    keeps_model = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._format = engine.session.audio.input.format
        self._began_ms = 0
        self._appended_bytes = 0
        self._spoken: dict[int, _Delivery] = {}
        self._silent_at = 0.0

    @property
    def input_ms(self) -> int:
        """Milliseconds of audio that were appended."""
        return self._began_ms + self._appended_bytes // bytes_per_ms(self._format)

    @property
    def silent_at(self) -> float:
        """When a client that plays what it gets, as it gets it, is through."""
        return self._silent_at

    def enter(self) -> None:
        """Tell the session."""
        engine = self._engine
        engine.send(ev.SessionCreated(event_id=engine.ids.event(), session=as_shown(engine.session)))

    def tell_session(self) -> None:
        """Tell what the session is now."""
        engine = self._engine
        engine.send(ev.SessionUpdated(event_id=engine.ids.event(), session=as_shown(engine.session)))

    def check(self, event: ClientEvent) -> None:
        """Refuse what only the server's own playing makes possible."""
        if isinstance(event, asked.OutputAudioBufferClear):
            message = "output_audio_buffer.clear is for calls; on this socket the client itself plays the audio."
            raise ApiProblem(400, "invalid_value", message, param="type")

    # -- in

    def append(self, event: InputAudioBufferAppend) -> None:
        """Take audio in the input format. Raises ApiProblem for what is no base64, no whole samples, or too much."""
        audio_format = self._engine.session.audio.input.format
        audio = _decoded(event.audio, audio_format, "audio")
        if audio_format is not self._format and audio_format != self._format:
            self._began_ms, self._appended_bytes, self._format = self.input_ms, 0, audio_format
        self._appended_bytes += len(audio)
        if audio:
            self._engine.emit(do.TakeInput(audio, audio_format))

    def given_audio(self, audio: str | UnsetType, path: str) -> bytes:
        """Return it. Raises ApiProblem for none, and as `append` does."""
        if isinstance(audio, UnsetType):
            raise missing_parameter(f"{path}.audio")
        return _decoded(audio, self._engine.session.audio.input.format, f"{path}.audio")

    # -- out

    def say(self, response: Response, event: AudioProduced) -> None:
        """Send it in the format of the response."""
        message = response.said(event.message)
        if message is None:
            return
        delivery = self._spoken.get(response.run)
        if delivery is None or (delivery.item_id, delivery.audio.rate_hz) != (message.item_id, event.rate_hz):
            if delivery is not None:
                self._send(delivery, delivery.audio.finish())
            audio = SpokenAudio(event.rate_hz, response.settings.audio_format)
            delivery = _Delivery(response.id, message.item_id, message.output_index, audio)
            self._spoken[response.run] = delivery
        self._silent_at = max(self._silent_at, self._engine.now) + event.duration_ms / 1000
        self._send(delivery, delivery.audio.push(event.pcm))

    def finish(self, response: Response, *, whole: bool) -> None:
        """Send what the conversion held back; of an answer that was cut short nobody wants it."""
        delivery = self._spoken.pop(response.run, None)
        if delivery is not None and whole:
            self._send(delivery, delivery.audio.finish())

    def interrupt(self) -> None:
        """Take it that the client stops playing, as it should."""
        self._silent_at = self._engine.now

    def _send(self, delivery: _Delivery, audio: bytes) -> None:
        engine = self._engine
        for piece in _pieces(audio, delivery.most_bytes):
            engine.send(
                ev.SentAudioDelta(
                    event_id=engine.ids.event(),
                    response_id=delivery.response_id,
                    item_id=delivery.item_id,
                    output_index=delivery.output_index,
                    content_index=0,
                    delta=piece,
                )
            )


class _Delivery:
    """The audio of one message on its way, in pieces of ``most_bytes``."""

    __slots__ = ("audio", "item_id", "most_bytes", "output_index", "response_id")

    def __init__(self, response_id: str, item_id: str, output_index: int, audio: SpokenAudio) -> None:
        self.response_id = response_id
        self.item_id = item_id
        self.output_index = output_index
        self.audio = audio
        self.most_bytes = DELTA_MS * bytes_per_ms(audio.audio_format)


def _decoded(text: str, audio_format: AudioFormat, param: str) -> bytes:
    if len(text) > _APPEND_CHARS:
        raise invalid(param, f"Invalid '{param}': there may be {limits.MAX_APPEND_BYTES} bytes of audio at most.")
    audio = decode_base64(text, param)
    if isinstance(audio_format, PcmFormat) and len(audio) % 2:
        raise invalid(param, f"Invalid '{param}': 16-bit samples have an even number of bytes.")
    return audio


def _pieces(audio: bytes, most_bytes: int) -> Sequence[bytes]:
    if 0 < len(audio) <= most_bytes:
        return (audio,)
    return [audio[start : start + most_bytes] for start in range(0, len(audio), most_bytes)]


_ANSWERS: Final = (
    asked.ResponseCreate,
    asked.ResponseCancel,
    asked.ConversationItemCreate,
    asked.ConversationItemTruncate,
    asked.OutputAudioBufferClear,
)


class TranscriptionDoor(SocketDoor):
    """Audio comes in events and its words go out; nothing is answered."""

    answers = False

    def enter(self) -> None:
        """Tell the session."""
        engine = self._engine
        session = as_transcription(engine.session)
        engine.send(TranscriptionSessionCreated(event_id=engine.ids.event(), session=session))

    def tell_session(self) -> None:
        """Tell what the session is now."""
        engine = self._engine
        session = as_transcription(engine.session)
        engine.send(TranscriptionSessionUpdated(event_id=engine.ids.event(), session=session))

    def check(self, event: ClientEvent) -> None:
        """Refuse what asks for answers, or deals with them."""
        if isinstance(event, _ANSWERS):
            kind = event.__struct_config__.tag
            message = f"A transcription session does not answer: it takes no '{kind}'."
            raise ApiProblem(400, "invalid_value", message, param="type")
