"""Any server of the OpenAI HTTP API as an ear or a voice: transcriptions, streamed where that is offered, and speech.

Speaches, vLLM, LocalAI, Kokoro-FastAPI and the hosted services speak it. Source: API reference, "Audio".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from math import inf
from typing import Any, Final, cast

import msgspec
import numpy as np
from msgspec import UNSET
from pyreqwest.multipart import FormBuilder, PartBuilder
from pyreqwest.response import Response

from offhook.audio.resample import is_convertible
from offhook.audio.wav import write_wav
from offhook.model.http import AnswerRefusedError, HostedModel, ModelServer
from offhook.model.interface import ModelError, Segment, Sound, Speech, Words
from offhook.model.sse import SseError, data_lines
from offhook.model.transcript_prompt import transcript_prompt
from offhook.wire.models import tells_speakers
from offhook.wire.server_events import TokensUsage
from offhook.wire.session import CustomVoice, TranscriptionEcho, Voice

# Nobody says so much in a turn.
MAX_TRANSCRIPT_BYTES: Final = 1024 * 1024
# A sentence that takes longer to say is none: the server is looping.
MAX_SPEECH_S: Final = 600.0
SPEECH_CHUNK_BYTES: Final = 9600
# Speech of 20 ms at 24 kHz. A server that takes its whole time for less is only trickling.
_ADVANCE_BYTES: Final = 960
# Where the sound of a WAV file begins; files with more in front of it are not made for playing.
_MAX_WAV_HEAD_BYTES: Final = 4096
# From here on a size in a WAV head is none: programs that stream write one of several such figures.
_UNKNOWN_BYTES: Final = 0x7FFFFFFF
# What servers send that have something to say instead: noise, if it were played. A type of compressed sound says
# little, since proxies give it to raw sound too.
_NO_SOUND: Final = frozenset(
    {"application/json", "application/problem+json", "application/xml", "application/xhtml+xml"}
)
# How compressed sound begins, whatever type it is given; MPEG-4 has its mark behind the size of its first box.
_OTHER_HEADS: Final = {b"ID3": "mp3", b"OggS": "ogg", b"fLaC": "flac", b"\x1aE\xdf\xa3": "webm"}
_MP4_MARK: Final = b"ftyp"
# Frames of MPEG audio layer III (ISO 11172-3 2.4.1.3, ISO 13818-3 2.4.2.3) of 1152 and of 576 samples, and of what is
# called MPEG-2.5, which has the slowest rates; all by the second byte of the sync, less whether a CRC follows.
_SHORT_KBPS: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_LONG_KBPS: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_FRAMES: Final = {
    0xFA: (144_000, _LONG_KBPS, (44100, 48000, 32000)),
    0xF2: (72_000, _SHORT_KBPS, (22050, 24000, 16000)),
    0xE2: (72_000, _SHORT_KBPS, (11025, 12000, 8000)),
}
# Frames of AAC (ADTS, ISO 13818-7 6.2), MPEG-4's and MPEG-2's: of seven bytes at least, at one of thirteen rates.
_AAC_FRAMES: Final = frozenset({0xF0, 0xF8})
_MIN_AAC_FRAME_BYTES: Final = 7
_AAC_RATES: Final = 13
_SHOWN_TYPE_CHARS: Final = 60
_DONE: Final = b"[DONE]"
_EVENTS: Final = "text/event-stream"
# What servers say to a member that they do not know, or to a stream that they do not have.
_NO_STREAM: Final = frozenset({400, 415, 422, 501})


class _Form(msgspec.Struct, frozen=True):
    """What an answer is asked to be: by speakers, and streamed."""

    diarized: bool
    streams: bool


_PLAIN: Final = (_Form(diarized=False, streams=True), _Form(diarized=False, streams=False))
# Who transcribes by speakers where that is asked for is found out by asking.
_DIARIZED: Final = (_Form(diarized=True, streams=True), _Form(diarized=True, streams=False), *_PLAIN)


class Transcriptions(HostedModel):
    """Speech to text behind ``POST /audio/transcriptions``.

    A stream is asked for, and segments for models that tell speakers apart; a server that has none of these answers
    without, or refuses the member and is not asked for it again.
    """

    tells_speakers = True

    def __init__(self, server: ModelServer, model: str) -> None:
        super().__init__(server, model)
        self._plain: tuple[_Form, ...] = _PLAIN
        self._diarized: tuple[_Form, ...] = _DIARIZED

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller, as they come where the server streams them. Raises ModelError."""
        wav = write_wav(np.frombuffer(speech.pcm, dtype="<i2"), speech.rate_hz)
        diarizes = wanted is not None and tells_speakers(wanted.model)
        forms = self._diarized if diarizes else self._plain
        for at, form in enumerate(forms):
            try:
                async with aclosing(cast("Any", self._ask(wav, wanted, form))) as pieces:
                    async for words in pieces:
                        yield words
            except AnswerRefusedError as refusal:
                if refusal.status not in _NO_STREAM or form is forms[-1]:
                    raise
                continue
            # It was how it was asked that was refused before, and nothing else about the request.
            if diarizes:
                self._diarized = forms[at:]
            else:
                self._plain = forms[at:]
            return

    async def _ask(self, wav: bytes, wanted: TranscriptionEcho | None, how: _Form) -> AsyncIterator[Words]:
        part = PartBuilder.from_bytes(wav).file_name("turn.wav").mime("audio/wav")
        form = FormBuilder().text("model", self._model).part("file", part)
        if how.diarized:
            # Of more than half a minute, models that tell speakers apart want to be told how to cut it, and of no
            # speech do they take a prompt (API reference, "Create transcription").
            form = form.text("response_format", "diarized_json").text("chunking_strategy", "auto")
        else:
            form = form.text("response_format", "json")
        if how.streams:
            form = form.text("stream", "true")
        if language := _language(wanted):
            form = form.text("language", language)
        if not how.diarized and (prompt := transcript_prompt(wanted)):
            form = form.text("prompt", prompt)
        async with self._server.stream(self._server.request("/audio/transcriptions").multipart(form)) as response:
            patience = self._server.patience()
            chunks = self._server.chunks(response, patience)
            first = b""
            while not first.strip() and (chunk := await anext(chunks, None)) is not None:
                first = chunk
            read = self._streamed if _is_stream(response, first) else self._whole
            async with aclosing(cast("Any", read(_behind(first, chunks)))) as pieces:
                async for words in pieces:
                    yield words
                    patience.renew()

    async def _whole(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Words]:
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_TRANSCRIPT_BYTES:
                raise self._endless()
        answer = _object(bytes(body))
        if not isinstance(answer.get("text"), str):
            raise ModelError("transcription_error", f"The {self._server.name} sent no transcript.")
        text, usage, segments = answer["text"].strip(), _usage(answer.get("usage")), _segments(answer.get("segments"))
        if text or usage or segments:
            yield Words(text, usage=usage, segments=segments)

    async def _streamed(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Words]:
        said, size_bytes, is_whole = "", 0, False
        try:
            async with aclosing(data_lines(chunks)) as lines:
                async for line in lines:
                    if line == _DONE:
                        is_whole = True
                        break
                    size_bytes += len(line)
                    if size_bytes > MAX_TRANSCRIPT_BYTES:
                        raise self._endless()
                    piece = _piece(_object(line), said)
                    is_whole = is_whole or piece.ends
                    text = piece.text if said else piece.text.lstrip()
                    if text or piece.usage or piece.segments:
                        said += text
                        yield Words(text, usage=piece.usage, segments=piece.segments)
        except SseError as broken:
            raise ModelError("transcription_error", f"The {self._server.name} sent {broken}.") from broken
        if not is_whole:
            raise ModelError("transcription_error", f"The {self._server.name} broke off in the middle of a transcript.")

    def _endless(self) -> ModelError:
        return ModelError("transcription_error", f"The {self._server.name} sent endless words.")


