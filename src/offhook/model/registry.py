"""Which backend the settings ask for. A model that is missing refuses to start, with the line that mends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from offhook.audio.resample import RATES_HZ
from offhook.errors import ConfigError
from offhook.model.cascade import Cascade
from offhook.model.http import ModelServer
from offhook.model.interface import Backend, SpeechToText, TextToSpeech
from offhook.model.openai_http import ChatCompletions, ChatOptions, SpokenOverHttp, Transcriptions
from offhook.model.scripted import ScriptedBackend, ScriptedEar, ScriptedVoice


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """An OpenAI-compatible API and what it calls its model. ``silence_s``: how long it may say nothing."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    silence_s: float = 20.0


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which models hear, think and speak. ``voice`` and ``rate_hz`` are the speech endpoint's own."""

    which: Literal["auto", "scripted", "local"] = "auto"
    llm: EndpointOptions | None = None
    stt: EndpointOptions | None = None
    tts: EndpointOptions | None = None
    voice: str | None = None
    rate_hz: int = 24000
    names: dict[str, str] = field(default_factory=dict)


def choose_backend(options: ModelOptions) -> Backend:
    """Return the backend that the settings ask for; nothing is loaded yet. Raises ConfigError."""
    if options.which == "local":
        mend = "use --models scripted, or endpoints: --llm-url with --stt-url and --tts-url"
        raise ConfigError("--models", "local speech models are not installed", mend)
    if options.llm is None:
        if options.stt is not None or options.tts is not None:
            raise ConfigError("--llm-url", "is missing: something has to think", "give an OpenAI-compatible API")
        return ScriptedBackend()
    mind = ChatCompletions(_server("language model", options.llm), ChatOptions(options.llm.model, names=options.names))
    return Cascade(f"{options.llm.model} at {options.llm.url}", _ear(options), mind, _voice(options))


def _server(name: str, options: EndpointOptions) -> ModelServer:
    return ModelServer(name, options.url, options.key, options.silence_s)


def _ear(options: ModelOptions) -> SpeechToText:
    if options.stt is not None:
        return Transcriptions(_server("speech recogniser", options.stt), options.stt.model)
    if options.which == "scripted":
        return ScriptedEar()
    raise ConfigError("--stt-url", "is missing: something has to hear the caller", "or take --models scripted")


def _voice(options: ModelOptions) -> TextToSpeech:
    if options.tts is not None:
        if options.rate_hz not in RATES_HZ:
            mend = f"it may be {', '.join(map(str, RATES_HZ))}"
            raise ConfigError("--tts-rate", f"sound of {options.rate_hz} Hz cannot be played", mend)
        server = _server("voice", options.tts)
        return SpokenOverHttp(server, options.tts.model, options.voice, options.rate_hz)
    if options.which == "scripted":
        return ScriptedVoice()
    raise ConfigError("--tts-url", "is missing: something has to speak", "or take --models scripted")
