"""Which backend the settings ask for. A model that is missing refuses to start, with the line that mends it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from offhook.errors import ConfigError
from offhook.model import builtin
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.fallback import PATIENCE_S, Order, Seat
from offhook.model.interface import Backend, LanguageModel, SpeechToText, TextToSpeech
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.gguf import file
from offhook.model.local.gguf.brain import GgufBrain, GgufOptions
from offhook.model.local.voice import VoiceOptions, local_voice
from offhook.model.local.voices import assets
from offhook.model.local.whisper import folder
from offhook.model.ordered import OrderedEar, OrderedMind, OrderedVoice
from offhook.model.plugin import make
from offhook.model.relay import RelayBackend, Reserve, UpstreamOptions
from offhook.model.scripted import ScriptedBackend, ScriptedEar, ScriptedVoice
from offhook.model.settings import BY_PARTS, EAR_MODEL, WYOMING, BackendTable, Role


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

    ``ear`` and ``speaker`` are of the local models. ``apology`` is said when a model has failed. ``orders`` names the
    backends of a role, the first that works takes a turn; ``tables`` says what they are made of.
    With a ``relay`` none of these counts.
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
    orders: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    tables: Mapping[str, BackendTable] = field(default_factory=dict)


def choose_backend(options: ModelOptions) -> Backend:
    """Return the backend that the settings ask for; nothing is loaded yet. Raises ConfigError.

    What is asked for by name, and an endpoint, take the place of the local part. Without one for the language model,
    and without a GGUF file, the local models have the demo brain, and whoever has no local models has the scripted
    model.
    """
    whole = options.orders.get("backend", ())
    if options.relay is not None:
        return _relay_with_reserve(RelayBackend(options.relay), options, whole[1:])
    if whole and whole[0] != BY_PARTS:
        backend: Backend = make("backend", _table(options, whole[0]))
        if isinstance(backend, RelayBackend):
            return _relay_with_reserve(backend, options, whole[1:])
        if len(whole) > 1:
            why = f"'{whole[1]}' cannot stand in for '{whole[0]}'"
            raise ConfigError("--backend", why, "only a relay can have one that stands in")
        return backend
    if len(whole) > 1:
        mend = f"a relay comes first: --backend {whole[1]} --backend {BY_PARTS}"
        raise ConfigError("--backend", f"'{whole[1]}' cannot stand in for the three parts", mend)
    return _three_parts(options)


def _relay_with_reserve(relay: RelayBackend, options: ModelOptions, others: Sequence[str]) -> RelayBackend:
    """Give a relay what stands in for it, or else the voice that is there to apologize."""
    if len(others) > 1:
        raise ConfigError("--backend", "names more than one that stands in", "leave out all but one")
    if others:
        name = others[0]
        stand_in: Backend = _three_parts(options) if name == BY_PARTS else make("backend", _table(options, name))
        if isinstance(stand_in, RelayBackend):
            raise ConfigError("--backend", f"'{name}' is a relay too", f"let {BY_PARTS} stand in: models on this side")
        relay.reserve = Reserve(stand_in, name=name)
    elif options.apology and options.which != "scripted" and assets.is_installed():
        # Nobody asked for the local voice; it is there, so no failure has to be a silence.
        seat: Seat[TextToSpeech] = Seat("local", local_voice(options.speaker), PATIENCE_S["tts"], is_reserve=True)
        relay.reserve = Reserve(voice=OrderedVoice(Order("tts", [seat], time.monotonic)), apology=options.apology)
    return relay


def _three_parts(options: ModelOptions) -> Backend:
    """Return a model that is made of three, or the scripted one."""
    missing = _missing(options)
    if options.which == "local" and missing:
        raise ConfigError("--models", f"local speech models are not installed: {missing[0].what}", missing[0].mend)
    local = options.which == "local" or (options.which == "auto" and _needs_local(options) and not missing)
    if not _is_given(options, "llm") and not local:
        if _is_given(options, "stt") or _is_given(options, "tts"):
            raise ConfigError("--llm-url", "is missing: something has to think", "give an OpenAI-compatible API")
        return ScriptedBackend()
    minds: list[Seat[LanguageModel]] = _named(options, "llm") or [_mind(options)]
    ears: list[Seat[SpeechToText]] = _named(options, "stt") or [_ear(options)]
    voices: list[Seat[TextToSpeech]] = _named(options, "tts") or _voices(options)
    apology = "" if isinstance(voices[0].part, ScriptedVoice) else options.apology
    mind = OrderedMind(Order("llm", minds, time.monotonic))
    ear = OrderedEar(Order("stt", ears, time.monotonic))
    voice = OrderedVoice(Order("tts", voices, time.monotonic))
    return Cascade(mind.name, ear, mind, voice, apology)


# -- by name


def _table(options: ModelOptions, name: str) -> BackendTable:
    """Return the table of a backend; a plugin that needs none goes by its own name."""
    return options.tables.get(name) or BackendTable(name, name)


def _named(options: ModelOptions, role: Role) -> list[Seat[Any]]:
    """Return the backends that were asked for by name, in their order."""
    seats = []
    for name in options.orders.get(role, ()):
        table = _table(options, name)
        part = make(role, table, _defaults(options, role, table.plugin))
        where = table.where or f"backends.{name}"
        seats.append(Seat(name, part, table.patience_s or PATIENCE_S[role], where=where))
    return seats


def _defaults(options: ModelOptions, role: Role, plugin: str) -> dict[str, Any]:
    """Return what other settings say about our own backends."""
    match role, plugin:
        case "llm", "chat":
            return {"names": options.names}
        case "stt", "local":
            return {"whisper": options.ear.whisper, "workers": options.ear.workers}
        case "tts", "local":
            return {"voices": options.speaker.folder}
        case "llm", "gguf" if options.gguf is not None:
            gguf = options.gguf
            return {"path": gguf.path, "threads": gguf.threads, "context_tokens": gguf.context_tokens}
        case _:
            return {}


# -- by the flags of our own


def _seat(name: str, role: Role, part: Any, where: str = "") -> Seat[Any]:
    return Seat(name, part, PATIENCE_S[role], where=where)


@dataclass(frozen=True, slots=True)
class _Missing:
    """A package that is not installed."""

    setting: str
    what: str
    mend: str


def _is_given(options: ModelOptions, role: Role) -> bool:
    """Whether the settings say who plays a part."""
    endpoints = {"stt": options.stt, "llm": options.llm or options.gguf, "tts": options.tts}
    return bool(options.orders.get(role)) or endpoints[role] is not None


def _needs_local(options: ModelOptions) -> bool:
    return not (_is_given(options, "stt") and _is_given(options, "tts"))


def _missing(options: ModelOptions) -> list[_Missing]:
    """Return what local models would still need for the parts that nobody else takes."""
    missing = []
    whisper = options.ear.whisper
    if not _is_given(options, "stt") and not folder.is_installed(whisper):
        missing.append(_Missing("--stt-url", "something has to hear the caller", folder.how_to_install(whisper)))
    if not _is_given(options, "tts") and not assets.is_installed():
        missing.append(_Missing("--tts-url", "something has to speak", assets.INSTALL))
    return missing


def _mind(options: ModelOptions) -> Seat[LanguageModel]:
    llm = options.llm
    if llm is not None:
        mind = builtin.chat(
            url=llm.url,
            model=llm.model,
            key=llm.key,
            seconds=llm.silence_s,
            sees=llm.sees,
            reasons=llm.reasons,
            names=options.names,
        )
        return _seat("chat", "llm", mind)
    if options.gguf is not None:
        file.check(options.gguf.path)
        return _seat("gguf", "llm", GgufBrain(options.gguf))
    return _seat("demo", "llm", DemoBrain())


def _ear(options: ModelOptions) -> Seat[SpeechToText]:
    stt = options.stt
    if stt is not None and _is_wyoming(stt):
        model = None if stt.model == EAR_MODEL else stt.model
        ear = builtin.wyoming_ear(url=stt.url, model=model, seconds=stt.silence_s)
        return _seat("wyoming", "stt", ear, "--stt-url")
    if stt is not None:
        ear = builtin.transcriptions(url=stt.url, model=stt.model, key=stt.key, seconds=stt.silence_s)
        return _seat("transcriptions", "stt", ear)
    if options.which == "scripted":
        return _seat("scripted", "stt", ScriptedEar())
    _refuse(options, "--stt-url")
    return _seat("local", "stt", local_ear(options.ear))


def _voices(options: ModelOptions) -> list[Seat[TextToSpeech]]:
    tts = options.tts
    if tts is not None:
        first = _speech(options, tts)
        if options.which == "scripted" or not assets.is_installed():
            return [first]
        # Nobody asked for the local voice; it is there, so no answer has to stay unspoken.
        return [first, Seat("local", local_voice(options.speaker), PATIENCE_S["tts"], is_reserve=True)]
    if options.which == "scripted":
        return [_seat("scripted", "tts", ScriptedVoice())]
    _refuse(options, "--tts-url")
    return [_seat("local", "tts", local_voice(options.speaker))]


def _speech(options: ModelOptions, tts: EndpointOptions) -> Seat[TextToSpeech]:
    if _is_wyoming(tts):
        voice = builtin.wyoming_voice(url=tts.url, voice=options.voice, seconds=tts.silence_s)
        return _seat("wyoming", "tts", voice, "--tts-url")
    try:
        voice = builtin.speech(
            url=tts.url,
            model=tts.model,
            key=tts.key,
            voice=options.voice,
            rate_hz=options.rate_hz,
            seconds=tts.silence_s,
        )
    except ConfigError as problem:
        raise ConfigError("--tts-rate", problem.message, problem.mend) from None
    return _seat("speech", "tts", voice)


def _is_wyoming(options: EndpointOptions) -> bool:
    return options.url.startswith(f"{WYOMING}://")


def _refuse(options: ModelOptions, setting: str) -> None:
    for part in _missing(options):
        if part.setting == setting:
            mend = f"give an OpenAI-compatible API, or {part.mend}, or take --models scripted"
            raise ConfigError(setting, f"is missing: {part.what}", mend)
