"""Which URLs this process may call out to."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urlsplit

from offhook.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_ENDS_IN_NUMBER = re.compile(r"(.*\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\.?")


def check_url(key: str, url: str) -> str:
    """Return an http or https URL as it came.

    Raises ConfigError, with the name of the setting, for what no HTTP client could use, and for credentials in the URL:
    they would end up in logs.
    """
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and (parts.port is None or parts.port > 0) and _is_host(parts.hostname)
    except ValueError:
        named = False
    if not named or parts.scheme not in {"http", "https"} or not url.isprintable() or " " in url:
        raise ConfigError(key, f"'{url}' is not an http or https URL", "write it as http://HOST:PORT/PATH")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(key, "holds a user name or password", "give the secret by its own setting")
    return url


def check_socket_url(key: str, url: str) -> str:
    """Return the URL of a WebSocket (``ws``, ``wss``, or the same in ``http`` or ``https``) as it came.

    Raises ConfigError as `check_url` does.
    """
    try:
        check_url(key, "http" + url.removeprefix("ws") if url.startswith(("ws:", "wss:")) else url)
    except ConfigError as problem:
        message = problem.message.replace("an http or https URL", "a ws or wss URL")
        raise ConfigError(key, message, "write it as wss://HOST:PORT/PATH") from None
    return url


def _is_host(host: str) -> bool:
    """Whether a request could be made to it: an IP address, or a name (underscores too, which containers have)."""
    if ":" in host:
        return _is(IPv6Address, host) and "%" not in host
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return False
    # Clients take a name that ends in a number for an IPv4 address (WHATWG URL, "ends in a number").
    return _is(IPv4Address, host) if _ENDS_IN_NUMBER.fullmatch(host) else _NAME.fullmatch(host) is not None


def _is(kind: type[IPv4Address | IPv6Address], host: str) -> bool:
    try:
        kind(host)
    except AddressValueError:
        return False
    return True