def _language(wanted: TranscriptionEcho | None) -> str | None:
    """Return the one language that is spoken; the form has no room for several that may be."""
    if wanted is None or wanted.language:
        return None if wanted is None else wanted.language
    languages = wanted.languages or ()
    return languages[0] if len(languages) == 1 else None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one event of a streamed transcript adds. ``ends``: nothing more will come."""

    text: str
    ends: bool = False
    usage: TokensUsage | None = None
    segments: tuple[Segment, ...] = ()


def _piece(event: dict[str, Any], said: str) -> _Piece:
    """Read an event; one that nobody knows adds nothing. Raises ModelError for one that tells of a failure."""
    if isinstance(error := event.get("error"), dict | str):
        text = error.get("message") if isinstance(error, dict) else error
        raise ModelError("transcription_error", f"The transcription failed: {str(text)[:300]}")
    match event.get("type"):
        case "transcript.text.delta":
            return _Piece(_text(event.get("delta")))
        case "transcript.text.done":
            # All of it once more; what was streamed stays as it was.
            text = "" if said else _text(event.get("text"))
            return _Piece(text, ends=True, usage=_usage(event.get("usage")))
        case "transcript.text.segment":
            # Its words come as deltas, or at the end, as well.
            return _Piece("", segments=_segments([event]))
        case str():
            return _Piece("")
        case _:
            pass
    choices = event.get("choices")
    if isinstance(choices, list):  # vLLM streams transcripts like chat completions
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        delta = choice.get("delta")
        text = _text(delta.get("content")) if isinstance(delta, dict) else ""
        return _Piece(text, ends=isinstance(choice.get("finish_reason"), str))
    # Others send segments, each with its text, and simply end.
    text = _text(event.get("text"))
    apart = bool(text and said and not text[0].isspace() and not said[-1].isspace())
    return _Piece(f" {text}" if apart else text, ends=True)


def _segments(given: object) -> tuple[Segment, ...]:
    """Return who said what; segments without a speaker, or a time, are of another kind."""
    found = []
    for each in given if isinstance(given, list) else ():
        match each:
            case {
                "text": str(text),
                "speaker": str(speaker),
                "start": int() | float() as start,
                "end": int() | float() as end,
            }:
                if text.strip() and 0 <= start <= end < inf:
                    found.append(Segment(text.strip(), speaker, float(start), float(end)))
            case _:
                pass
    return tuple(found)


def _usage(given: object) -> TokensUsage | None:
    """Return the tokens of a transcript, of a server that counts these; others tell a duration, or nothing."""
    if not isinstance(given, dict) or given.get("type") != "tokens":
        return None

    def number(source: dict[str, Any], name: str) -> int:
        value = source.get(name)
        return value if isinstance(value, int) and value >= 0 else 0

    read, written = number(given, "input_tokens"), number(given, "output_tokens")
    if not read and not written:
        return None
    details = given.get("input_token_details")
    kinds = ("text_tokens", "audio_tokens")
    return TokensUsage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_token_details={kind: number(details, kind) for kind in kinds} if isinstance(details, dict) else UNSET,
    )


class SpokenOverHttp(HostedModel):
    """Text to speech behind ``POST /audio/speech``: raw samples, streamed.

    ``rate_hz`` is the server's own, unless it tells another: by ``;rate=`` in its content type, or with a WAV file.
    """

    def __init__(self, server: ModelServer, model: str, voice: str | None, rate_hz: int) -> None:
        super().__init__(server, model)
        self._voice = voice
        self._rate_hz = rate_hz

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech as it comes in. Raises ModelError."""
        name = self._voice or (voice.id if isinstance(voice, CustomVoice) else voice)
        wanted = {"model": self._model, "input": text, "voice": name, "response_format": "pcm", "speed": speed}
        builder = self._server.request("/audio/speech").header("content-type", "application/json")
        patience = self._server.patience()
        async with (
            self._server.stream(builder.body_bytes(msgspec.json.encode(wanted))) as response,
            aclosing(cast("Any", self._server.chunks(response, patience))) as chunks,
        ):
            patience.renew()
            self._check_type(response)
            rate_hz, waiting, size_bytes = self._told_rate(response), b"", 0
            head: bytes | None = b""
            fresh_bytes, left_bytes = 0, None
            async for chunk in chunks:
                size_bytes += len(chunk)
                fresh_bytes += len(chunk)
                if fresh_bytes >= _ADVANCE_BYTES:
                    patience.renew()
                    fresh_bytes = 0
                if size_bytes > MAX_SPEECH_S * 2 * rate_hz:
                    raise ModelError("model_error", f"The {self._server.name} speaks without end.")
                if head is not None:
                    head += chunk
                    if (found := _begin(head)) is None:
                        continue
                    chunk, told_hz, left_bytes = found
                    head, rate_hz = None, self._playable(told_hz or rate_hz)
                if left_bytes is not None:
                    chunk = chunk[:left_bytes]
                    left_bytes -= len(chunk)
                waiting += chunk
                whole = len(waiting) - len(waiting) % 2
                if whole >= SPEECH_CHUNK_BYTES:
                    yield Sound(waiting[:whole], rate_hz)
                    waiting = waiting[whole:]
                    patience.renew()
                if left_bytes == 0:
                    break  # what comes behind the samples of a file tells about them
            if head is not None and not head.startswith(b"RIFF"):
                waiting = head
            if len(waiting) > 1:
                yield Sound(waiting[: len(waiting) - len(waiting) % 2], rate_hz)

    def _check_type(self, response: Response) -> None:
        """Raise ModelError for an answer that says of itself that it is no sound."""
        mime = (response.get_header("content-type") or "").partition(";")[0].strip().lower()
        if mime.startswith("text/") or mime in _NO_SOUND:
            shown = "".join(char for char in mime if char.isprintable())[:_SHOWN_TYPE_CHARS]
            raise ModelError("model_error", f"The {self._server.name} sent {shown}, not pcm.")

    def _told_rate(self, response: Response) -> int:
        """Return the rate that the answer's type names (RFC 2586 for ``audio/L16``), else that of the settings."""
        rate_hz = self._rate_hz
        for parameter in (response.get_header("content-type") or "").split(";")[1:]:
            name, _, value = parameter.strip().partition("=")
            value = value.strip('"')
            if not (value.isascii() and value.isdigit()):
                continue
            if name.lower() == "rate":
                rate_hz = self._playable(int(value[:9]))
            if name.lower() == "channels" and int(value[:9]) != 1:
                raise ModelError("model_error", f"The {self._server.name} sent sound of {value[:9]} channels.")
        return rate_hz

    def _playable(self, rate_hz: int) -> int:
        if not is_convertible(rate_hz):
            raise ModelError(
                "model_error", f"The {self._server.name} sent sound of {rate_hz} Hz, which cannot be played."
            )
        return rate_hz


