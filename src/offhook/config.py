"""All settings of the server in one frozen tree.

A setting comes from its flag, else from the environment (``OFFHOOK_`` and its name), else from the TOML file, else it
has its default. What nobody knows is refused: a misspelt setting never passes for a default one.
"""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from offhook.errors import ApiProblem, ConfigError
from offhook.host.answer import Answer, AnswerAlways, AnswerByWebhook, AnswerEcho, AnswerReject
from offhook.host.cost import Prices, read_prices
from offhook.model.settings import (
    BUILT_IN,
    EAR_MODEL,
    PARTS,
    BackendTable,
    Role,
    backend_names,
    check_backends,
    check_name,
    read_backends,
    speech_url,
)
from offhook.net.address import parse_public_address
from offhook.session.relay.dialect import DialectName, TurnFinder, dialect_of
from offhook.session.truncation import input_limit
from offhook.telemetry.log import LEVELS
from offhook.wire import limits
from offhook.wire.decode import decode_session
from offhook.wire.own import Beep, PlayClip, Say
from offhook.wire.session import ConnectorId
from offhook.wire.signature import webhook_key
from offhook.wire.url import check_socket_url, check_url

T = TypeVar("T")

Filling = Say | Beep | PlayClip

ENV_PREFIX = "OFFHOOK_"
DEFAULT_PROJECT = "proj_default"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to bind; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """One tenant: its API keys, where its webhooks go, and the secrets that sign them (all of them do)."""

    id: str
    api_keys: tuple[str, ...] = ()
    webhook_url: str | None = None
    webhook_secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ProjectConfig({self.id!r})"


# -- reading one value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(key, "needs some text")
    return value


def _user_part(key: str, value: Any) -> str:
    """Return a project's id: what callers dial, the user part of a SIP URI (RFC 3261 25.1)."""
    text = _text(key, value)
    if not text.isascii() or not all(each.isalnum() or each in "-_.!~*'()&=+$,;?/" for each in text):
        raise ConfigError(
            key, "is the user part of a SIP URI: letters, digits and -_.!~*'()&=+$,;?/", "e.g. proj_clinic"
        )
    return text


def _text_or_none(key: str, value: Any) -> str:
    return value if value == "" else _text(key, value)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    return tuple(_text(key, each) for each in (value if isinstance(value, list | tuple) else [value]))


