"""Responses: what is copied from the request, where they go, and their bytes (RFC 3261 8.2.6, 18.2).

The copied header lines are joined once per request; every response is then one more join.
"""

from __future__ import annotations

import re

from offhook.sip.flow import Flow
from offhook.sip.header import Via, clean, split_values
from offhook.sip.message import Request

REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
    199: "Early Dialog Terminated", 200: "OK", 202: "Accepted", 204: "No Notification", 300: "Multiple Choices",
    301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large",
    414: "Request-URI Too Long", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
    417: "Unknown Resource-Priority", 420: "Bad Extension", 421: "Extension Required",
    422: "Session Interval Too Small", 423: "Interval Too Brief", 428: "Use Identity Header",
    429: "Provide Referrer Identity", 433: "Anonymity Disallowed", 436: "Bad Identity Info",
    437: "Unsupported Credential", 438: "Invalid Identity Header", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
    485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
    491: "Request Pending", 493: "Undecipherable", 494: "Security Agreement Required",
    500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
    600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
    607: "Unwanted", 608: "Rejected",
}  # fmt: skip
"""Reason phrases (RFC 3261 21 and the IANA registry)."""

_RPORT = re.compile(r";[ \t]*+rport(?:[ \t]*+=[^;]*+|(?=[ \t]*+(?:;|$)))", re.IGNORECASE)
_RECEIVED = re.compile(r";[ \t]*+received[ \t]*+=[^;]*+", re.IGNORECASE)


def response_head(request: Request, remote: tuple[str, int]) -> str:
    """The lines that every response to the request carries, To last and without a line end, so that a tag can follow.

    Works on what could be read of a malformed request too: fields that are missing are left out.
    """
    get = request.fields.get
    via, sender, call_id, cseq, to = get("Via"), get("From"), get("Call-ID"), get("CSeq"), get("To")
    lines = f"Via: {_stamped(via, request.via, remote)}\r\n" if via else ""
    if request.repeats("via"):
        lines += "".join(f"Via: {value}\r\n" for value in request.all("via")[1:])
    timestamp = get("Timestamp")
    if timestamp is not None:
        lines += f"Timestamp: {timestamp}\r\n"
    if sender is not None and call_id is not None and cseq is not None and to is not None:
        return f"{lines}From: {sender}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\nTo: {to}"
    known = (("From", sender), ("Call-ID", call_id), ("CSeq", cseq), ("To", to))
    return (lines + "".join(f"{name}: {value}\r\n" for name, value in known if value is not None)).removesuffix("\r\n")


def _stamped(value: str, via: Via | None, remote: tuple[str, int]) -> str:
    """The top Via with ``received`` and ``rport`` filled in (RFC 3261 18.2.1, RFC 3581 4)."""
    if via is None:
        return value
    rest = ""
    if "," in value:
        values = split_values(value)
        value, rest = values[0], "".join(f", {other}" for other in values[1:])
    host, port = remote
    if via.has_received:
        # Only the receiver may write it; a value that came in is somebody's mistake or trick.
        value = _RECEIVED.sub("", value)
    if via.wants_port:
        if value.endswith(";rport"):
            return f"{value}={port};received={host}{rest}"
        return f"{_RPORT.sub(f';rport={port}', value, count=1)};received={host}{rest}"
    if via.sent_by == host or via.sent_by.startswith(f"{host}:"):
        return value + rest
    return f"{value};received={host}{rest}"


def reply_flow(request: Request, flow: Flow) -> Flow:
    """Where responses to the request go (RFC 3261 18.2.2, RFC 3581 4).

    To the source address, and to the source port when ``rport`` asks for it, else to the port of the Via. ``maddr`` is
    not followed: it would let anyone aim our responses at a third party. A request without a readable Via is answered
    to its source.
    """
    via = request.via
    if flow.transport != "UDP" or via is None or via.wants_port:
        return flow
    port = via.address[1]
    if port == flow.remote[1]:
        return flow
    return Flow("UDP", (flow.remote[0], port), flow.local)


def reconnect_flow(request: Request, flow: Flow) -> Flow:
    """Where responses go when the connection the request came on is closed:

    ``received`` and the Via's port (RFC 3261 18.2.2).
    """
    port = request.via.address[1] if request.via is not None else 5060
    return Flow(flow.transport, (flow.remote[0], port), flow.local)


def encode_response(
    head: str, status: int, reason: str, extra: str = "", body: bytes = b"", content_type: str = ""
) -> bytes:
    """The bytes of a response. ``extra`` holds further header lines, each with its line end.

    A body always comes with its Content-Type (RFC 3261 20.15); peers hang up on one without.
    """
    if body:
        content_type = content_type or "application/sdp"
        extra += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        return f"SIP/2.0 {status} {reason}\r\n{head}\r\n{extra}".encode("utf-8", "surrogateescape") + body
    return f"SIP/2.0 {status} {reason}\r\n{head}\r\n{extra}Content-Length: 0\r\n\r\n".encode("utf-8", "surrogateescape")


def reason_phrase(status: int, reason: str | None = None) -> str:
    """The phrase given, fit for a status line, or the registered one."""
    if reason:
        return clean(reason)
    return REASONS.get(status) or REASONS.get(status // 100 * 100, "Unknown")


def warning(text: str) -> tuple[str, str]:
    """A Warning header that tells people why (RFC 3261 20.43: 399, miscellaneous); its name and its value."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return "Warning", f'399 offhook "{quoted}"'


def header_lines(headers: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    """Header lines of the host's, each with its line end; line breaks inside cannot make more of them."""
    return "".join(f"{clean(name)}: {clean(value)}\r\n" for name, value in headers)
