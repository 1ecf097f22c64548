"""Speech servers of the Wyoming protocol (wyoming-faster-whisper, wyoming-piper and others) as parts of a cascade.

One TCP connection for each request: closing it is how a server is told that nobody listens any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast

import numpy as np

from offhook.audio.pcm import from_bytes, saturate, to_bytes
from offhook.audio.resample import is_convertible, resample, resample_whole
from offhook.errors import ConfigError
from offhook.model.interface import ModelError, Sound, Speech, Words
from offhook.model.settings import WYOMING
from offhook.model.wyoming_events import MAX_HEAD_BYTES, Event, WyomingError, encode, failed, read_event
from offhook.telemetry.log import FactLog
from offhook.wire.session import CustomVoice, TranscriptionEcho, Voice

# What every recogniser of this protocol takes; not all of them convert.
HEARING_HZ: Final = 16000
# Two minutes of speech would hold up all calls for some hundredths of a second.
_LONG_S: Final = 5.0
_CHUNK_BYTES: Final = 2 * HEARING_HZ // 10
# A tenth of a second and more at a time; servers send less.
_SPEECH_CHUNK_BYTES: Final = 4800
# A sentence that takes longer to say is none: the server is looping.
MAX_SPEECH_S: Final = 600.0
# Nobody says so much in a turn.
MAX_TRANSCRIPT_CHARS: Final = 100_000
# At the start nobody waits long for a server that may come later.
DESCRIBE_S: Final = 3.0
# Ten minutes of sound in the smallest pieces that servers send; one that sends more events sends nothing.
MAX_EVENTS: Final = 100_000
_SHOWN_ERROR_CHARS: Final = 300
# The services of the protocol, in the words of people where they have some.
_SERVICES: Final[Mapping[str, str]] = MappingProxyType(
    {"asr": "speech to text", "tts": "text to speech"}
    | {each: each for each in ("handle", "intent", "mic", "snd", "wake")}
)


class OtherServiceError(ModelError):
    """A server has something, but not what it was asked for. ``has`` says what."""

    def __init__(self, name: str, has: str) -> None:
        super().__init__("model_error", f"The {name} has {has}.")
        self.has = has


@dataclass(frozen=True, slots=True)
class Description:
    """What a server says it has: the models or voices that are installed, each with its languages."""

    languages: Mapping[str, tuple[str, ...]]

    def spelling(self, language: str) -> str | None:
        """Return what the server calls a language, None when it does not know it in any of its regions.

        The region that was asked for, else none, else the first. A server that names no languages may know all.
        """
        known = [each for languages in self.languages.values() for each in languages]
        if not known:
            return language
        for wanted in (_folded(language), _primary(language)):
            if found := next((each for each in known if _folded(each) == wanted), None):
                return found
        return next((each for each in known if _primary(each) == _primary(language)), None)


class WyomingServer:
    """One server: where it is, how long it may be silent, and what it says it has."""

    def __init__(self, name: str, host: str, port: int, timeout_s: float) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.timeout_s = timeout_s
        self.description: Description | None = None
        self._is_stale = False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{WYOMING}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """Open a connection for one request. Raises ModelError."""
        try:
            async with asyncio.timeout(self.timeout_s):
                reader, writer = await asyncio.open_connection(self.host, self.port, limit=MAX_HEAD_BYTES)
        except (OSError, TimeoutError) as failure:
            self.forget()
            raise ModelError("model_unavailable", f"The {self.name} cannot be reached.") from failure
        try:
            yield Connection(self, reader, writer)
        except ModelError:
            self.forget()
            raise
        finally:
            writer.transport.abort()  # what is still under way is for nobody

    async def describe(self, service: str) -> Description:
        """Return what it has of a service, ``asr`` or ``tts``; asked once, while all goes well. Raises ModelError.

        A server that says nothing of any service may have it.
        """
        known = self.description
        if known is None or self._is_stale:
            async with self.connect() as connection:
                await connection.send(Event("describe"))
                event = await connection.receive("info")
            has = [each for each in _SERVICES if isinstance(event.data.get(each), list) and event.data[each]]
            if has and service not in has:
                others = " and ".join(map(_SERVICES.__getitem__, has))
                raise OtherServiceError(self.name, f"{others}, no {_SERVICES[service]}")
            self.description = known = _description(event.data.get(service))
            self._is_stale = False
        return known

    def forget(self) -> None:
        """Ask it again what it has: it may have been started anew, with other models."""
        self._is_stale = True


class Connection:
    """A connection for one request; every failure is a ModelError in words."""

    def __init__(self, server: WyomingServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._events = 0
        self._until: float | None = None

    async def send(self, *events: Event) -> None:
        """Send events."""
        try:
            async with asyncio.timeout(self._server.timeout_s):
                for event in events:
                    self._writer.write(encode(event))
                    await self._writer.drain()
        except TimeoutError:
            raise self._too_late() from None
        except OSError as failure:
            raise self._broke() from failure

    async def receive(self, *types: str) -> Event:
        """Return the next event of these types, passing over others; one that says ``error`` is raised.

        Other events are signs of life and no answer: they do not prolong the time there is, nor does an event of these
        types before ``renew``.
        """
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + self._server.timeout_s
        try:
            async with asyncio.timeout_at(self._until):
                while (event := await self._next()).type not in types:
                    pass
        except TimeoutError:
            raise self._too_late() from None
        except OSError as failure:
            raise self._broke() from failure
        except WyomingError as broken:
            raise failed(self._server.name, broken) from broken
        return event

    def renew(self) -> None:
        """Give the server its whole time again, from when it is next listened to: it has got on with its answer."""
        self._until = None

    async def _next(self) -> Event:
        event = await read_event(self._reader)
        self._events += 1
        if self._events > MAX_EVENTS:
            raise ModelError("model_error", f"The {self._server.name} sends events without end.")
        if event is None:
            raise ModelError("model_error", f"The {self._server.name} broke off in the middle of its answer.")
        if event.type == "error":
            text = " ".join(str(event.data.get("text", ""))[:MAX_HEAD_BYTES].split())
            shown = "".join(char for char in text if char.isprintable())[:_SHOWN_ERROR_CHARS] or "no reason given"
            raise ModelError("model_error", f"The {self._server.name} failed: {shown}")
        return event

    def _too_late(self) -> ModelError:
        return ModelError(
            "model_timeout", f"The {self._server.name} did not answer within {self._server.timeout_s:g} s."
        )

    def _broke(self) -> ModelError:
        return ModelError("model_error", f"The connection to the {self._server.name} broke.")


class _Part:
    """What the ear and the voice have in common."""

    _service: ClassVar[str]
    # What to do about a server of another kind.
    _mend: ClassVar[str]

    def __init__(self, server: WyomingServer, log: FactLog | None = None) -> None:
        self._server = server
        self._log = log or FactLog("models")

    @property
    def name(self) -> str:
        """Where it is."""
        return self._server.url

    async def start(self) -> None:
        """Ask it what it has; a server that is not there yet is asked again with the first request.

        Raises ConfigError for one that has something else.
        """
        try:
            async with asyncio.timeout(DESCRIBE_S):
                await self._server.describe(self._service)
        except OtherServiceError as other:
            raise ConfigError("url", f"{self.name} has {other.has}", self._mend) from None
        except (ModelError, TimeoutError) as failure:
            why = failure.message if isinstance(failure, ModelError) else f"no answer within {DESCRIBE_S:g} s"
            self._log.warning("a speech server does not answer", server=self._server.url, why=why)

    def report(self) -> dict[str, Any]:
        """Say what it has, once that is known."""
        known = self._server.description
        if known is None:
            return {}
        languages = sorted({each for languages in known.languages.values() for each in languages})
        return {"models": len(known.languages), "languages": languages[:100]}


class WyomingEar(_Part):
    """Speech to text. ``model`` is one of the server's, ``language`` what is spoken when a session does not say."""

    _service = "asr"
    _mend = "name a server that hears, such as wyoming-faster-whisper"

    def __init__(
        self, server: WyomingServer, model: str | None = None, language: str | None = None, log: FactLog | None = None
    ) -> None:
        super().__init__(server, log)
        self._model = model
        self._language = language

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller, as they come where the server streams them. Raises ModelError."""
        given = (wanted.language if wanted is not None else None) or self._language
        language = (await self._server.describe(self._service)).spelling(given) if given else None
        if given and not language:
            self._server.forget()
            raise ModelError("unsupported_language", f"The {self._server.name} does not hear '{given}'.")
        request: dict[str, Any] = {"name": self._model, "language": language}
        if wanted is not None and wanted.keywords:
            request["transcript_terms"] = list(wanted.keywords)
        sound = _converted(speech) if speech.seconds < _LONG_S else await asyncio.to_thread(_converted, speech)
        sound_format = {"rate": HEARING_HZ, "width": 2, "channels": 1, "timestamp": 0}
        async with self._server.connect() as connection:
            await connection.send(
                Event("transcribe", {name: value for name, value in request.items() if value}),
                Event("audio-start", sound_format),
                *(
                    Event("audio-chunk", sound_format, sound[start : start + _CHUNK_BYTES])
                    for start in range(0, len(sound), _CHUNK_BYTES)
                ),
                Event("audio-stop", {"timestamp": len(sound) // 2 * 1000 // HEARING_HZ}),
            )
            async with aclosing(cast("Any", self._words(connection))) as pieces:
                async for words in pieces:
                    yield words

    async def _words(self, connection: Connection) -> AsyncIterator[Words]:
        said, language = "", ""
        awaited = ("transcript-start", "transcript-chunk", "transcript", "transcript-stop")
        while (event := await connection.receive(*awaited)).type != "transcript-stop":
            language = _text(event, "language") or language
            text = _text(event, "text")
            if event.type == "transcript":
                # The whole of it; of what was streamed only what is new.
                text = text.lstrip()  # as of the first piece: both are the same words
                new = text.strip() if not said.strip() else text[len(said) :] if text.startswith(said) else ""
                if new or (language and not said):
                    yield Words(new, language=_primary(language))
                return
            if len(said) + len(text) > MAX_TRANSCRIPT_CHARS:
                raise ModelError("transcription_error", f"The {self._server.name} sent endless words.")
            if not said:
                text = text.lstrip()
            if text:
                said += text
                yield Words(text, language=_primary(language))
                connection.renew()


class WyomingVoice(_Part):
    """Text to speech. ``voice`` is one of the server's; else the session's, where the server has it, else its own."""

    _service = "tts"
    _mend = "name a server that speaks, such as wyoming-piper"

    def __init__(
        self,
        server: WyomingServer,
        voice: str | None = None,
        speaker: str | None = None,
        language: str | None = None,
        log: FactLog | None = None,
    ) -> None:
        super().__init__(server, log)
        self._voice = voice
        self._speaker = speaker
        self._language = language

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech as it comes in; the protocol knows no speed. Raises ModelError."""
        del speed
        if not any(char.isalnum() for char in text):
            return  # servers do not answer to nothing
        request: dict[str, Any] = {"text": text}
        if wanted := await self._wanted(voice.id if isinstance(voice, CustomVoice) else voice):
            request["voice"] = wanted
        spoken_s, waiting, rate_hz = 0.0, b"", 0
        async with self._server.connect() as connection:
            await connection.send(Event("synthesize", request))
            while (event := await connection.receive("audio-chunk", "audio-stop")).type != "audio-stop":
                if not event.payload:
                    continue
                connection.renew()
                pcm, chunk_hz = _samples(event, self._server.name)
                if waiting and (chunk_hz != rate_hz or len(waiting) >= _SPEECH_CHUNK_BYTES):
                    yield Sound(waiting, rate_hz)
                    waiting = b""
                rate_hz, waiting = chunk_hz, waiting + pcm
                spoken_s += len(pcm) / 2 / chunk_hz
                if spoken_s > MAX_SPEECH_S:
                    raise ModelError("model_error", f"The {self._server.name} speaks without end.")
        if waiting:
            yield Sound(waiting, rate_hz)

    async def _wanted(self, voice: str) -> dict[str, str]:
        """Return the voice to ask for, in the words of the protocol; nothing is the server's own choice."""
        if self._voice is not None:
            return {"name": self._voice} | ({"speaker": self._speaker} if self._speaker else {})
        known = await self._server.describe(self._service)
        if voice in known.languages:
            return {"name": voice}
        return {"language": known.spelling(self._language) or self._language} if self._language else {}


