"""Every setting, with its default, how it is read, and what it is in words."""
# ruff: noqa: RUF009 -- the defaults of the settings are frozen values

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from offhook.config.value import (
    Address,
    Filling,
    integer_between,
    number_between,
    one_of,
    parse_address,
    parse_answer,
    parse_base_url,
    parse_filling,
    parse_hosts,
    parse_jitter_ms,
    parse_networks,
    parse_outside_address,
    parse_path,
    parse_ports,
    parse_secrets,
    parse_socket_url,
    parse_switch,
    parse_text,
    parse_text_or_none,
    parse_texts,
    parse_url,
    parse_user_part,
)
from offhook.host.answer import Answer, AnswerByWebhook
from offhook.host.cost import Prices
from offhook.model.settings import EAR_MODEL, BackendTable, Role, backend_names, speech_url
from offhook.session.relay.dialect import DialectName, TurnFinder
from offhook.telemetry.log import LEVELS
from offhook.wire import limits

T = TypeVar("T")

DEFAULT_PROJECT: Final = "proj_default"


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """One tenant: its API keys, where its webhooks go, and the secrets that sign them (all of them do)."""

    id: str
    api_keys: tuple[str, ...] = ()
    webhook_url: str | None = None
    webhook_secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ProjectConfig({self.id!r})"


