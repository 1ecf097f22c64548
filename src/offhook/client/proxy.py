"""Which proxy a request goes through, as the environment says, and what is said to it.

``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in capitals or not, as other programs read them.
Source: RFC 9110 9.3.6 (CONNECT), 11.7.1; RFC 9112 3.2.2 (absolute-form).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from offhook.client.fields import checked_value
from offhook.errors import ConfigError

# A proxy's refusal says why in a line; its head is short.
MAX_REPLY_BYTES: Final = 16 * 1024


class Proxy(Struct, frozen=True):
    """An HTTP proxy; ``credentials`` is the value of ``Proxy-Authorization``."""

    host: str
    port: int
    credentials: str | None

    def __repr__(self) -> str:
        return f"Proxy({self.host!r}, {self.port})"

    @property
    def headers(self) -> dict[str, str]:
        """What goes with a request to it."""
        return {} if self.credentials is None else {"proxy-authorization": self.credentials}


def choose_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an origin, None for none. Raises ConfigError for one that cannot be used."""
    # In a CGI program HTTP_PROXY is what a request's header "Proxy" said, not the environment (CVE-2016-5385).
    names = ["http_proxy"] if "REQUEST_METHOD" in environment and scheme == "http" else [f"{scheme}_proxy"]
    names += [each.upper() for each in names if each == f"{scheme}_proxy" and "REQUEST_METHOD" not in environment]
    names += ["all_proxy", "ALL_PROXY"]
    url = next((environment[name] for name in names if environment.get(name)), None)
    if url is None or _is_exempt(host, port, environment.get("no_proxy") or environment.get("NO_PROXY") or ""):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        proxy_port = parts.port or 80
    except ValueError:
        raise ConfigError(names[0], "is not a URL", "write it as http://HOST:PORT") from None
    if parts.scheme != "http" or parts.hostname is None:
        raise ConfigError(names[0], f"'{parts.scheme}' is no proxy that this client can use", "give an http:// one")
    credentials = None
    if parts.username is not None:
        plain = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = checked_value(names[0], "Basic " + b2a_base64(plain.encode(), newline=False).decode())
    return Proxy(parts.hostname, proxy_port, credentials)


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    for each in exempt.lower().split(","):
        name = each.strip().removeprefix("*").lstrip(".")
        if each.strip() == "*" or (name and (host == name or host.endswith(f".{name}") or f"{host}:{port}" == name)):
            return True
    return False


def connect_request(proxy: Proxy, host: str, port: int) -> bytes:
    """Return the bytes that ask a proxy for a tunnel."""
    shown = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {shown}:{port} HTTP/1.1", f"host: {shown}:{port}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def connect_status(reply: bytes) -> int | None:
    """Return the status of a proxy's reply, 0 for what is none, None while its head is not whole."""
    if b"\r\n\r\n" not in reply:
        return None if len(reply) <= MAX_REPLY_BYTES else 0
    version, _, rest = reply.partition(b"\r\n")[0].partition(b" ")
    status = rest[:3]
    return int(status) if version.startswith(b"HTTP/1.") and status.isdigit() else 0
