"""Whom a caller can be transferred to: the URIs that may stand in ``Refer-To``.

Unlike what arrives in SIP, which is read tolerantly, what an application sends is held to the grammar: it goes out
unchanged, and the other side would refuse it where nobody sees why. Source: RFC 3261 25.1, RFC 3966 3.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

_PLAIN = r"A-Za-z0-9\-_.!~*'()"
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_USER = re.compile(rf"(?:[{_PLAIN}&=+$,;?/]|{_ESCAPED})+(?::(?:[{_PLAIN}&=+$,]|{_ESCAPED})*)?")
_PARAM = rf"(?:[{_PLAIN}\[\]/:&+$]|{_ESCAPED})+"
_HEADER = rf"(?:[{_PLAIN}\[\]/?:+$]|{_ESCAPED})"
# Underscores are in no host name of the RFC, and in many of containers.
_NAME = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?"
_REST = re.compile(
    rf"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|{_NAME})(?::(?P<port>[0-9]{{1,5}}))?"
    rf"(?:;{_PARAM}(?:={_PARAM})?)*(?:\?{_HEADER}+={_HEADER}*(?:&{_HEADER}+={_HEADER}*)*)?"
)
_TEL = re.compile(rf"(?=\+?[\-.()]*[0-9A-Fa-f*#])(?:\+[0-9\-.()]+|[0-9A-Fa-f*#\-.()]+)(?:;{_PARAM}(?:={_PARAM})?)*")


def is_target(uri: str) -> bool:
    """Say whether a caller can be sent there: a whole ``tel:``, ``sip:`` or ``sips:`` URI."""
    scheme, _, rest = uri.partition(":")
    match scheme.lower():
        case "tel":
            return _TEL.fullmatch(rest) is not None
        case "sip" | "sips":
            user, at, host = rest.rpartition("@")
            found = _REST.fullmatch(host)
            if found is None or (at and _USER.fullmatch(user) is None):
                return False
            return _is_ipv6(found["ipv6"]) and int(found["port"] or 0) <= 65535
        case _:
            return False


def _is_ipv6(text: str | None) -> bool:
    try:
        return text is None or bool(IPv6Address(text).packed)
    except AddressValueError:
        return False
