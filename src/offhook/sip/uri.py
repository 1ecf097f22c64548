"""SIP and tel URIs (RFC 3261 19.1, RFC 3966): read tolerantly, in linear time, and written back unchanged."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

import msgspec

from offhook.sip.errors import SipParseError

_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.\-]+)(?::([0-9]{1,5}))?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(?=:)")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")

Params = tuple[tuple[str, str | None], ...]


class SipUri(msgspec.Struct, frozen=True):
    """A ``sip:`` or ``sips:`` URI in its parts, escapes untouched.

    ``params`` and ``headers`` are in the order received, repeats included: a doubled ``;transport=tls`` is seen in the
    wild.
    """

    scheme: Literal["sip", "sips"]
    user: str | None
    host: str
    port: int | None = None
    params: Params = ()
    headers: str = ""

    def param(self, name: str) -> str | None:
        """The value of the first parameter of that lower-case name, "" when it has none, None when absent."""
        for key, value in self.params:
            if key == name:
                return value or ""
        return None

    @property
    def unescaped_user(self) -> str | None:
        """The user part with its %-escapes resolved (RFC 3261 19.1.2)."""
        if self.user is None or "%" not in self.user:
            return self.user
        octets = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), self.user)
        if any(ord(char) > 255 for char in octets):
            return octets
        return octets.encode("latin-1").decode("utf-8", "surrogateescape")

    def __str__(self) -> str:
        text = f"{self.scheme}:"
        if self.user is not None:
            text += f"{self.user}@"
        text += f"[{self.host}]" if ":" in self.host else self.host
        if self.port is not None:
            text += f":{self.port}"
        for key, value in self.params:
            text += f";{key}" if value is None else f";{key}={value}"
        return text + (f"?{self.headers}" if self.headers else "")


class TelUri(msgspec.Struct, frozen=True):
    """A ``tel:`` URI (RFC 3966): the number with its visual separators, and the parameters."""

    number: str
    params: Params = ()

    def __str__(self) -> str:
        return f"tel:{self.number}" + "".join(f";{k}" if v is None else f";{k}={v}" for k, v in self.params)


class OtherUri(msgspec.Struct, frozen=True):
    """A URI of a scheme that we carry but do not understand."""

    scheme: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


Uri = SipUri | TelUri | OtherUri


def scheme_of(text: str) -> str:
    """The scheme in lower case, "" when the text has none."""
    found = _SCHEME.match(text)
    return found[0].lower() if found else ""


def parse_uri(text: str) -> Uri:
    """Take a URI apart.

    Raises SipParseError(400) when a ``sip:``, ``sips:`` or ``tel:`` URI breaks its grammar or the text has no scheme.
    """
    scheme = scheme_of(text)
    if not scheme:
        raise SipParseError(400, "URI without a scheme")
    rest = text[len(scheme) + 1 :]
    if scheme in ("sip", "sips"):
        return _parse_sip("sips" if scheme == "sips" else "sip", rest)
    if scheme == "tel":
        number, *params = rest.split(";")
        if not number:
            raise SipParseError(400, "tel URI without a number")
        return TelUri(number, _split_params(params))
    return OtherUri(scheme, rest)


def _parse_sip(scheme: Literal["sip", "sips"], rest: str) -> SipUri:
    # The user part may hold ";", "?" and "/" but never "@" (RFC 3261 25.1), so the first "@" ends it.
    user, at, tail = rest.partition("@")
    if not at:
        user, tail = "", rest
    found = _HOST.match(tail)
    if found is None:
        raise SipParseError(400, "SIP URI without a host")
    host, port_text = found[1], found[2]
    port = int(port_text) if port_text else None
    if port is not None and port > 65535:
        raise SipParseError(400, "SIP URI with a port above 65535")
    tail, _, headers = tail[found.end() :].partition("?")
    if tail and not tail.startswith(";"):
        raise SipParseError(400, "SIP URI with an unreadable host")
    params = _split_params(tail.split(";")[1:])
    return SipUri(scheme, user if at else None, host.strip("[]"), port, params, headers)


def _split_params(parts: list[str]) -> Params:
    params: list[tuple[str, str | None]] = []
    for part in parts:
        name, equals, value = part.partition("=")
        if name.strip():
            params.append((name.strip().lower(), value.strip() if equals else None))
    return tuple(params)


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The host as an IP address, or None when it is a name."""
    if not host or (host[0] not in "0123456789" and ":" not in host):
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None
