"""What every new request is held against before anyone acts on it (RFC 3261 8.2.1 to 8.2.3)."""

from __future__ import annotations

import msgspec

from offhook.sip.content import SDP_TYPE
from offhook.sip.dialog import ALLOW
from offhook.sip.header import parse_tokens
from offhook.sip.message import Request
from offhook.sip.uri import scheme_of

_TAKEN = frozenset(ALLOW.split(", "))
_KNOWN = frozenset(("REGISTER", "REFER", "SUBSCRIBE", "PUBLISH", "MESSAGE", "PRACK"))
_EXTENSIONS = frozenset(("norefersub",))
"""Option tags that we understand (RFC 4488). 100rel is not among them: a reliable provisional response needs PRACK."""


class Refusal(msgspec.Struct, frozen=True):
    """A response of the agent's own: status, cause in words for the log, header lines, phrase if not the usual."""

    status: int
    why: str
    extra: str = ""
    phrase: str | None = None


def inspect(request: Request) -> Refusal | None:
    """The refusal that the request earns by its method, Request-URI, extensions or Accept; None when it may pass."""
    method = request.method
    if method not in _TAKEN:
        if method in _KNOWN:
            why = "transfers by strangers are toll fraud" if method == "REFER" else "not taken"
            return Refusal(405, f"method {method}: {why}", f"Allow: {ALLOW}\r\n")
        return Refusal(501, "unknown method", f"Allow: {ALLOW}\r\n")
    uri = request.uri
    if not (uri.startswith("sip:") or scheme_of(uri) in ("sip", "sips", "tel")):
        return Refusal(416, f"Request-URI scheme {scheme_of(uri) or 'missing'}")
    if "?" in uri and "?" in uri.rpartition("@")[2]:
        # RFC 3261 19.1.1: headers have no place in a Request-URI; what they ask for is not for us to guess.
        return Refusal(400, "headers in the Request-URI", phrase="Headers in Request-URI")
    required = request.all("require")
    if required:
        unknown = [tag for tag in parse_tokens(required) if tag.lower() not in _EXTENSIONS]
        if unknown:
            tags = ", ".join(unknown)
            return Refusal(420, f"Require: {tags}", f"Unsupported: {tags}\r\n")
    if method == "INVITE":
        accepted = request.get("accept")
        if accepted and not _accepts_sdp(request.values("accept")):
            return Refusal(406, f"Accept: {accepted} leaves out {SDP_TYPE}")
    return None


def _accepts_sdp(ranges: list[str]) -> bool:
    kinds = {value.partition(";")[0].strip().lower() for value in ranges}
    return bool(kinds & {SDP_TYPE, "application/*", "*/*"}) or any(kind.startswith("multipart/") for kind in kinds)
