"""What the settings say about backends: which one plays what, and what each is made of. Nothing is looked up yet."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from offhook.errors import ConfigError
from offhook.wire.url import check_url

Role: TypeAlias = Literal["stt", "llm", "tts", "backend"]
PARTS: Final[tuple[Role, ...]] = ("stt", "llm", "tts")
"""The parts of a cascade."""

ROLES: Final[Mapping[Role, str]] = types.MappingProxyType(
    {"stt": "speech to text", "llm": "language model", "tts": "text to speech", "backend": "whole backend"}
)

BUILT_IN: Final = frozenset(
    {"chat", "transcriptions", "speech", "wyoming", "local", "gguf", "demo", "scripted", "relay"}
)
"""Names of backends that need no table: those of our plugins, and of what the flags of our own make."""

BY_PARTS: Final = "parts"
"""The backend that is made of the three parts, where it is named in an order."""

WYOMING: Final = "wyoming"
"""The scheme of a speech server's URL."""

EAR_MODEL: Final = "whisper-1"
"""The hosted API's name: what a recogniser is asked for when nobody says; a Wyoming server has its own choice."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# What a table says about a backend beside the plugin's own members.
_COMMON: Final = frozenset({"plugin", "patience_seconds"})


@dataclass(frozen=True, slots=True)
class BackendTable:
    """What the settings say about one backend. ``patience_s``: how long it may take to begin when another could."""

    name: str
    plugin: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    patience_s: float | None = None
    where: str = ""


def read_backends(where: str, table: Any) -> dict[str, BackendTable]:
    """Return the tables of ``[backends]`` by name. Raises ConfigError."""
    if not isinstance(table, dict):
        raise ConfigError(where, "is not a table", "write [backends.NAME]")
    return {name: _read_backend(f"{where}.{name}", name, members) for name, members in table.items()}


def _read_backend(where: str, name: str, members: Any) -> BackendTable:
    check_name(where, name)
    if name == BY_PARTS:
        raise ConfigError(
            where, f"'{BY_PARTS}' is the name of the three parts together", "give the backend another name"
        )
    if not isinstance(members, dict):
        raise ConfigError(where, "is not a table", f"write [backends.{name}]")
    plugin, patience = members.get("plugin", name), members.get("patience_seconds")
    if not isinstance(plugin, str):
        raise ConfigError(f"{where}.plugin", "is not a name")
    if patience is not None and (
        isinstance(patience, bool) or not isinstance(patience, int | float) or not 0 < patience <= 600
    ):
        raise ConfigError(f"{where}.patience_seconds", "is not a number up to 600")
    options = {key: value for key, value in members.items() if key not in _COMMON}
    return BackendTable(name, plugin, options, patience, where)


def check_name(where: str, name: Any) -> str:
    """Return the name of a backend, which shows in logs and metrics. Raises ConfigError."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ConfigError(where, f"'{name}' is no name of a backend", "take letters, digits, '-', '_' and '.'")
    return name


def backend_names(key: str, value: Any) -> tuple[str, ...]:
    """Return the backends of one part, in their order. Raises ConfigError."""
    given = value if isinstance(value, list | tuple) else [value]
    names = tuple(check_name(key, name) for name in given)
    if len(set(names)) < len(names):
        raise ConfigError(key, "names a backend twice")
    return names


def speech_url(key: str, value: Any) -> str:
    """Return the base URL of an HTTP API, or that of a Wyoming server. Raises ConfigError."""
    if isinstance(value, str) and value.startswith(f"{WYOMING}://"):
        wyoming_address(key, value)
        return value
    return check_url(key, str(value)).rstrip("/")


def wyoming_address(key: str, url: str) -> tuple[str, int]:
    """Return host and port of ``wyoming://HOST:PORT``. Raises ConfigError."""
    mend = f"write it as {WYOMING}://HOST:PORT"
    scheme, _, rest = url.partition("://")
    if scheme != WYOMING:
        raise ConfigError(key, f"'{url}' is not a wyoming URL", mend)
    try:
        parts = urlsplit(check_url(key, f"http://{rest}"))
    except ConfigError:
        parts = urlsplit("")
    if parts.hostname is None or parts.port is None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ConfigError(key, f"'{url}' is not a host and a port", mend)
    return parts.hostname, parts.port


def check_backends(
    orders: Mapping[Role, tuple[str, ...]],
    tables: Mapping[str, BackendTable],
    endpoints: Mapping[Role, bool],
    *,
    gguf: bool,
) -> None:
    """Raise ConfigError when a part is given to several that do not know of each other.

    ``endpoints``: whether a part has a URL; ``gguf``: whether a file is to think.
    """
    whole = bool(orders["backend"]) and BY_PARTS not in orders["backend"]
    for role in PARTS:
        if (orders[role] or whole) and endpoints[role]:
            other = "--backend" if whole else f"--{role}"
            mend = "give the URL in the table of a backend: [backends.NAME]"
            raise ConfigError(f"--{role}-url", f"does not go with {other}", mend)
        if orders[role] and whole:
            raise ConfigError(f"--{role}", "does not go with --backend", "that one does it all")
    files = {"gguf", *(name for name, table in tables.items() if table.plugin == "gguf")}
    if gguf and orders["llm"] and not files.intersection(orders["llm"]):
        raise ConfigError("--llm-gguf", "does not go with --llm", "name it too: --llm gguf")
