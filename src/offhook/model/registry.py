"""Which backend the settings ask for. A model that is missing refuses to start, with the line that mends it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from offhook.audio.resample import RATES_HZ
from offhook.errors import ConfigError
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.http import ModelServer
from offhook.model.interface import Backend, LanguageModel, SpeechToText, TextToSpeech
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.gguf import file
from offhook.model.local.gguf.brain import GgufBrain, GgufOptions
from offhook.model.local.voice import VoiceOptions, local_voice
from offhook.model.local.voices import assets
from offhook.model.local.whisper import folder
from offhook.model.openai_http import ChatCompletions, ChatOptions, SpokenOverHttp, Transcriptions
from offhook.model.relay import RelayBackend, UpstreamOptions
from offhook.model.reserve import ReservedVoice
from offhook.model.scripted import ScriptedBackend, ScriptedEar, ScriptedVoice


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """An OpenAI-compatible API and what it calls its model. ``silence_s``: how long it may say nothing.

    A language model may see images (``sees``) and be told how much to think (``reasons``).
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    silence_s: float = 20.0
    sees: bool = False
    reasons: bool = False


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which models hear, think and speak. ``voice`` and ``rate_hz`` are the speech endpoint's own.

    ``ear`` and ``speaker`` are of the local models. ``apology`` is said when a model has failed. With a ``relay`` no
    other counts.
    """

    which: Literal["auto", "scripted", "local"] = "auto"
    llm: EndpointOptions | None = None
    gguf: GgufOptions | None = None
    stt: EndpointOptions | None = None
    tts: EndpointOptions | None = None
    voice: str | None = None
    rate_hz: int = 24000
    names: dict[str, str] = field(default_factory=dict)
    ear: EarOptions = field(default_factory=EarOptions)
    speaker: VoiceOptions = field(default_factory=VoiceOptions)
    apology: str = ""
    relay: UpstreamOptions | None = None


def choose_backend(options: ModelOptions) -> Backend:
    """Return the backend that the settings ask for; nothing is loaded yet. Raises ConfigError.

    An endpoint always takes the place of the local part. Without one for the language model, and without a GGUF file,
    the local models have the demo brain, and whoever has no local models has the scripted model.
    """
    if options.relay is not None:
        return RelayBackend(options.relay)
    missing = _missing(options)
    if options.which == "local" and missing:
        raise ConfigError("--models", f"local speech models are not installed: {missing[0].what}", missing[0].mend)
    local = options.which == "local" or (options.which == "auto" and _needs_local(options) and not missing)
    if options.llm is None and options.gguf is None and not local:
        if options.stt is not None or options.tts is not None:
            raise ConfigError("--llm-url", "is missing: something has to think", "give an OpenAI-compatible API")
        return ScriptedBackend()
    mind = _mind(options)
    ear, voice = _ear(options), _voice(options)
    return Cascade(mind.name, ear, mind, voice, "" if isinstance(voice, ScriptedVoice) else options.apology)


@dataclass(frozen=True, slots=True)
class _Missing:
    """A package that is not installed."""

    setting: str
    what: str
    mend: str


def _needs_local(options: ModelOptions) -> bool:
    return options.stt is None or options.tts is None


def _missing(options: ModelOptions) -> list[_Missing]:
    """Return what local models would still need for the parts that no endpoint takes."""
    missing = []
    whisper = options.ear.whisper
    if options.stt is None and not folder.is_installed(whisper):
        missing.append(_Missing("--stt-url", "something has to hear the caller", folder.how_to_install(whisper)))
    if options.tts is None and not assets.is_installed():
        missing.append(_Missing("--tts-url", "something has to speak", assets.INSTALL))
    return missing


def _server(name: str, options: EndpointOptions) -> ModelServer:
    return ModelServer(name, options.url, options.key, options.silence_s)


def _mind(options: ModelOptions) -> LanguageModel:
    if options.llm is not None:
        return _chat(options.llm, options.names)
    if options.gguf is not None:
        file.check(options.gguf.path)
        return GgufBrain(options.gguf)
    return DemoBrain()


def _chat(llm: EndpointOptions, names: dict[str, str]) -> ChatCompletions:
    options = ChatOptions(llm.model, names=names, sees=llm.sees, reasons=llm.reasons)
    return ChatCompletions(_server("language model", llm), options)


def _ear(options: ModelOptions) -> SpeechToText:
    if options.stt is not None:
        return Transcriptions(_server("speech recogniser", options.stt), options.stt.model)
    if options.which == "scripted":
        return ScriptedEar()
    _refuse(options, "--stt-url")
    return local_ear(options.ear)


def _voice(options: ModelOptions) -> TextToSpeech:
    if options.tts is not None:
        if options.rate_hz not in RATES_HZ:
            mend = f"it may be {', '.join(map(str, RATES_HZ))}"
            raise ConfigError("--tts-rate", f"sound of {options.rate_hz} Hz cannot be played", mend)
        server = _server("voice", options.tts)
        spoken = SpokenOverHttp(server, options.tts.model, options.voice, options.rate_hz)
        if options.which == "scripted" or not assets.is_installed():
            return spoken
        return ReservedVoice(spoken, local_voice(options.speaker), time.monotonic)
    if options.which == "scripted":
        return ScriptedVoice()
    _refuse(options, "--tts-url")
    return local_voice(options.speaker)


def _refuse(options: ModelOptions, setting: str) -> None:
    for part in _missing(options):
        if part.setting == setting:
            mend = f"give an OpenAI-compatible API, or {part.mend}, or take --models scripted"
            raise ConfigError(setting, f"is missing: {part.what}", mend)