def _setting(default: T, parse: Callable[[str, Any], Any], what: str, *, show: str = "", repeat: bool = False) -> T:
    metadata = {"parse": parse, "help": what, "show": show, "repeat": repeat}
    made: T = field(default=default, metadata=metadata)
    return made


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of ``offhook serve``, checked."""

    http: Address = _setting(
        Address("127.0.0.1", 8080), parse_address, "where the API listens; port 0 is any", show="HOST:PORT"
    )
    tls_cert: Path | None = _setting(
        None, parse_path, "a PEM certificate with its chain: the same port speaks HTTPS and wss too", show="FILE"
    )
    tls_key: Path | None = _setting(None, parse_path, "its key", show="FILE")
    tls_self_signed: bool = _setting(
        False, parse_switch, "the same with a certificate made for this machine; the start says how to trust it"
    )
    sip: Address = _setting(
        Address("127.0.0.1", 5060), parse_address, "where SIP listens, on UDP and TCP; port 0 is any", show="HOST:PORT"
    )
    rtp_ports: tuple[int, int] = _setting((10000, 29999), parse_ports, "ports for audio", show="A-B")
    public_address: str | None = _setting(
        None,
        parse_outside_address,
        "the address that others reach this machine at, when it stands behind a NAT; HOST:PORT when SIP's port differs",
        show="HOST",
    )
    allow: tuple[str, ...] = _setting(
        (), parse_networks, "networks that may send SIP; none given: all may", show="CIDR", repeat=True
    )
    api_key: tuple[str, ...] = _setting((), parse_texts, "a key of the API", show="KEY", repeat=True)
    project: str = _setting(DEFAULT_PROJECT, parse_user_part, "the id of the one project", show="ID")
    webhook_url: str | None = _setting(None, parse_url, "where realtime.call.incoming is sent", show="URL")
    webhook_secret: tuple[str, ...] = _setting(
        (), parse_secrets, "signs the webhooks; several sign side by side", show="SECRET", repeat=True
    )
    webhook_seconds: float = _setting(5.0, number_between(0.1, 60), "how long an endpoint may take to answer", show="S")
    answer: Answer = _setting(
        AnswerByWebhook(), parse_answer, "who decides: webhook, always:SESSION.json, reject:STATUS or echo", show="HOW"
    )
    ring_seconds: float = _setting(30.0, number_between(0.1, 600), "how long a call rings", show="S")
    ring_status: int = _setting(
        480, integer_between(300, 699), "the SIP status when nobody accepted in time", show="STATUS"
    )
    session_seconds: float = _setting(
        3600.0, number_between(0, 864000), "how long a call may last; 0 is for ever", show="S"
    )
    drain_seconds: float = _setting(30.0, number_between(0, 86400), "how long calls may go on after SIGTERM", show="S")
    max_calls: int = _setting(
        0, integer_between(0, 10000), "calls at a time; 0 lets the server find its limit", show="N"
    )
    models: Literal["auto", "scripted", "local"] = _setting(
        "auto",
        one_of("auto", "scripted", "local"),
        "which models hear, think and speak; auto is local when installed, else scripted",
        show="WHICH",
    )
    stt: tuple[str, ...] = _setting(
        (),
        backend_names,
        "a backend that hears, by its name (docs/backends.md); the next one named stands in for it",
        show="NAME",
        repeat=True,
    )
    llm: tuple[str, ...] = _setting((), backend_names, "one that thinks", show="NAME", repeat=True)
    tts: tuple[str, ...] = _setting((), backend_names, "one that speaks", show="NAME", repeat=True)
    backend: tuple[str, ...] = _setting(
        (), backend_names, "one that does all three; after a relay, what stands in for it", show="NAME", repeat=True
    )
    llm_url: str | None = _setting(None, parse_base_url, "an OpenAI-compatible API that thinks", show="URL")
    llm_model: str = _setting("default", parse_text, "what that API calls the model", show="NAME")
    llm_key: str | None = _setting(None, parse_text, "its key", show="KEY")
    llm_sees: bool = _setting(False, parse_switch, "give it the images of a conversation: its model can see")
    llm_reasons: bool = _setting(False, parse_switch, "tell it the reasoning.effort of a session: its model can reason")
    llm_seconds: float = _setting(20.0, number_between(0.1, 600), "how long it may be silent", show="S")
    llm_gguf: Path | None = _setting(
        None, parse_path, "a GGUF file that thinks, in a process of its own (offhook[llm])", show="FILE"
    )
    llm_threads: int = _setting(0, integer_between(0, 256), "cores for it; 0 is all but one", show="N")
    stt_url: str | None = _setting(
        None, speech_url, "an OpenAI-compatible API that transcribes, or wyoming://HOST:PORT", show="URL"
    )
    stt_model: str = _setting(EAR_MODEL, parse_text, "what that API calls the model", show="NAME")
    stt_key: str | None = _setting(None, parse_text, "its key", show="KEY")
    stt_workers: int = _setting(
        0, integer_between(0, 64), "processes that hear, with local models; 0 finds a number", show="N"
    )
    whisper: str = _setting(
        "tiny.en",
        parse_text,
        "what they hear with: tiny.en, base (99 languages), or a CTranslate2 model's folder",
        show="MODEL",
    )
    voices: Path | None = _setting(
        None, parse_path, "a folder of further voice files for local models (docs/models.md)", show="DIR"
    )
    apology: str = _setting(
        "I am sorry, something went wrong here. Could you say that again, please?",
        parse_text_or_none,
        "what is said when a model has failed; empty: nothing",
        show="TEXT",
    )
    greeting: str = _setting(
        "",
        parse_text_or_none,
        "what the agent says first, word for word; 'on' lets the model begin; empty: the caller begins",
        show="TEXT",
    )
    while_waiting: Filling | None = _setting(
        None,
        parse_filling,
        "what a caller hears while a function or a slow model works: tone, clip:NAME or say:TEXT",
        show="WHAT",
    )
    waiting_ms: int = _setting(
        1500,
        integer_between(limits.MIN_WAITING_MS, limits.MAX_WAITING_MS),
        "after how much silence that begins",
        show="MS",
    )
    clips: Path | None = _setting(None, parse_path, "a folder of WAV files, the clips of while-waiting", show="DIR")
    tts_url: str | None = _setting(
        None, speech_url, "an OpenAI-compatible API that speaks, or wyoming://HOST:PORT", show="URL"
    )
    tts_model: str = _setting("tts-1", parse_text, "what that API calls the model", show="NAME")
    tts_voice: str | None = _setting(None, parse_text, "its voice; else the session's voice is asked for", show="NAME")
    tts_rate: int = _setting(
        24000,
        integer_between(8000, 192_000),
        "samples per second of its pcm format: any from 8000 to 192000 in a simple ratio to 8000, as 22050 is",
        show="HZ",
    )
    tts_key: str | None = _setting(None, parse_text, "its key", show="KEY")
    context_tokens: int = _setting(
        32_768,
        integer_between(1_024, 100_000_000),
        "how many tokens the language model can read and write together",
        show="N",
    )
    output_tokens: int = _setting(
        4_096, integer_between(16, 1_000_000), "how many of these it may write in one response", show="N"
    )
    relay_url: str | None = _setting(
        None, parse_socket_url, "a realtime WebSocket that is the model of whole sessions (docs/models.md)", show="URL"
    )
    relay_dialect: DialectName = _setting(
        "openai",
        one_of(*get_args(DialectName)),
        "what it speaks: openai, azure, xai, vllm-omni, or offhook",
        show="NAME",
    )
    relay_model: str = _setting(
        "", parse_text_or_none, "what it calls the model; empty: what the session does", show="NAME"
    )
    relay_key: str | None = _setting(None, parse_text, "its key", show="KEY")
    relay_seconds: float = _setting(20.0, number_between(0.1, 600), "how long it may be silent", show="S")
    relay_turns: TurnFinder = _setting(
        "here", one_of(*get_args(TurnFinder)), "who finds the caller's turns: here, or upstream", show="NAME"
    )
    default_model: str = _setting("gpt-realtime", parse_text, "the model of a session that names none", show="NAME")
    voice: str = _setting("marin", parse_text, "the voice of a session that names none", show="NAME")
    instructions: str | None = _setting(None, parse_text, "the instructions of a session that gives none", show="TEXT")
    mcp_allow: tuple[str, ...] = _setting(
        (), parse_hosts, "a host whose MCP server may have a private address", show="HOST", repeat=True
    )
    mcp_seconds: float = _setting(30.0, number_between(0.1, 600), "how long an MCP server may take to answer", show="S")
    prompts: Path | None = _setting(
        None, parse_path, "a folder of stored prompts, for sessions that name one", show="DIR"
    )
    strict_models: bool = _setting(False, parse_switch, "refuse models that the [model_names] table does not name")
    vad_onset_ms: int = _setting(60, integer_between(10, 1000), "how much speech begins a turn", show="MS")
    turn_detector: str | None = _setting(
        None,
        parse_text,
        "judges by sound, beside the words, whether a turn is over (docs/models.md)",
        show="NAME[:PATH]",
    )
    jitter_ms: int = _setting(40, parse_jitter_ms, "how deep the jitter buffer starts, 20 to 120; 0 is off", show="MS")
    media_seconds: float = _setting(
        30.0, number_between(0, 3600), "a caller who sends nothing for so long is gone; 0: never", show="S"
    )
    currency: str = _setting("USD", parse_text, "what the prices of backends are in (docs/backends.md)", show="CODE")
    otlp_url: str | None = _setting(None, parse_base_url, "an OpenTelemetry collector (OTLP over HTTP)", show="URL")
    store: Path | None = _setting(None, parse_path, "a folder for call records and journals", show="DIR")
    log_level: str = _setting("info", one_of(*LEVELS), "how much is logged: debug, info, warning, error", show="LEVEL")
    log_pii: bool = _setting(False, parse_switch, "log numbers and what was said too")
    ready_json: bool = _setting(False, parse_switch, "print one line of JSON when calls can be taken")
    projects: tuple[ProjectConfig, ...] = ()
    model_names: Mapping[str, str] = field(default_factory=dict)
    mcp_connectors: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, BackendTable] = field(default_factory=dict)
    prices: Prices = field(default_factory=Prices)

    @property
    def orders(self) -> dict[Role, tuple[str, ...]]:
        """The backends that are asked for by name, for each role."""
        return {
            "stt": self.stt,
            "llm": self.llm,
            "tts": self.tts,
            "backend": self.backend if self.relay_url is None else ("relay", *self.backend),
        }

    def __repr__(self) -> str:
        return f"Config(http={self.http}, sip={self.sip})"


SETTINGS = tuple(each for each in fields(Config) if each.metadata)