def _begin(head: bytes) -> tuple[bytes, int | None, int | None] | None:
    """Return the first samples, and what a WAV head tells of them: their rate, and how many bytes all of them have.

    None when more of it has to come. Whoever streams a file does not know its size, and tells none or the largest.
    Raises ModelError for a file that cannot be played.
    """
    if not _is_known(head):
        return None
    if not b"RIFF".startswith(head[:4]) and head[:4] != b"RIFF":
        return head, None, None
    if len(head) < 12:
        return None
    if head[8:12] != b"WAVE":
        return head, None, None
    place, rate_hz = 12, None
    while place + 8 <= len(head):
        name, size_bytes = head[place : place + 4], int.from_bytes(head[place + 4 : place + 8], "little")
        if name == b"data":
            return head[place + 8 :], rate_hz, size_bytes if 0 < size_bytes < _UNKNOWN_BYTES else None
        if name == b"fmt " and place + 24 <= len(head):
            channels, bits = (int.from_bytes(head[place + at : place + at + 2], "little") for at in (10, 22))
            if (channels, bits) != (1, 16):
                raise ModelError("model_error", f"The voice sent a WAV file of {channels} channels and {bits} bits.")
            rate_hz = int.from_bytes(head[place + 12 : place + 16], "little")
        place += 8 + size_bytes + (size_bytes & 1)
    if place > _MAX_WAV_HEAD_BYTES or len(head) > _MAX_WAV_HEAD_BYTES:
        raise ModelError("model_error", "The voice sent a WAV file without sound.")
    return None


