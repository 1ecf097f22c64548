"""What happened in a test, on one line of time: SIP, HTTP, events and speech between caller, server and application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from offhook.errors import RemoteError
from offhook.sip.message import Request, parse_message

MAX_RUNGS: Final = 5000
"""An hour of a lively call; what comes later is counted only."""

_TIME: Final = 10
_SPAN: Final = 36
_SAID: Final = 28
# A stream of words or of sound is one fact; its pieces are not shown.
_PIECES: Final = (".delta", "rate_limits.updated", "response.content_part.added", "response.content_part.done")

Lane = Literal["caller", "sip>", "<sip", "http>", "<http", "event", "note"]


@dataclass(frozen=True, slots=True)
class Rung:
    """Something that happened ``at_s`` seconds after the beginning.

    ``sip>`` leads from the caller to the server, ``<sip`` back, ``<http`` from the application to the server.
    """

    at_s: float
    lane: Lane
    text: str


class Ladder:
    """Collects what happens, and draws it. ``tell`` is given each line as it comes."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[str], Any] | None = None) -> None:
        self.rungs: list[Rung] = []
        self.left_out = 0
        self._clock = clock
        self._began = clock()
        self._tell = tell

    def note(self, lane: Lane, text: str, at: float | None = None) -> None:
        """Something happened now, or at another instant of the clock."""
        rung = Rung((self._clock() if at is None else at) - self._began, lane, text)
        if len(self.rungs) >= MAX_RUNGS:
            self.left_out += 1
            return
        self.rungs.append(rung)
        if self._tell is not None:
            self._tell(_drawn(rung))

    def begin_like(self, other: Ladder) -> None:
        """Take over what another ladder has, and its beginning."""
        self._began = other._began
        self.rungs = list(other.rungs)
        self.left_out = other.left_out

    def sip(self, data: bytes, incoming: bool) -> None:
        """A SIP message left the caller, or came in to it."""
        self.note("<sip" if incoming else "sip>", sip_summary(data))

    def event(self, event: dict[str, Any]) -> None:
        """A server event was sent; the pieces of what is told whole as well are left out."""
        kind = str(event.get("type"))
        if not kind.endswith(_PIECES):
            self.note("event", event_summary(event))

    def __str__(self) -> str:
        rungs = sorted(self.rungs, key=lambda rung: rung.at_s)
        lines = [_heading(), *map(_drawn, rungs)]
        if self.left_out:
            lines.append(f"{'':{_TIME}} ... and {self.left_out} more")
        return "\n".join(lines)


def _heading() -> str:
    return f"{'ms':>{_TIME - 2}}  {'caller':<{_SPAN}}{'offhook':<{_SPAN}}application"


def _drawn(rung: Rung) -> str:
    start = f"{rung.at_s * 1000:>{_TIME - 2}.0f}  "
    text = printable(rung.text)
    inner = _SPAN - 4
    match rung.lane:
        case "sip>":
            return f"{start}|{f' {text} ':-^{inner}}>|"
        case "<sip":
            return f"{start}|<{f' {text} ':-^{inner}}|"
        case "http>":
            return f"{start}|{'':{_SPAN - 3}}|{f' {text} ':-^{inner}}>|"
        case "<http":
            return f"{start}|{'':{_SPAN - 3}}|<{f' {text} ':-^{inner}}|"
        case "event":
            return f"{start}|{'':{_SPAN - 3}}|  {text}"
        case "caller":
            return f"{start}|  {text}"
        case "note":
            return f"{start}*  {text}"


def printable(text: str) -> str:
    """Return a text that others may have written, as it may go to a terminal: one line, control characters escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def sip_summary(data: bytes) -> str:
    """Return a SIP message in a few words."""
    try:
        message = parse_message(data)
    except RemoteError:
        return "(not SIP)"
    if isinstance(message, Request):
        return message.method
    method = (message.get("CSeq") or "").partition(" ")[2]
    suffix = f" ({method})" if method and method != "INVITE" else ""
    return f"{message.status} {message.reason}{suffix}"


def event_summary(event: dict[str, Any]) -> str:
    """Return a server event in a few words, with what people look for in it."""
    kind = str(event.get("type"))
    match event:
        case {"type": "response.done", "response": {"status": status} as response}:
            details = response.get("status_details") or {}
            why = (details.get("error") or {}).get("message") or details.get("reason")
            return f"{kind} {status}" + (f": {why}" if why else "")
        case {"transcript": str(words)}:
            return f'{kind} "{words}"'
        case {"name": str(name), "arguments": str(arguments)}:
            return f"{kind} {name}({arguments})"
        case {"type": "error", "error": {"message": message}}:
            return f"{kind}: {message}"
        case {"event": str(digit)}:
            return f"{kind} {digit}"
        case _:
            return kind
