"""The header fields that a user agent reads: addresses, Via, CSeq, and lists of values with parameters.

Every reader takes one header value with its folding already undone, works in linear time, and raises SipParseError(400)
with a reason that is fit for a response's reason phrase.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from offhook.sip.errors import SipParseError
from offhook.sip.limits import MAX_CSEQ, MAX_LIST_VALUES
from offhook.sip.uri import Params, Uri, parse_uri

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")

# Possessive throughout (`*+`): no reader may give back what it has read, or 60 KB of blanks would cost seconds.
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_UNQUOTED_COMMA = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?$)|<[^>]*+(?:>|$)|,', re.DOTALL)
_ADDRESS = re.compile(rf"((?:{_QUOTED}|[^\"<]++)*+)<([^<>]*+)>[ \t]*+((?:;.*)?)", re.DOTALL)
_PARAM = re.compile(rf"[ \t]*+([^;=\"\s]*+)[ \t]*+(?:=[ \t]*+({_QUOTED}|[^;\"]*+))?+[ \t]*+(?:;|$)", re.DOTALL)
_VIA = re.compile(
    r"SIP[ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+([A-Za-z0-9\-]++)[ \t]++([^;:\s\[]++|\[[^\];\s]*+\])"
    r"[ \t]*+(?::[ \t]*+([0-9]++))?+[ \t]*+((?:;.*)?)",
    re.IGNORECASE,
)
# What nearly all peers write: the branch alone, or with an empty rport before or after it.
_PLAIN_VIA = re.compile(
    r"SIP/2\.0/(UDP|TCP|TLS) ([a-z0-9.\-]++(?::[0-9]++)?+)(;rport)?+;branch=([^\s;,\"]++)(;rport)?+"
)
_CSEQ = re.compile(r"([0-9]{1,40})[ \t]+(\S+)")
_ESCAPED_CHAR = re.compile(r"\\(.)", re.DOTALL)


class NameAddr(msgspec.Struct, frozen=True):
    """The value of From, To, Contact, Route, Refer-To and their kin: display name, URI text, header parameters."""

    display: str
    uri: str
    params: Params = ()

    def param(self, name: str) -> str | None:
        """The value of the first parameter of that lower-case name, "" when it has none, None when absent."""
        return find_param(self.params, name)

    @property
    def tag(self) -> str:
        """The dialog tag; "" when there is none, as RFC 2543 peers send it (RFC 3261 12.1.1)."""
        return self.param("tag") or ""

    def parsed_uri(self) -> Uri:
        """The URI taken apart; raises SipParseError(400) when that fails."""
        return parse_uri(self.uri)


class Via(NamedTuple):
    """What matters of one Via value (RFC 3261 20.42).

    ``sent_by`` is lower-case host and port as written; ``branch`` is "" when absent (RFC 2543). ``wants_port`` says
    that ``rport`` is there (RFC 3581), ``has_received`` that somebody filled in ``received`` already.
    """

    transport: str
    sent_by: str
    branch: str
    wants_port: bool
    has_received: bool

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to which responses go when nothing better is known (RFC 3261 18.2.2); port 5060 by default."""
        host, colon, port = self.sent_by.rpartition(":")
        if not colon or self.sent_by.endswith("]"):
            return self.sent_by.strip("[]"), 5060
        number = int(port) if port.isdecimal() else 0
        return host.strip("[]"), number if 0 < number < 65536 else 5060


class ValueWithParams(msgspec.Struct, frozen=True):
    """A value and its parameters: Event, Subscription-State, Reason, Content-Type, Refer-Sub."""

    value: str
    params: Params = ()

    def param(self, name: str) -> str | None:
        """The value of the first parameter of that lower-case name, "" when it has none, None when absent."""
        return find_param(self.params, name)


def find_param(params: Params, name: str) -> str | None:
    """The value of the first parameter of that lower-case name, "" when it has none, None when absent."""
    for key, value in params:
        if key == name:
            return value or ""
    return None


def split_values(text: str) -> list[str]:
    """Split a header value at its commas, but not inside quotes and angle brackets; empty values are dropped."""
    if "," not in text:
        return [text] if text else []
    values: list[str] = []
    start = 0
    for found in _UNQUOTED_COMMA.finditer(text):
        if found[0] == ",":
            value = text[start : found.start()].strip()
            if value:
                values.append(value)
            start = found.end()
            if len(values) >= MAX_LIST_VALUES:
                return values
    last = text[start:].strip()
    if last:
        values.append(last)
    return values


