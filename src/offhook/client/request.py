"""From a method's arguments to the bytes that are sent. Nothing here waits, reads a clock or opens a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import UNSET, Struct, UnsetType

from offhook.client.fields import ExtraHeaders, checked_value, replace_headers, shown_headers
from offhook.client.settings import Settings

RETRY_COUNT: Final = "x-stainless-retry-count"
"""How often this request was sent before. The name is the official package's: servers know repetitions by it."""

ExtraQuery = Mapping[str, object]
ExtraBody = Mapping[str, object]

_encode = msgspec.json.Encoder().encode


class Options(Struct, frozen=True):
    """What every method takes besides its own arguments."""

    extra_headers: ExtraHeaders | None
    extra_query: ExtraQuery | None
    extra_body: ExtraBody | None
    timeout: float | None | UnsetType
    idempotency_key: str | None
    max_retries: int | None


class Operation(Struct, frozen=True):
    """One call of the API before the client's settings are added: ``body`` is its JSON members, None for no body."""

    path: str
    accept: str
    body: Mapping[str, Any] | None
    write: Callable[[Mapping[str, Any]], tuple[str, bytes]] | None = None
    """Writes the members as something else than JSON: returns the content type and the bytes."""


class Request(Struct, frozen=True):
    """A request as a transport gets it: ``target`` is the path with its query, header names are in lower case."""

    method: str
    origin: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.target

    def __repr__(self) -> str:
        return (
            f"Request({self.method!r}, {self.url!r}, headers={shown_headers(self.headers)!r}, {len(self.body)} bytes)"
        )


def build_request(
    settings: Settings, operation: Operation, options: Options, *, api_key: str | None, retries_taken: int
) -> Request:
    """Return the request of one attempt.

    Raises ValueError for a header that cannot be one, TypeError for a body that JSON cannot hold.
    """
    headers = {"accept": operation.accept, **settings.headers}
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    members = operation.body
    if options.extra_body is not None:
        members = {**(members or {}), **options.extra_body}
    if members is None:
        body = b""
    elif operation.write is None:
        body = _encode(members)
        headers["content-type"] = "application/json"
    else:
        headers["content-type"], body = operation.write(members)
    headers[RETRY_COUNT] = str(retries_taken)
    if options.idempotency_key is not None:
        headers["idempotency-key"] = checked_value("idempotency_key", options.idempotency_key)
    if settings.default_headers:
        replace_headers(headers, settings.default_headers)
    if options.extra_headers:
        replace_headers(headers, options.extra_headers, keep="content-type" if operation.write is not None else None)
    target = settings.path + operation.path
    if settings.default_query or options.extra_query:
        target = add_query(target, {**settings.default_query, **(options.extra_query or {})})
    return Request("POST", settings.origin, target, headers, body)


def add_query(target: str, query: Mapping[str, object]) -> str:
    """Return the target with more query parameters: true and false in lower case, lists repeated, None left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        each: Iterable[object] = value if isinstance(value, list | tuple) else (value,)
        pairs += [(name, _query_text(one)) for one in each if one is not None and one is not UNSET]
    if not pairs:
        return target
    return target + ("&" if "?" in target else "?") + urlencode(pairs)


def _query_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def call_path(call_id: str, action: str) -> str:
    """Return the path of a call's action.

    Raises ValueError for an id that would name another path: an empty one, ``.`` or ``..``.
    """
    if not call_id:
        raise ValueError(f"Expected a non-empty value for `call_id` but received {call_id!r}")
    if call_id in {".", ".."}:
        raise ValueError(f"{call_id!r} cannot be the id of a call")
    return f"/realtime/calls/{quote(call_id, safe='')}/{action}"


def present(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members that were given: None is one of them, UNSET is not."""
    return {name: value for name, value in members.items() if value is not UNSET}


def write_call(members: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return the body of ``create``: the bare SDP, or a form of it and the session where one is given.

    The parts have types and no file names (contract a.4). Source: API reference, "Create call"; RFC 7578.
    """
    given = present(dict(members))
    if set(given) == {"sdp"}:
        return "application/sdp", str(given["sdp"]).encode()
    parts = []
    for name, value in given.items():
        kind, text = ("application/sdp", str(value).encode()) if name == "sdp" else ("application/json", _encode(value))
        field = quote(name, safe=" ").encode()
        head = b'Content-Disposition: form-data; name="%s"\r\nContent-Type: %s\r\n\r\n' % (field, kind.encode())
        parts.append(head + text)
    # A boundary may stand in no part (RFC 2046 5.1.1); one that grows until it does not needs no chance.
    boundary = b"offhook"
    while any(boundary in part for part in parts):
        boundary += b"-x"
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    return f"multipart/form-data; boundary={boundary.decode()}", body