def parse_address(key: str, value: Any) -> Address:
    """Return ``HOST:PORT`` or ``[HOST]:PORT``. Raises ConfigError."""
    host, colon, port = _text(key, value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(key, f"'{value}' is not HOST:PORT", "for example 127.0.0.1:5060")
    return Address(host, int(port))


def _ports(key: str, value: Any) -> tuple[int, int]:
    first, dash, last = _text(key, value).partition("-")
    if not dash or not (first.isdigit() and last.isdigit()) or not 1 <= int(first) < int(last) <= 65535:
        raise ConfigError(key, f"'{value}' is not a range of ports", "for example 10000-29999")
    return int(first), int(last)


def _public_address(key: str, value: Any) -> str:
    try:
        parse_public_address(_text(key, value))
    except ConfigError as problem:
        raise ConfigError(key, problem.message, problem.mend) from None
    return str(value).strip()


def _networks(key: str, value: Any) -> tuple[str, ...]:
    networks = [each.strip() for text in _texts(key, value) for each in text.split(",") if each.strip()]
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ConfigError(key, f"'{network}' is not a network", "for example 203.0.113.0/24") from None
    return tuple(networks)


def _hosts(key: str, value: Any) -> tuple[str, ...]:
    hosts = tuple(host.strip().lower() for host in _texts(key, value))
    for host in hosts:
        if not host or any(char in host for char in "/ @"):
            raise ConfigError(key, f"'{host}' is not the name or address of a host", "for example crm.internal")
    return hosts


def _socket_url(key: str, value: Any) -> str:
    return check_socket_url(key, _text(key, value))


def _url(key: str, value: Any) -> str:
    return check_url(key, _text(key, value))


def _base_url(key: str, value: Any) -> str:
    """A URL that paths are put behind."""
    return _url(key, value).rstrip("/")


def _secrets(key: str, value: Any) -> tuple[str, ...]:
    secrets = _texts(key, value)
    for secret in secrets:
        webhook_key(secret)
    return secrets


def _number(least: float, most: float) -> Callable[[str, Any], float]:
    def parse(key: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if isinstance(value, bool) or not least <= number <= most:
            raise ConfigError(key, f"'{value}' is not a number from {least:g} to {most:g}")
        return number

    return parse


def _integer(least: int, most: int) -> Callable[[str, Any], int]:
    number = _number(least, most)

    def parse(key: str, value: Any) -> int:
        parsed = number(key, value)
        if parsed != int(parsed):
            raise ConfigError(key, f"'{value}' is not a whole number")
        return int(parsed)

    return parse


def _jitter_ms(key: str, value: Any) -> int:
    parsed = _integer(0, 120)(key, value)
    if 0 < parsed < 20:
        raise ConfigError(key, f"'{value}' is less than a packet holds", "give 20 to 120, or 0 to switch it off")
    return parsed


def _choice(*choices: str) -> Callable[[str, Any], str]:
    def parse(key: str, value: Any) -> str:
        if value not in choices:
            raise ConfigError(key, f"'{value}' is not one of {', '.join(choices)}")
        return str(value)

    return parse


def _switch(key: str, value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    parsed = value if isinstance(value, bool) else words.get(str(value).lower())
    if parsed is None:
        raise ConfigError(key, f"'{value}' is neither true nor false")
    return parsed


def _path(key: str, value: Any) -> Path:
    return Path(_text(key, value)).expanduser()


def _answer(key: str, value: Any) -> Answer:
    kind, _, rest = _text(key, value).partition(":")
    if kind in {"webhook", "echo"} and not rest:
        return AnswerByWebhook() if kind == "webhook" else AnswerEcho()
    if kind == "reject" and rest:
        return AnswerReject(_integer(limits.MIN_REJECT_STATUS, limits.MAX_REJECT_STATUS)(key, rest))
    if kind == "always" and rest:
        try:
            body = Path(rest).expanduser().read_bytes()
        except OSError as failure:
            raise ConfigError(key, f"cannot read {rest}: {failure.strerror}") from None
        try:
            return AnswerAlways(decode_session(body), body)
        except ApiProblem as problem:
            raise ConfigError(key, f"{rest} is no session: {problem.message}") from None
    raise ConfigError(key, f"'{value}' is not webhook, always:SESSION.json, reject:STATUS or echo")


def _filling(key: str, value: Any) -> Filling | None:
    kind, _, rest = _text_or_none(key, value).partition(":")
    match kind, rest.strip():
        case "", "":
            return None
        case "tone", "":
            return Beep()
        case "clip", name if name:
            return PlayClip(name)
        case "say", text if text and len(text) <= limits.MAX_SENTENCE_CHARS:
            return Say(text)
        case _:
            raise ConfigError(key, f"'{value}' is not tone, clip:NAME or say:TEXT")


# -- the tree


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
        None, _path, "a PEM certificate with its chain: the same port speaks HTTPS and wss too", show="FILE"
    )
    tls_key: Path | None = _setting(None, _path, "its key", show="FILE")
    tls_self_signed: bool = _setting(
        False, _switch, "the same with a certificate made for this machine; the start says how to trust it"
    )
    sip: Address = _setting(
        Address("127.0.0.1", 5060), parse_address, "where SIP listens, on UDP and TCP; port 0 is any", show="HOST:PORT"
    )
    rtp_ports: tuple[int, int] = _setting((10000, 29999), _ports, "ports for audio", show="A-B")
    public_address: str | None = _setting(
        None,
        _public_address,
        "the address that others reach this machine at, when it stands behind a NAT; HOST:PORT when SIP's port differs",
        show="HOST",
    )
    allow: tuple[str, ...] = _setting(
        (), _networks, "networks that may send SIP; none given: all may", show="CIDR", repeat=True
    )
    api_key: tuple[str, ...] = _setting((), _texts, "a key of the API", show="KEY", repeat=True)
    project: str = _setting(DEFAULT_PROJECT, _user_part, "the id of the one project", show="ID")
    webhook_url: str | None = _setting(None, _url, "where realtime.call.incoming is sent", show="URL")
    webhook_secret: tuple[str, ...] = _setting(
        (), _secrets, "signs the webhooks; several sign side by side", show="SECRET", repeat=True
    )
    webhook_seconds: float = _setting(5.0, _number(0.1, 60), "how long an endpoint may take to answer", show="S")
    answer: Answer = _setting(
        AnswerByWebhook(), _answer, "who decides: webhook, always:SESSION.json, reject:STATUS or echo", show="HOW"
    )
    ring_seconds: float = _setting(30.0, _number(0.1, 600), "how long a call rings", show="S")
    ring_status: int = _setting(480, _integer(300, 699), "the SIP status when nobody accepted in time", show="STATUS")
    session_seconds: float = _setting(3600.0, _number(0, 864000), "how long a call may last; 0 is for ever", show="S")
    drain_seconds: float = _setting(30.0, _number(0, 86400), "how long calls may go on after SIGTERM", show="S")
    max_calls: int = _setting(0, _integer(0, 10000), "calls at a time; 0 lets the server find its limit", show="N")
    models: Literal["auto", "scripted", "local"] = _setting(
        "auto",
        _choice("auto", "scripted", "local"),
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
    backend: str | None = _setting(None, check_name, "one that does all three", show="NAME")
    llm_url: str | None = _setting(None, _base_url, "an OpenAI-compatible API that thinks", show="URL")
    llm_model: str = _setting("default", _text, "what that API calls the model", show="NAME")
    llm_key: str | None = _setting(None, _text, "its key", show="KEY")
    llm_sees: bool = _setting(False, _switch, "give it the images of a conversation: its model can see")
    llm_reasons: bool = _setting(False, _switch, "tell it the reasoning.effort of a session: its model can reason")
    llm_seconds: float = _setting(20.0, _number(0.1, 600), "how long it may be silent", show="S")
    llm_gguf: Path | None = _setting(
        None, _path, "a GGUF file that thinks, in a process of its own (offhook[llm])", show="FILE"
    )
    llm_threads: int = _setting(0, _integer(0, 256), "cores for it; 0 is all but one", show="N")
    stt_url: str | None = _setting(
        None, speech_url, "an OpenAI-compatible API that transcribes, or wyoming://HOST:PORT", show="URL"
    )
    stt_model: str = _setting(EAR_MODEL, _text, "what that API calls the model", show="NAME")
    stt_key: str | None = _setting(None, _text, "its key", show="KEY")
    stt_workers: int = _setting(
        0, _integer(0, 64), "processes that hear, with local models; 0 finds a number", show="N"
    )
    whisper: str = _setting(
        "tiny.en",
        _text,
        "what they hear with: tiny.en, base (99 languages), or a CTranslate2 model's folder",
        show="MODEL",
    )
    voices: Path | None = _setting(
        None, _path, "a folder of further voice files for local models (docs/models.md)", show="DIR"
    )
    apology: str = _setting(
        "I am sorry, something went wrong here. Could you say that again, please?",
        _text_or_none,
        "what is said when a model has failed; empty: nothing",
        show="TEXT",
    )
    greeting: str = _setting(
        "",
        _text_or_none,
        "what the agent says first, word for word; 'on' lets the model begin; empty: the caller begins",
        show="TEXT",
    )
    while_waiting: Filling | None = _setting(
        None,
        _filling,
        "what a caller hears while a function or a slow model works: tone, clip:NAME or say:TEXT",
        show="WHAT",
    )
    waiting_ms: int = _setting(
        1500,
        _integer(limits.MIN_WAITING_MS, limits.MAX_WAITING_MS),
        "after how much silence that begins",
        show="MS",
    )
    clips: Path | None = _setting(None, _path, "a folder of WAV files, the clips of while-waiting", show="DIR")
    tts_url: str | None = _setting(
        None, speech_url, "an OpenAI-compatible API that speaks, or wyoming://HOST:PORT", show="URL"
    )
    tts_model: str = _setting("tts-1", _text, "what that API calls the model", show="NAME")
    tts_voice: str | None = _setting(None, _text, "its voice; else the session's voice is asked for", show="NAME")
    tts_rate: int = _setting(
        24000,
        _integer(8000, 192_000),
        "samples per second of its pcm format: any from 8000 to 192000 in a simple ratio to 8000, as 22050 is",
        show="HZ",
    )
    tts_key: str | None = _setting(None, _text, "its key", show="KEY")
    context_tokens: int = _setting(
        32_768, _integer(1_024, 100_000_000), "how many tokens the language model can read and write together", show="N"
    )
    output_tokens: int = _setting(
        4_096, _integer(16, 1_000_000), "how many of these it may write in one response", show="N"
    )
    relay_url: str | None = _setting(
        None, _socket_url, "a realtime WebSocket that is the model of whole sessions (docs/models.md)", show="URL"
    )
    relay_dialect: DialectName = _setting(
        "openai",
        _choice(*get_args(DialectName)),
        "what it speaks: openai, azure, xai, vllm-omni, or offhook",
        show="NAME",
    )
    relay_model: str = _setting("", _text_or_none, "what it calls the model; empty: what the session does", show="NAME")
    relay_key: str | None = _setting(None, _text, "its key", show="KEY")
    relay_seconds: float = _setting(20.0, _number(0.1, 600), "how long it may be silent", show="S")
    relay_turns: TurnFinder = _setting(
        "here", _choice(*get_args(TurnFinder)), "who finds the caller's turns: here, or upstream", show="NAME"
    )
    default_model: str = _setting("gpt-realtime", _text, "the model of a session that names none", show="NAME")
    voice: str = _setting("marin", _text, "the voice of a session that names none", show="NAME")
    instructions: str | None = _setting(None, _text, "the instructions of a session that gives none", show="TEXT")
    mcp_allow: tuple[str, ...] = _setting(
        (), _hosts, "a host whose MCP server may have a private address", show="HOST", repeat=True
    )
    mcp_seconds: float = _setting(30.0, _number(0.1, 600), "how long an MCP server may take to answer", show="S")
    prompts: Path | None = _setting(None, _path, "a folder of stored prompts, for sessions that name one", show="DIR")
    strict_models: bool = _setting(False, _switch, "refuse models that the [model_names] table does not name")
    vad_onset_ms: int = _setting(60, _integer(10, 1000), "how much speech begins a turn", show="MS")
    turn_detector: str | None = _setting(
        None, _text, "judges by sound, beside the words, whether a turn is over (docs/models.md)", show="NAME[:PATH]"
    )
    jitter_ms: int = _setting(40, _jitter_ms, "how deep the jitter buffer starts, 20 to 120; 0 is off", show="MS")
    media_seconds: float = _setting(
        30.0, _number(0, 3600), "a caller who sends nothing for so long is gone; 0: never", show="S"
    )
    currency: str = _setting("USD", _text, "what the prices of backends are in (docs/backends.md)", show="CODE")
    otlp_url: str | None = _setting(None, _base_url, "an OpenTelemetry collector (OTLP over HTTP)", show="URL")
    store: Path | None = _setting(None, _path, "a folder for call records and journals", show="DIR")
    log_level: str = _setting("info", _choice(*LEVELS), "how much is logged: debug, info, warning, error", show="LEVEL")
    log_pii: bool = _setting(False, _switch, "log numbers and what was said too")
    ready_json: bool = _setting(False, _switch, "print one line of JSON when calls can be taken")
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
            "backend": () if not self.backend else (self.backend,),
        }

    def __repr__(self) -> str:
        return f"Config(http={self.http}, sip={self.sip})"


SETTINGS = tuple(each for each in fields(Config) if each.metadata)
_TABLES = {"projects", "model_names", "mcp_connectors", "backends", "prices"}


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def load_config(flags: Mapping[str, Any], env: Mapping[str, str], path: Path | None = None) -> Config:
    """Return the settings from flags (by name; None is not given), environment and TOML file.

    Raises ConfigError that names the flag, the variable or the key of the file.
    """
    table = _read_table(path)
    values: dict[str, Any] = {}
    known = {ENV_PREFIX + each.name.upper() for each in SETTINGS} | {ENV_PREFIX + "CONFIG"}
    for name in env:
        if name.startswith(ENV_PREFIX) and name not in known:
            raise ConfigError(name, "is no setting of offhook", "see offhook serve --help")
    for setting in SETTINGS:
        name, parse = setting.name, setting.metadata["parse"]
        variable = ENV_PREFIX + name.upper()
        if flags.get(name) is not None:
            values[name] = parse(flag_of(name), flags[name])
        elif variable in env:
            given = env[variable]
            several = [each.strip() for each in given.split(",")]
            values[name] = parse(variable, several if setting.metadata["repeat"] else given)
        elif name in table:
            values[name] = parse(f"{path}: {name}", table[name])
    values["projects"] = _projects(path, table.get("projects", {}))
    values["model_names"] = _model_names(path, table.get("model_names", {}))
    values["mcp_connectors"] = _mcp_connectors(path, table.get("mcp_connectors", {}))
    values["backends"] = read_backends(f"{path}: backends", table.get("backends", {}))
    config = check(Config(**values))
    known = {*BUILT_IN, *config.backends, *chain(*config.orders.values())}
    return replace(config, prices=read_prices(f"{path}: prices", table.get("prices", {}), config.currency, known))


def _read_table(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as failure:
        raise ConfigError("--config", f"cannot read {path}: {failure.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise ConfigError("--config", f"{path} is not TOML: {failure}") from None
    known = {each.name for each in SETTINGS} | _TABLES
    for name in table:
        if name not in known:
            raise ConfigError(f"{path}: {name}", "is no setting of offhook", "see offhook serve --help")
    return table


def _projects(path: Path | None, table: Any) -> tuple[ProjectConfig, ...]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: projects", "is not a table", "write [projects.ID]")
    parsers: dict[str, Callable[[str, Any], Any]] = {
        "api_keys": _texts,
        "webhook_url": _url,
        "webhook_secrets": _secrets,
    }
    projects = []
    for project_id, members in table.items():
        where = f"{path}: projects.{project_id}"
        if not isinstance(members, dict):
            raise ConfigError(where, "is not a table", f"write [projects.{project_id}]")
        for name in members:
            if name not in parsers:
                raise ConfigError(f"{where}.{name}", f"is no setting; a project has {', '.join(parsers)}")
        values = {name: parsers[name](f"{where}.{name}", value) for name, value in members.items()}
        if not values.get("api_keys"):
            raise ConfigError(f"{where}.api_keys", "is missing: nobody could answer its calls")
        projects.append(ProjectConfig(id=project_id, **values))
    return tuple(projects)


def _model_names(path: Path | None, table: Any) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ConfigError(f"{path}: model_names", "is not a table of names", 'write "gpt-realtime" = "qwen3:8b"')
    return table


def _mcp_connectors(path: Path | None, table: Any) -> dict[str, str]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: mcp_connectors", "is not a table", 'write connector_gmail = "https://..."')
    known = get_args(ConnectorId)
    for name in table:
        if name not in known:
            raise ConfigError(f"{path}: mcp_connectors.{name}", f"is no connector; there are {', '.join(known)}")
    return {name: _url(f"{path}: mcp_connectors.{name}", url) for name, url in table.items()}


def check(config: Config) -> Config:
    """Return the settings when they fit together. Raises ConfigError when they cannot work."""
    if config.projects:
        for name in ("api_key", "webhook_url", "webhook_secret"):
            if getattr(config, name):
                raise ConfigError(flag_of(name), "does not go with [projects]", "give it in each project's table")
    elif not config.api_key and not config.http.is_loopback:
        message = f"is needed: {config.http} can be reached from other machines"
        raise ConfigError("--api-key", message, "give one, or listen on 127.0.0.1")
    if input_limit(config.context_tokens, config.output_tokens) == 0:
        message = f"{config.output_tokens} of output leave no input in a context of {config.context_tokens}"
        raise ConfigError("--output-tokens", message, "give less, or a larger --context-tokens")
    if (config.tls_cert is None) != (config.tls_key is None):
        missing = "--tls-key" if config.tls_key is None else "--tls-cert"
        raise ConfigError(missing, "is missing", "a certificate and its key go together")
    if config.tls_self_signed and config.tls_cert is not None:
        raise ConfigError("--tls-self-signed", "does not go with --tls-cert", "give one of them")
    if config.llm_gguf is not None and config.llm_url is not None:
        raise ConfigError("--llm-gguf", "does not go with --llm-url", "only one of them can think")
    _check_relay(config)
    urls: dict[Role, bool] = {role: getattr(config, f"{role}_url") is not None for role in PARTS}
    check_backends(config.orders, config.backends, urls, gguf=config.llm_gguf is not None)
    if config.strict_models and not config.model_names:
        raise ConfigError("--strict-models", "leaves no model", "name some in [model_names]")
    return config


def _check_relay(config: Config) -> None:
    if config.relay_url is None:
        return
    for name in ("llm_url", "llm_gguf", "stt_url", "tts_url", "backend", "llm", "stt", "tts"):
        if getattr(config, name):
            raise ConfigError("--relay-url", f"does not go with {flag_of(name)}", "upstream hears, thinks and speaks")
    if config.relay_turns == "upstream" and not dialect_of(config.relay_dialect, config.relay_url).finds_turns:
        why = f"'{config.relay_dialect}' cannot find turns without answering them"
        raise ConfigError("--relay-turns", why, "leave it out")
