"""Who calls whom, out of the headers of an INVITE. They are the caller's word: nothing in them is proved.

Source: RFC 3261 20.10, 20.20, 20.39 (name-addr), 19.1 (SIP URIs); RFC 3966 (tel URIs).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_BRACKETED: Final = re.compile(r'\s*(?:"(?:[^"\\]|\\.)*"|[^<"]*)\s*<([^>]*)>', re.DOTALL)
_VISUAL: Final = str.maketrans("", "", "-.()")  # RFC 3966 3, visual-separator


def party(value: str) -> str:
    """Return the number or user that a From or To names; the host where it names none, "" for what cannot be read.

    ``"Ann" <sip:+15550001@example.com>;tag=1`` is ``+15550001``.
    """
    bracketed = _BRACKETED.match(value)
    uri = bracketed[1].strip() if bracketed is not None else value.partition(";")[0].strip()
    scheme, colon, rest = uri.partition(":")
    if not colon:
        return ""
    if scheme.lower() == "tel":
        return unquote(rest.partition(";")[0]).translate(_VISUAL)
    if scheme.lower() not in {"sip", "sips"}:
        return ""
    user, at, host = rest.rpartition("@")
    if at:
        return unquote(user.partition(":")[0].partition(";")[0])
    return re.split(r"[;?]", host, maxsplit=1)[0]
