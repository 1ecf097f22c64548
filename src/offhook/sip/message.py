"""SIP messages: read from bytes, written to bytes (RFC 3261 7).

A message keeps its header fields as they came: names in their spelling, values, order and repeats. Lookup goes through
an index by lower-case long name. Bytes that are no UTF-8 survive the round trip as surrogate escapes.
"""

from __future__ import annotations

import re
from typing import Final

from offhook.sip.errors import SipParseError
from offhook.sip.header import TOKEN, Via, parse_cseq, parse_name_addr, parse_via, split_values
from offhook.sip.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADER_LINES

# Header fields that mean something to us or are seen every day, in the spelling of their RFCs: the keys of the index.
# When a message uses no other spelling, which is nearly always, its index is a single dict() of its lines.
_COMMON_NAMES: Final = frozenset((
    "Accept", "Accept-Contact", "Accept-Encoding", "Accept-Language", "Alert-Info", "Allow", "Allow-Events",
    "Authorization", "Call-ID", "Contact", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Type",
    "CSeq", "Date", "Diversion", "Event", "Expires", "From", "History-Info", "Identity", "Identity-Info",
    "Max-Forwards", "Min-SE", "P-Asserted-Identity", "P-Charging-Vector", "P-Preferred-Identity", "Privacy",
    "Proxy-Authorization", "Proxy-Require", "RAck", "Reason", "Record-Route", "Refer-Sub", "Refer-To", "Referred-By",
    "Reject-Contact", "Remote-Party-ID", "Replaces", "Request-Disposition", "Require", "Retry-After", "Route", "RSeq",
    "Server", "Session-Expires", "Session-ID", "Subject", "Subscription-State", "Supported", "Timestamp", "To",
    "Unsupported", "User-Agent", "Via", "Warning",
))  # fmt: skip
_CANONICAL: Final = {name.lower(): name for name in _COMMON_NAMES} | {
    # Compact forms (RFC 3261 7.3.3, and the RFCs that added some).
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
_SINGLE = ("From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type")

_COMMON_METHODS = frozenset(("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "NOTIFY", "UPDATE", "INFO", "REGISTER"))
_REQUEST_LINE = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]++) ([^ \t<>]++) SIP/([0-9]++)\.([0-9]++)", re.IGNORECASE)
_STATUS_LINE = re.compile(r"SIP/([0-9]++)\.([0-9]++) ([0-9]++)(?: (.*))?", re.IGNORECASE | re.DOTALL)
# An address as nearly all peers write it, the tag its only parameter: one match instead of a full parse.
_PLAIN_ADDRESS = re.compile(r'(?:"[^"\\]*+" ?|[A-Za-z0-9 .+_\-]*+)<[^<>" \t]++>(?:;tag=([^;\s"<>,]++))?+')
_FOLD = re.compile(r"\n[ \t]++")
_SPACE = " \t"

Headers = list[tuple[str, str]]
_Index = tuple[dict[str, str], set[str] | None]


class Message:
    """What requests and responses have in common: header fields in order, and a body.

    ``headers`` holds (name, value) exactly as received; folded lines are joined with one blank. ``fields`` is the
    index: the first value of each header field, by its name in the spelling of the RFCs, others in lower case.
    """

    __slots__ = ("_repeated", "body", "fields", "headers")

    headers: Headers
    body: bytes
    fields: dict[str, str]
    _repeated: set[str] | None

    def get(self, name: str) -> str | None:
        """The value of the first field of that lower-case long name, or None."""
        return self.fields.get(_CANONICAL.get(name, name))

    def all(self, name: str) -> list[str]:
        """The values of all fields of that lower-case long name, one for each line, in order."""
        key = _CANONICAL.get(name, name)
        first = self.fields.get(key)
        if first is None:
            return []
        if self._repeated is None or key not in self._repeated:
            return [first]
        return [value for other, value in self.headers if _canonical(other) == key]

    def values(self, name: str) -> list[str]:
        """Like ``all``, with comma-separated values apart."""
        lines = self.all(name)
        if len(lines) == 1 and "," not in lines[0]:
            return lines if lines[0] else []
        return [value for line in lines for value in split_values(line)]

    def repeats(self, name: str) -> bool:
        """Whether more than one line carries that lower-case long name."""
        return self._repeated is not None and _CANONICAL.get(name, name) in self._repeated

    @property
    def contact_uri(self) -> str | None:
        """The URI of the first Contact, None when there is none or it cannot be read."""
        value = self.fields.get("Contact")
        if not value:
            return None
        if value[0] == "<" and value[-1] == ">" and value.count("<") == 1 and not (" " in value or "\t" in value):
            return value[1:-1]
        try:
            return parse_name_addr((split_values(value) or [""])[0]).uri
        except SipParseError:
            return None

    def _encode(self, start_line: str) -> bytes:
        lines = [start_line]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self.body


class Request(Message):
    """A request whose Via, From, To, Call-ID and CSeq have been read and found good.

    ``via`` is the top Via; ``from_tag`` and ``to_tag`` are "" when absent; ``cseq`` is the number.
    """

    __slots__ = ("call_id", "cseq", "from_tag", "method", "to_tag", "uri", "via")

    def __init__(self, method: str, uri: str, headers: Headers, body: bytes = b"", index: _Index | None = None) -> None:
        self.headers = headers
        self.body = body
        self.fields, self._repeated = index if index is not None else _index(headers)
        self.method = method
        self.uri = uri
        self.call_id = ""
        self.cseq = 0
        self.from_tag = ""
        self.to_tag = ""
        self.via: Via | None = None

    def encode(self) -> bytes:
        """The bytes of the message, header fields as they stand."""
        return self._encode(f"{self.method} {self.uri} SIP/2.0")


class Response(Message):
    """A response whose Via, From, To, Call-ID and CSeq have been read; ``method`` is that of the CSeq."""

    __slots__ = ("call_id", "cseq", "from_tag", "method", "reason", "status", "to_tag", "via")

    def __init__(
        self, status: int, reason: str, headers: Headers, body: bytes = b"", index: _Index | None = None
    ) -> None:
        self.headers = headers
        self.body = body
        self.fields, self._repeated = index if index is not None else _index(headers)
        self.status = status
        self.reason = reason
        self.method = ""
        self.call_id = ""
        self.cseq = 0
        self.from_tag = ""
        self.to_tag = ""
        self.via: Via | None = None

    def encode(self) -> bytes:
        """The bytes of the message, header fields as they stand."""
        return self._encode(f"SIP/2.0 {self.status} {self.reason}")


def _index(headers: Headers) -> _Index:
    first: dict[str, str] = {}
    repeated: set[str] | None = None
    for name, value in headers:
        key = _canonical(name)
        if key in first:
            repeated = repeated or set()
            repeated.add(key)
        else:
            first[key] = value
    return first, repeated


def _canonical(name: str) -> str:
    if name in _COMMON_NAMES:
        return name
    lower = name.lower()
    return _CANONICAL.get(lower, lower)


def parse_message(data: bytes, *, stream: bool = False) -> Request | Response:
    """Read one message: a datagram, or what StreamFramer cut from a stream.

    A datagram may lack Content-Length and may have bytes after the body (RFC 3261 18.3); a message from a stream may
    not lack it. Raises SipParseError with the status to answer, 0 for what deserves no answer.
    """
    message = _parse_unchecked(data, stream)
    check_message(message)
    return message


def _parse_unchecked(data: bytes, stream: bool) -> Request | Response:
    end = data.find(b"\r\n\r\n")
    if end >= 0:
        head, body = data[:end], data[end + 4 :]
    else:
        head, body = _split_loosely(data)
    if len(head) > MAX_HEADER_BYTES:
        raise SipParseError(513, "Message Too Large")
    text = head.decode("utf-8", "surrogateescape")
    message = _read_plain(text) or _read_lines(text)
    length = message.fields.get("Content-Length")
    if length is not None:
        body = _cut_body(body, length, message)
    elif stream:
        raise SipParseError(400, "Missing Content-Length header", message)
    message.body = body
    return message


def _read_plain(text: str) -> Request | Response | None:
    """Read the head of a message in which every line is "Name: value"; None for one that needs more care.

    Folded lines, bare line breaks, tabs, and blanks around names and values need it.
    """
    start, *lines = text.split("\r\n")
    breaks = len(lines)
    if breaks > MAX_HEADER_LINES or breaks != text.count("\n") or breaks != text.count("\r"):
        return None
    if "\t" in text or ":  " in text or " \r" in text or text[-1:] == " ":
        return None
    headers = [(name, value) for name, _, value in [line.partition(": ") for line in lines]]
    # In reverse, so that of repeated names the first line stays.
    first = dict(headers[::-1])
    if len(first) == breaks and "" not in first.values() and _COMMON_NAMES.issuperset(first):
        return _start(start, headers, (first, None))
    for name, value in headers:
        # A value that is empty may be a line without a colon.
        if not value or (name not in _COMMON_NAMES and TOKEN.fullmatch(name) is None):
            return None
    return _start(start, headers, _index(headers))


def _read_lines(text: str) -> Request | Response:
    """Read the head of a message line by line, with all that RFC 3261 7.3.1 allows."""
    text = _FOLD.sub(" ", text.replace("\r\n", "\n").replace("\r", " "))
    lines = text.split("\n")
    headers: Headers = []
    unreadable = False
    for line in lines[1 : MAX_HEADER_LINES + 1]:
        name, colon, value = line.partition(":")
        name = name.rstrip(_SPACE)
        if colon and TOKEN.fullmatch(name):
            headers.append((name, value.strip(_SPACE)))
        else:
            unreadable = True
    message = _start(lines[0], headers, _index(headers))
    if len(lines) - 1 > MAX_HEADER_LINES:
        raise SipParseError(513, "Too many header lines", message)
    if unreadable:
        raise SipParseError(400, "Header line without a name", message)
    return message


def _split_loosely(data: bytes) -> tuple[bytes, bytes]:
    # Peers that end lines with a bare LF exist; a message without any empty line is all head.
    end = data.find(b"\n\n")
    if end >= 0:
        return data[:end], data[end + 2 :]
    return data.rstrip(b"\r\n"), b""


def _cut_body(body: bytes, length: str, message: Request | Response) -> bytes:
    if message.repeats("content-length") and len(set(message.all("content-length"))) > 1:
        raise SipParseError(400, "Multiple Content-Length headers", message)
    if not (length.isascii() and length.isdecimal() and len(length) < 20):
        raise SipParseError(400, "Malformed Content-Length header", message)
    size_bytes = int(length)
    if size_bytes > len(body):
        if size_bytes > MAX_BODY_BYTES:
            raise SipParseError(413, "Request Entity Too Large", message)
        raise SipParseError(400, "Content-Length exceeds the body", message)
    return body[:size_bytes] if size_bytes < len(body) else body


def _start(line: str, headers: Headers, index: _Index) -> Request | Response:
    if line.endswith(" SIP/2.0"):
        method, _, uri = line[:-8].partition(" ")
        if method in _COMMON_METHODS and uri and not (" " in uri or "<" in uri or ">" in uri or "\t" in uri):
            return Request(method, uri, headers, b"", index)
    found = _REQUEST_LINE.fullmatch(line)
    if found is not None:
        request = Request(found[1], found[2], headers, b"", index)
        if found[3] != "2" or int(found[4][:9]) != 0:
            raise SipParseError(505, "Version Not Supported", request)
        return request
    status = _STATUS_LINE.fullmatch(line)
    if status is not None:
        code = int(status[3][:9])
        response = Response(code, status[4] or "", headers, b"", index)
        if status[1] != "2" or int(status[2][:9]) != 0 or not 100 <= code <= 699:
            raise SipParseError(0, "Unusable status line", response)
        return response
    words = line.split()
    if len(words) >= 3 and words[-1][:4].upper() == "SIP/" and TOKEN.fullmatch(words[0]):
        raise SipParseError(
            400, "Malformed Request-Line", Request(words[0], " ".join(words[1:-1]), headers, b"", index)
        )
    raise SipParseError(0, "Not a SIP message")


def check_message(message: Request | Response) -> None:
    """Read the fields that every message must have into its attributes (RFC 3261 8.1.1).

    Raises SipParseError(400) naming the header for a request, SipParseError(0) for a response.
    """
    try:
        _check(message)
    except SipParseError as error:
        status = error.status if isinstance(message, Request) else 0
        raise SipParseError(status, error.reason, message) from None


def _check(message: Request | Response) -> None:
    first = message.fields
    if message._repeated is not None:
        for name in _SINGLE:
            if name in message._repeated:
                raise SipParseError(400, f"Multiple {name} headers")
    via = first.get("Via")
    if not via:
        raise SipParseError(400, "Missing Via header")
    message.via = parse_via(via if "," not in via else (split_values(via) or [""])[0])
    call_id = first.get("Call-ID")
    if not call_id:
        raise SipParseError(400, "Missing Call-ID header")
    message.call_id = call_id
    message.from_tag = read_tag(first.get("From"), "From")
    message.to_tag = read_tag(first.get("To"), "To")
    cseq = first.get("CSeq")
    if not cseq:
        raise SipParseError(400, "Missing CSeq header")
    message.cseq, method = parse_cseq(cseq)
    if isinstance(message, Response):
        message.method = method
        return
    if method != message.method:
        raise SipParseError(400, "CSeq method does not match")
    hops = first.get("Max-Forwards")
    if hops is not None and not (hops.isascii() and hops.isdecimal() and len(hops) < 20 and int(hops) <= 255):
        raise SipParseError(400, "Malformed Max-Forwards header")


def read_tag(value: str | None, header: str) -> str:
    """The tag of a From or To value, "" when it has none. Raises SipParseError(400) naming ``header``."""
    if not value:
        raise SipParseError(400, f"Missing {header} header")
    plain = _PLAIN_ADDRESS.fullmatch(value)
    if plain is not None:
        return plain[1] or ""
    return parse_name_addr(value, header).tag
