"""Header fields of requests: what may stand in them, and which of them nobody gets to see. Source: RFC 9110 5."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ExtraHeaders = Mapping[str, str | None]
"""Headers by name, in any case; None takes one away."""

SECRET_FIELDS: Final = frozenset(
    {"authorization", "api-key", "cookie", "proxy-authorization", "set-cookie", "x-api-key"}
)
HIDDEN: Final = "(hidden)"

# What a message's framing hangs on is written where the message is (RFC 9112 6).
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2, token
_VALUE = re.compile(r"[\t -~]*")  # RFC 9110 5.5, without the obsolete bytes above ASCII


def replace_headers(headers: dict[str, str], given: ExtraHeaders, keep: str | None = None) -> None:
    """Set headers by name, in any case; None takes one away. ``keep`` is not touched."""
    for name, value in given.items():
        lower = name.lower()
        if not _NAME.fullmatch(name) or lower in _FRAMING:
            raise ValueError(f"{name!r} cannot be the name of a header of one's own")
        if lower == keep:
            continue
        if value is None:
            headers.pop(lower, None)
        else:
            headers[lower] = checked_value(name, value)


def checked_value(name: str, value: str) -> str:
    """Return a header's value. Raises ValueError, without showing it, for one that would end or break the header."""
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} cannot be the value of a header")
    return value.strip()


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as they may be printed. Names are in lower case."""
    return {name: HIDDEN if name in SECRET_FIELDS else value for name, value in headers.items()}
