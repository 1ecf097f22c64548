"""One value of a setting, read from the text of a flag or a variable, or from what a TOML file has.

Each takes the name under which the value was given, which an error names, and the value.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from offhook.errors import ApiProblem, ConfigError
from offhook.host.answer import Answer, AnswerAlways, AnswerByWebhook, AnswerEcho, AnswerReject
from offhook.net.address import parse_public_address
from offhook.wire import limits
from offhook.wire.decode import decode_session
from offhook.wire.own import Beep, PlayClip, Say
from offhook.wire.signature import webhook_key
from offhook.wire.url import check_socket_url, check_url

Filling: TypeAlias = Say | Beep | PlayClip


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


def parse_text(key: str, value: Any) -> str:
    """Return some text. Raises ConfigError, as all of these do."""
    if not isinstance(value, str) or not value:
        raise ConfigError(key, "needs some text")
    return value


def parse_user_part(key: str, value: Any) -> str:
    """Return a project's id: what callers dial, the user part of a SIP URI (RFC 3261 25.1)."""
    text = parse_text(key, value)
    if not text.isascii() or not all(each.isalnum() or each in "-_.!~*'()&=+$,;?/" for each in text):
        raise ConfigError(
            key, "is the user part of a SIP URI: letters, digits and -_.!~*'()&=+$,;?/", "e.g. proj_clinic"
        )
    return text


def parse_text_or_none(key: str, value: Any) -> str:
    """Return a text that may be empty."""
    return value if value == "" else parse_text(key, value)


def parse_texts(key: str, value: Any) -> tuple[str, ...]:
    """Return one text or several."""
    return tuple(parse_text(key, each) for each in (value if isinstance(value, list | tuple) else [value]))


def parse_address(key: str, value: Any) -> Address:
    """Return ``HOST:PORT`` or ``[HOST]:PORT``. Raises ConfigError."""
    host, colon, port = parse_text(key, value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(key, f"'{value}' is not HOST:PORT", "for example 127.0.0.1:5060")
    return Address(host, int(port))


def parse_ports(key: str, value: Any) -> tuple[int, int]:
    """Return the first and the last port of ``A-B``."""
    first, dash, last = parse_text(key, value).partition("-")
    if not dash or not (first.isdigit() and last.isdigit()) or not 1 <= int(first) < int(last) <= 65535:
        raise ConfigError(key, f"'{value}' is not a range of ports", "for example 10000-29999")
    return int(first), int(last)


def parse_outside_address(key: str, value: Any) -> str:
    """Return a host that others reach, with or without a port."""
    try:
        parse_public_address(parse_text(key, value))
    except ConfigError as problem:
        raise ConfigError(key, problem.message, problem.mend) from None
    return str(value).strip()


def parse_networks(key: str, value: Any) -> tuple[str, ...]:
    """Return networks in CIDR notation, several of them in a text or in a list."""
    networks = [each.strip() for text in parse_texts(key, value) for each in text.split(",") if each.strip()]
    for network in networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ConfigError(key, f"'{network}' is not a network", "for example 203.0.113.0/24") from None
    return tuple(networks)


def parse_hosts(key: str, value: Any) -> tuple[str, ...]:
    """Return names or addresses of hosts."""
    hosts = tuple(host.strip().lower() for host in parse_texts(key, value))
    for host in hosts:
        if not host or any(char in host for char in "/ @"):
            raise ConfigError(key, f"'{host}' is not the name or address of a host", "for example crm.internal")
    return hosts


def parse_socket_url(key: str, value: Any) -> str:
    """Return the URL of a WebSocket."""
    return check_socket_url(key, parse_text(key, value))


def parse_url(key: str, value: Any) -> str:
    """Return an HTTP URL."""
    return check_url(key, parse_text(key, value))


def parse_base_url(key: str, value: Any) -> str:
    """A URL that paths are put behind."""
    return parse_url(key, value).rstrip("/")


def parse_secrets(key: str, value: Any) -> tuple[str, ...]:
    """Return secrets that sign webhooks."""
    secrets = parse_texts(key, value)
    for secret in secrets:
        webhook_key(secret)
    return secrets


def number_between(least: float, most: float) -> Callable[[str, Any], float]:
    """Return what reads a number between two bounds."""

    def parse(key: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if isinstance(value, bool) or not least <= number <= most:
            raise ConfigError(key, f"'{value}' is not a number from {least:g} to {most:g}")
        return number

    return parse


def integer_between(least: int, most: int) -> Callable[[str, Any], int]:
    """Return what reads a whole number between two bounds."""
    number = number_between(least, most)

    def parse(key: str, value: Any) -> int:
        parsed = number(key, value)
        if parsed != int(parsed):
            raise ConfigError(key, f"'{value}' is not a whole number")
        return int(parsed)

    return parse


def parse_jitter_ms(key: str, value: Any) -> int:
    """Return the depth of the jitter buffer, 0 for none."""
    parsed = integer_between(0, 120)(key, value)
    if 0 < parsed < 20:
        raise ConfigError(key, f"'{value}' is less than a packet holds", "give 20 to 120, or 0 to switch it off")
    return parsed


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """Return what reads one of some words."""

    def parse(key: str, value: Any) -> str:
        if value not in choices:
            raise ConfigError(key, f"'{value}' is not one of {', '.join(choices)}")
        return str(value)

    return parse


def parse_switch(key: str, value: Any) -> bool:
    """Return what is on or off."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    parsed = value if isinstance(value, bool) else words.get(str(value).lower())
    if parsed is None:
        raise ConfigError(key, f"'{value}' is neither true nor false")
    return parsed


def parse_path(key: str, value: Any) -> Path:
    """Return a path; ``~`` is the home of whoever runs the server."""
    return Path(parse_text(key, value)).expanduser()


def parse_answer(key: str, value: Any) -> Answer:
    """Return who decides about calls; the file of a session is read at once."""
    kind, _, rest = parse_text(key, value).partition(":")
    if kind in {"webhook", "echo"} and not rest:
        return AnswerByWebhook() if kind == "webhook" else AnswerEcho()
    if kind == "reject" and rest:
        return AnswerReject(integer_between(limits.MIN_REJECT_STATUS, limits.MAX_REJECT_STATUS)(key, rest))
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


def parse_filling(key: str, value: Any) -> Filling | None:
    """Return what a caller hears meanwhile, None for nothing."""
    kind, _, rest = parse_text_or_none(key, value).partition(":")
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
