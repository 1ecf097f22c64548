"""Our own backends as plugins: each is made of the members of its table, as those of other packages are.

What the flags of the command say (``--llm-url`` and the like) comes here as well, as the members of such a table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta

from offhook.audio.resample import RATES_HZ, is_convertible
from offhook.errors import ConfigError
from offhook.model.demo_brain import DemoBrain
from offhook.model.http import ModelServer
from offhook.model.interface import Backend, LanguageModel, SpeechToText, TextToSpeech
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.gguf import file
from offhook.model.local.gguf.brain import CONTEXT_TOKENS, GgufBrain, GgufOptions
from offhook.model.local.voice import VoiceOptions, local_voice
from offhook.model.local.voices import assets
from offhook.model.local.whisper import folder
from offhook.model.openai_audio import SpokenOverHttp, Transcriptions
from offhook.model.openai_http import ChatCompletions, ChatOptions
from offhook.model.plugin import ModelPlugin
from offhook.model.relay import RelayBackend, UpstreamOptions
from offhook.model.scripted import ScriptedBackend, ScriptedEar, ScriptedVoice
from offhook.model.settings import EAR_MODEL, wyoming_address
from offhook.model.wyoming import WyomingEar, WyomingServer, WyomingVoice
from offhook.session.relay.dialect import DialectName, TurnFinder
from offhook.wire.url import check_socket_url, check_url

Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=600)]
Workers: TypeAlias = Annotated[int, Meta(ge=0, le=64)]
SILENCE_S: Final = 20.0


def _server(name: str, url: str, key: str | None, seconds: float) -> ModelServer:
    return ModelServer(name, check_url("url", url).rstrip("/"), key, seconds)


def chat(
    *,
    url: str,
    model: str = "default",
    key: str | None = None,
    seconds: Seconds = SILENCE_S,
    sees: bool = False,
    reasons: bool = False,
    names: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None,
) -> LanguageModel:
    """A language model behind chat completions. ``extra``: members of every request, as they are."""
    options = ChatOptions(model, extra=extra or {}, names=names or {}, sees=sees, reasons=reasons)
    return ChatCompletions(_server("language model", url, key, seconds), options)


def transcriptions(
    *,
    url: str,
    model: str = EAR_MODEL,
    key: str | None = None,
    seconds: Seconds = SILENCE_S,
) -> SpeechToText:
    """Speech to text behind ``/audio/transcriptions``."""
    return Transcriptions(_server("speech recogniser", url, key, seconds), model)


def speech(
    *,
    url: str,
    model: str = "tts-1",
    key: str | None = None,
    voice: str | None = None,
    rate_hz: int = 24000,
    seconds: Seconds = SILENCE_S,
) -> TextToSpeech:
    """Text to speech behind ``/audio/speech``; ``rate_hz`` is that of its pcm format."""
    if not is_convertible(rate_hz):
        mend = f"it may be {', '.join(map(str, RATES_HZ))}, or another in a simple ratio to 8000"
        raise ConfigError("rate_hz", f"sound of {rate_hz} Hz cannot be played", mend)
    return SpokenOverHttp(_server("voice", url, key, seconds), model, voice, rate_hz)


def wyoming_ear(
    *, url: str, model: str | None = None, language: str | None = None, seconds: Seconds = SILENCE_S
) -> SpeechToText:
    """Speech to text of a Wyoming server."""
    return WyomingEar(WyomingServer("speech recogniser", *wyoming_address("url", url), seconds), model, language)


def wyoming_voice(
    *,
    url: str,
    voice: str | None = None,
    speaker: str | None = None,
    language: str | None = None,
    seconds: Seconds = SILENCE_S,
) -> TextToSpeech:
    """Text to speech of a Wyoming server."""
    return WyomingVoice(WyomingServer("voice", *wyoming_address("url", url), seconds), voice, speaker, language)


def whisper(*, whisper: str = "tiny.en", workers: Workers = 0) -> SpeechToText:
    """Speech to text on this machine."""
    if not folder.is_installed(whisper):
        raise ConfigError("whisper", f"{whisper} is not installed", folder.how_to_install(whisper))
    return local_ear(EarOptions(whisper, workers))


def installed_voice(*, voices: Path | None = None) -> TextToSpeech:
    """Text to speech on this machine. ``voices``: a folder of further ones."""
    if not assets.is_installed():
        raise ConfigError("voices", "the local voice is not installed", assets.INSTALL)
    return local_voice(VoiceOptions(voices))


def gguf(
    *,
    path: Path,
    threads: Annotated[int, Meta(ge=0, le=256)] = 0,
    context_tokens: Annotated[int, Meta(ge=1024)] = CONTEXT_TOKENS,
    seconds: Seconds = SILENCE_S,
) -> LanguageModel:
    """A language model in a file, on this machine."""
    file.check(path)
    return GgufBrain(GgufOptions(path, threads, context_tokens, seconds))


def relay(
    *,
    url: str,
    dialect: DialectName = "openai",
    model: str = "",
    key: str | None = None,
    seconds: Seconds = SILENCE_S,
    turns: TurnFinder = "here",
) -> Backend:
    """Whole sessions on a realtime WebSocket upstream. ``turns``: who finds those of the caller."""
    return RelayBackend(UpstreamOptions(check_socket_url("url", url), dialect, model, key, seconds, turns))


def scripted() -> Backend:
    """Tones, for tests."""
    return ScriptedBackend()


CHAT: Final = ModelPlugin(llm=chat)
TRANSCRIPTIONS: Final = ModelPlugin(stt=transcriptions)
SPEECH: Final = ModelPlugin(tts=speech)
WYOMING: Final = ModelPlugin(stt=wyoming_ear, tts=wyoming_voice)
LOCAL: Final = ModelPlugin(stt=whisper, tts=installed_voice)
GGUF: Final = ModelPlugin(llm=gguf)
DEMO: Final = ModelPlugin(llm=DemoBrain)
RELAY: Final = ModelPlugin(backend=relay)
SCRIPTED: Final = ModelPlugin(stt=ScriptedEar, tts=ScriptedVoice, backend=scripted)