def _is_known(head: bytes) -> bool:
    """Whether enough came to tell compressed sound. Raises ModelError when it is that: played, it would be noise."""
    if other := next((name for start, name in _OTHER_HEADS.items() if head.startswith(start)), None):
        raise ModelError("model_error", f"The voice sent {other}, not pcm.")
    if head[4:8] == _MP4_MARK:
        raise ModelError("model_error", "The voice sent mp4, not pcm.")
    if len(head) < 8 or any(start.startswith(head) for start in _OTHER_HEADS):
        return False
    name, size_bytes = _told_frame(head)
    if size_bytes:
        if len(head) < size_bytes + 2:
            return False
        if head[size_bytes : size_bytes + 2] == head[:2]:
            raise ModelError("model_error", f"The voice sent {name}, not pcm.")
    return True


def _told_frame(head: bytes) -> tuple[str, int]:
    """Return of what a frame is and its size, as its head tells; 0 for none: samples may look like its beginning."""
    sync = head[1] & 0xFE
    if head[0] != 0xFF:
        return "pcm", 0
    if sync in _AAC_FRAMES:
        return "aac", _aac_frame_bytes(head)
    return "mp3", _mp3_frame_bytes(head, *_MP3_FRAMES[sync]) if sync in _MP3_FRAMES else 0


def _aac_frame_bytes(head: bytes) -> int:
    size_bytes = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    return size_bytes if size_bytes >= _MIN_AAC_FRAME_BYTES and head[2] >> 2 & 0x0F < _AAC_RATES else 0


def _mp3_frame_bytes(
    head: bytes, bytes_of_kbps_hz: int, rates_kbps: tuple[int, ...], rates_hz: tuple[int, int, int]
) -> int:
    rate, hertz, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if rate in (0, 15) or hertz == 3:
        return 0
    return bytes_of_kbps_hz * rates_kbps[rate] // rates_hz[hertz] + padding


def _is_stream(response: Response, first: bytes) -> bool:
    """Whether an answer is one of events, by how it begins; not every server gives it the type of what it is."""
    mime = (response.get_header("content-type") or "").partition(";")[0].strip().lower()
    beginning = first.lstrip()[:6]
    return beginning.startswith((b"data:", b"event:")) or (mime == _EVENTS and not beginning.startswith(b"{"))


async def _behind(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what has been read already, and what comes behind it."""
    if first:
        yield first
    async for chunk in chunks:
        yield chunk


def _object(text: bytes) -> dict[str, Any]:
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelError("transcription_error", "The speech recogniser sent no transcript.")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
