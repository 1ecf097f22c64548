"""What is in a message's body: finding the session description, also inside a multipart (RFC 3261 7.4, RFC 5621)."""

from __future__ import annotations

from offhook.sip.errors import SipParseError
from offhook.sip.header import ValueWithParams, parse_value
from offhook.sip.limits import MAX_MULTIPART_PARTS
from offhook.sip.message import Request, Response

SDP_TYPE = "application/sdp"


class UnsupportedContentError(Exception):
    """The body is required to be understood and is not; the response is 415.

    ``encoding`` when its encoding is at fault.
    """

    def __init__(self, why: str, *, encoding: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.encoding = encoding


def session_description(message: Request | Response) -> bytes | None:
    """The session description in the body, None when there is none.

    A body without Content-Type that looks like one is taken as one. Raises UnsupportedContentError for any other body,
    unless its Content-Disposition says that it may be ignored (RFC 3261 20.11).
    """
    body = message.body
    if not body:
        return None
    encoding = message.get("content-encoding")
    if encoding and encoding.strip().lower() not in ("identity", ""):
        raise UnsupportedContentError(f"Content-Encoding {encoding}", encoding=True)
    kind = message.get("content-type")
    if kind is None:
        if body.startswith(b"v=0"):
            return body
        raise UnsupportedContentError("Body without Content-Type")
    if kind[:15].lower() == SDP_TYPE and kind[15:].lstrip()[:1] in ("", ";"):
        return body
    content = _read(kind)
    if content.value.startswith("multipart/"):
        found = _in_multipart(body, content.param("boundary") or "")
        if found is not None:
            return found
    disposition = message.get("content-disposition")
    if disposition is not None and (_read(disposition).param("handling") or "").lower() == "optional":
        return None
    raise UnsupportedContentError(f"Content-Type {kind}")


def _read(value: str) -> ValueWithParams:
    try:
        return parse_value(value)
    except SipParseError:
        return ValueWithParams(value.partition(";")[0].strip().lower())


def _in_multipart(body: bytes, boundary: str) -> bytes | None:
    if not boundary:
        return None
    mark = b"--" + boundary.encode("utf-8", "surrogateescape")
    for part in body.split(mark, MAX_MULTIPART_PARTS)[1:]:
        if part.startswith(b"--"):
            return None
        head, gap, content = part.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() in (b"content-type", b"c") and value.strip().lower().startswith(SDP_TYPE.encode()):
                return content.removesuffix(b"\r\n") if gap else None
    return None
