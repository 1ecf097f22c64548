"""One method call as a machine: send, send again, follow, or give up. Shells do the sending and the waiting.

Source: contract, "Retries, timeouts, errors"; RFC 9110 15.4 (redirects), 10.2.3 (Retry-After).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from msgspec import UNSET
from msgspec.structs import replace

from offhook.client import limits
from offhook.client.answer import Answer
from offhook.client.errors import APIConnectionError, RedirectError, status_error
from offhook.client.request import Operation, Options, Request, build_request
from offhook.client.settings import Settings, timeout_of

REPEATED: Final = frozenset({408, 409, 429})
# Those that keep method and body (RFC 9110 15.4.8, 15.4.9); the others would make a GET of a POST.
FOLLOWED: Final = frozenset({307, 308})
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Exchange:
    """What happens between a method's arguments and its answer.

    Ask for ``next_request`` and send it. A 2xx answer is the answer; what else came of it is told by ``refused`` or
    ``failed``. Both return the pause in seconds before the next request, or raise what the method raises.
    """

    def __init__(self, settings: Settings, operation: Operation, options: Options) -> None:
        self._settings = settings
        self._operation = operation
        self._options = options
        self._moved: str | None = None
        self._redirects = 0
        self.retries_taken = 0
        """How often it was sent again."""
        self.max_retries = settings.max_retries if options.max_retries is None else options.max_retries
        """How often it may be."""
        given = options.timeout
        self.timeout_s = settings.timeout if given is UNSET else timeout_of(given)
        """For each attempt; None waits for ever."""
        self.request: Request | None = None
        """What was sent last."""

    def next_request(self, api_key: str | None) -> Request:
        """Return the request to send now."""
        request = build_request(
            self._settings, self._operation, self._options, api_key=api_key, retries_taken=self.retries_taken
        )
        if self._moved is not None:
            request = replace(request, target=self._moved)
        self.request = request
        return request

    def refused(self, answer: Answer, chance: float, unix_s: float) -> float:
        """Return the pause after an answer that is none of 2xx. Raises APIStatusError.

        ``chance`` is in [0, 1), ``unix_s`` the time of day.
        """
        if 300 <= answer.status < 400:
            self._follow(answer)
            return 0.0
        pause_s = self._pause_s(chance, answer, unix_s) if _is_passing(answer) else None
        if pause_s is None:
            raise status_error(answer, self.request)
        return pause_s

    def failed(self, failure: APIConnectionError, chance: float) -> float:
        """Return the pause before the next attempt; raises the failure when there is none left."""
        failure.request = self.request
        pause_s = self._pause_s(chance, None, 0.0)
        if pause_s is None:
            raise failure
        return pause_s

    def _pause_s(self, chance: float, answer: Answer | None, unix_s: float) -> float | None:
        if self.retries_taken >= self.max_retries:
            return None
        asked_s = None if answer is None else asked_pause_s(answer, unix_s)
        if asked_s is None:
            longest = limits.FIRST_PAUSE_S * 2.0 ** min(self.retries_taken, 32)
            asked_s = min(longest, limits.LONGEST_PAUSE_S) * (1 - limits.JITTER * chance)
        self.retries_taken += 1
        return asked_s

    def _follow(self, answer: Answer) -> None:
        location = answer.headers.get("location")
        if location is None:
            raise status_error(answer, self.request)
        assert self.request is not None
        try:
            url = urljoin(self.request.url, location)
            parts = urlsplit(url)
            same = (parts.scheme, parts.hostname, _port(parts.scheme, parts.port)) == _origin(self.request.origin)
        except ValueError:
            same = False
        message = f"The server answered {answer.status} and points "
        if not same:
            message += "to another origin, where no key of this one may go."
        elif answer.status not in FOLLOWED:
            message += "elsewhere by a status that would drop the body."
        elif self._redirects >= limits.MAX_REDIRECTS:
            message += "elsewhere again and again."
        elif not url.isascii() or not url.isprintable() or " " in url:
            message += "to what is not a URL."
        else:
            self._redirects += 1
            self._moved = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            return
        raise RedirectError(message, answer, self.request, body=answer.parsed_body())


def _is_passing(answer: Answer) -> bool:
    """Whether the same request may fare better a moment later."""
    said = answer.headers.get("x-should-retry")
    if said in {"true", "false"}:
        return said == "true"
    return answer.status in REPEATED or answer.status >= 500


def asked_pause_s(answer: Answer, unix_s: float) -> float | None:
    """Return the pause that an answer asks for, None when it asks for none that can be kept."""
    milliseconds = _number(answer.headers.get("retry-after-ms"))
    pause_s = None if milliseconds is None else milliseconds / 1000
    if pause_s is None and (value := answer.headers.get("retry-after")) is not None:
        pause_s = _number(value)
        if pause_s is None:
            # Dates are rare, and their parser is a quarter of all that a client imports.
            from email.utils import parsedate_to_datetime

            try:
                pause_s = parsedate_to_datetime(value).timestamp() - unix_s
            except (ValueError, OverflowError):
                return None
    return pause_s if pause_s is not None and 0 < pause_s <= limits.LONGEST_ASKED_PAUSE_S else None


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _origin(origin: str) -> tuple[str, str | None, int]:
    parts = urlsplit(origin)
    return parts.scheme, parts.hostname, _port(parts.scheme, parts.port)


def _port(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "https" else 80)
