"""What a client is set to, read once: arguments, then the environment, then the defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import CoroutineType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from offhook._version import __version__
from offhook.client.fields import ExtraHeaders, checked_value, replace_headers
from offhook.errors import ConfigError

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
VARIABLES: Final = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_CUSTOM_HEADERS",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_WEBHOOK_SECRET",
)
_PRINTABLE = re.compile(r"[!-~]+")
_PATH = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*")  # RFC 3986 3.3

KeyFunction = TypeVar("KeyFunction")


class Settings(Struct, frozen=True):
    """The settings of a client, ready for its requests. No key is in it."""

    origin: str
    """Scheme, host and port, as requests name them."""
    path: str
    """The path of the base URL, without a slash at its end."""
    websocket_url: str
    """The base URL of sockets: ws or wss."""
    headers: dict[str, str]
    """What goes with every request."""
    default_headers: Mapping[str, str | None]
    default_query: Mapping[str, object]
    timeout: float | None
    max_retries: int

    @property
    def base_url(self) -> str:
        """The base URL."""
        return self.origin + self.path


def read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what an environment says to clients, without the white space around it: files of secrets end in some."""
    return {name: value for name in VARIABLES if (value := environment.get(name, "").strip())}


def read_key(given: str | KeyFunction | None, environment: Mapping[str, str]) -> str | KeyFunction:
    """Return the key, or the function that knows it. Raises ConfigError, which does not show it."""
    key = given or environment.get("OPENAI_API_KEY")
    if isinstance(key, str):
        key = _checked_setting("api_key", key)
    if not key:
        raise ConfigError("api_key", "is not set", "give it, or set OPENAI_API_KEY")
    if not isinstance(key, str) and not callable(key):
        raise ConfigError(
            "api_key", f"is of the type {type(key).__name__}", "give a str, or a function that returns it"
        )
    return key


def returned_key(key: object) -> str:
    """Return the key that a function returned. Raises ConfigError, which does not show it."""
    if isinstance(key, CoroutineType):
        key.close()
        raise ConfigError("api_key", "the function is asynchronous", "give AsyncClient such a one")
    if not isinstance(key, str):
        raise ConfigError("api_key", f"the function returned {type(key).__name__}", "let it return the key as str")
    checked = _checked_setting("api_key", key)
    if not checked:
        raise ConfigError("api_key", "the function returned an empty key", "let it return the key, or raise")
    return checked


def read_settings(
    environment: Mapping[str, str],
    *,
    base_url: str | None,
    websocket_base_url: str | None,
    organization: str | None,
    project: str | None,
    default_headers: Mapping[str, str | None] | None,
    default_query: Mapping[str, object] | None,
    timeout: float | None,
    max_retries: int,
) -> Settings:
    """Return the settings. Raises ConfigError for those that cannot work."""
    base = base_url or environment.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
    scheme, authority, path = split_url("base_url", base, ("http", "https"))
    if websocket_base_url is None:
        websocket_url = ("ws" if scheme == "http" else "wss") + f"://{authority}{path}"
    else:
        ws_scheme, ws_authority, ws_path = split_url(
            "websocket_base_url", websocket_base_url, ("ws", "wss", "http", "https")
        )
        secure = ws_scheme in {"wss", "https"}
        websocket_url = f"{'wss' if secure else 'ws'}://{ws_authority}{ws_path}"
    if max_retries < 0:
        raise ConfigError("max_retries", "is negative", "0 turns repetitions off")
    named = {
        "organization": organization or environment.get("OPENAI_ORG_ID"),
        "project": project or environment.get("OPENAI_PROJECT_ID"),
    }
    headers = {"host": authority, "user-agent": f"offhook-python/{__version__}"}
    headers |= {f"openai-{name}": _checked_setting(name, value) for name, value in named.items() if value}
    own: dict[str, str | None] = {}
    own |= _checked_headers("OPENAI_CUSTOM_HEADERS", custom_headers(environment.get("OPENAI_CUSTOM_HEADERS", "")))
    own |= _checked_headers("default_headers", default_headers or {})
    return Settings(
        f"{scheme}://{authority}", path, websocket_url, headers, own, default_query or {}, timeout, max_retries
    )


def split_url(key: str, url: str, schemes: tuple[str, ...]) -> tuple[str, str, str]:
    """Return scheme, host with port, and path without a slash at its end. Raises ConfigError."""
    try:
        parts = urlsplit(str(url))
        port = parts.port
        host = (parts.hostname or "").encode("idna" if not str(url).isascii() else "ascii").decode("ascii")
    except (ValueError, UnicodeError):
        raise ConfigError(key, "is not a URL", f"write it as {schemes[0]}://HOST:PORT/PATH") from None
    if parts.scheme not in schemes or not host or not _PRINTABLE.fullmatch(host) or not _PATH.fullmatch(parts.path):
        raise ConfigError(key, "is not a URL of HTTP", f"write it as {schemes[0]}://HOST:PORT/PATH")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(key, "holds a user name or password", "give the key as api_key")
    if parts.query or parts.fragment:
        raise ConfigError(key, "holds a query", "give it as default_query")
    shown = f"[{host}]" if ":" in host else host
    return parts.scheme, shown if port is None else f"{shown}:{port}", parts.path.rstrip("/")


def custom_headers(text: str) -> dict[str, str]:
    """Return the headers of ``OPENAI_CUSTOM_HEADERS``: one ``Name: value`` a line."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon and name.strip()}


def _checked_setting(key: str, value: str) -> str:
    try:
        return checked_value(key, value)
    except ValueError:
        mend = "give one line of ASCII; a file's newline does not belong to it"
        raise ConfigError(key, "cannot be sent in a header", mend) from None


def _checked_headers(key: str, headers: ExtraHeaders) -> ExtraHeaders:
    try:
        replace_headers({}, headers)
    except ValueError as refused:
        raise ConfigError(key, str(refused)) from None
    return headers


def timeout_of(given: Any) -> float | None:
    """Return a time-out in seconds as it was given; None is none. Raises ValueError for one that has passed already."""
    if given is not None and not given > 0:
        raise ValueError("a timeout is a number of seconds above 0, or None for none")
    return None if given is None else float(given)