def _converted(speech: Speech) -> bytes:
    """Return speech at the rate that recognisers take."""
    convert = resample if is_convertible(speech.rate_hz) else resample_whole
    return to_bytes(convert(from_bytes(speech.pcm), speech.rate_hz, HEARING_HZ))


def _samples(event: Event, name: str) -> tuple[bytes, int]:
    """Return the sound of an event as 16-bit mono samples, with their rate in Hz. Raises ModelError."""
    rate_hz, width, channels = (event.data.get(key) for key in ("rate", "width", "channels"))
    if not isinstance(rate_hz, int) or not is_convertible(rate_hz) or width != 2 or channels not in (1, 2):
        shown = ", ".join(f"{key} {str(event.data.get(key))[:20]!r}" for key in ("rate", "width", "channels"))
        raise ModelError("model_error", f"The {name} sent sound that cannot be played: {shown}.")
    pcm = event.payload
    if len(pcm) % (2 * channels):
        raise ModelError("model_error", f"The {name} sent half a sample.")
    if channels == 2:
        pcm = to_bytes(saturate(from_bytes(pcm).reshape(-1, 2).astype(np.float64).mean(axis=1)))
    return pcm, rate_hz


def _description(programs: object) -> Description:
    """Read what matters of an ``info``; what makes no sense is passed over."""
    found: dict[str, tuple[str, ...]] = {}
    for program in programs if isinstance(programs, list) else []:
        models = (program.get("models") or program.get("voices")) if isinstance(program, dict) else None
        for model in models if isinstance(models, list) else []:
            if isinstance(model, dict) and isinstance(model.get("name"), str) and model.get("installed", True):
                languages = model.get("languages")
                known = languages if isinstance(languages, list) else []
                found[model["name"]] = tuple(each for each in known if isinstance(each, str))
    return Description(found)


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return value if isinstance(value, str) else ""


def _folded(language: str) -> str:
    """Return a language as it can be compared: ``en-us`` for ``en-US`` and ``en_US``."""
    return language.replace("_", "-").lower()


def _primary(language: str) -> str:
    """Return a language without its region: ``en`` for ``en-US`` and ``en_GB``."""
    return _folded(language).partition("-")[0]