def parse_params(text: str) -> Params:
    """Read ``;name=value`` parameters; names in lower case, quotes kept out of the values, repeats kept."""
    params: list[tuple[str, str | None]] = []
    position = 0
    while position < len(text) and len(params) < MAX_LIST_VALUES:
        if text[position] == ";":
            position += 1
            continue
        found = _PARAM.match(text, position)
        if found is None:
            raise SipParseError(400, "Unreadable header parameter")
        if found[1]:
            value: str | None = found[2]
            if value is not None:
                value = unquote(value.rstrip())
            params.append((found[1].lower(), value))
        if found.end() == position:
            raise SipParseError(400, "Unreadable header parameter")
        position = found.end()
    return tuple(params)


def unquote(text: str) -> str:
    """The text of a quoted string with its backslash escapes undone; other text unchanged."""
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        text = text[1:-1]
        return _ESCAPED_CHAR.sub(r"\1", text) if "\\" in text else text
    return text


def parse_name_addr(text: str, header: str = "Contact") -> NameAddr:
    """Read one address value in either form (RFC 3261 20.10).

    Without angle brackets everything after the first ";" belongs to the header, not to the URI. Display names that
    should have been quoted, and blanks inside the brackets, are let through (RFC 4475 3.1.2.14, 3.1.2.15). Raises
    SipParseError(400) naming ``header``.
    """
    if "<" in text:
        found = _ADDRESS.fullmatch(text.strip(" \t"))
        if found is None:
            raise SipParseError(400, f"Malformed {header} header")
        uri = found[2].strip()
        display, params = unquote(found[1].strip()), found[3]
    else:
        if '"' in text.partition(";")[0]:
            raise SipParseError(400, f"Malformed {header} header")
        uri, _, rest = text.partition(";")
        uri, display, params = uri.strip(), "", ";" + rest if rest else ""
    if not uri or " " in uri or "\t" in uri:
        raise SipParseError(400, f"Malformed {header} header")
    try:
        return NameAddr(display, uri, parse_params(params) if params else ())
    except SipParseError:
        raise SipParseError(400, f"Malformed {header} header") from None


def parse_via(text: str) -> Via:
    """Read one Via value, blanks around its slashes included. Raises SipParseError(400)."""
    plain = _PLAIN_VIA.fullmatch(text)
    if plain is not None:
        transport, sent_by, before, branch, after = plain.groups()
        return Via(transport, sent_by, branch, before is not None or after is not None, False)
    found = _VIA.fullmatch(text)
    if found is None:
        raise SipParseError(400, "Malformed Via header")
    sent_by = found[2] if found[3] is None else f"{found[2]}:{found[3]}"
    rest = found[4]
    if '"' not in rest and any(not part.partition("=")[0].strip() for part in rest.split(";")[1:]):
        raise SipParseError(400, "Malformed Via header")
    params = parse_params(rest)
    branch = find_param(params, "branch") or ""
    names = {name for name, _ in params}
    return Via(found[1].upper(), sent_by.lower(), branch.strip(), "rport" in names, "received" in names)


def parse_cseq(text: str) -> tuple[int, str]:
    """Read a CSeq value: the number, below 2**31 (RFC 3261 8.1.1.5), and the method. Raises SipParseError(400)."""
    digits, _, method = text.partition(" ")
    if not (digits.isdecimal() and digits.isascii() and method.isalpha()):
        found = _CSEQ.fullmatch(text)
        if found is None:
            raise SipParseError(400, "Malformed CSeq header")
        digits, method = found[1], found[2]
    if len(digits) > 40 or (number := int(digits)) > MAX_CSEQ:
        raise SipParseError(400, "CSeq number out of range")
    return number, method


def parse_value(text: str) -> ValueWithParams:
    """Read ``value;name=value``; the value in lower case. Raises SipParseError(400) on broken parameters."""
    value, semicolon, rest = text.partition(";")
    return ValueWithParams(value.strip().lower(), parse_params(rest) if semicolon else ())


def parse_tokens(texts: list[str]) -> list[str]:
    """The tokens of a list header such as Require or Supported, over all its lines, case kept."""
    return [value for text in texts for value in split_values(text)]


def clean(text: str) -> str:
    """The text with line breaks and NUL made blanks, so that it can neither end nor add a header line."""
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
