"""HTTP to an MCP server that nobody trusts: pinned to an address that was looked at, bounded, never redirected away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, cast

import httpx2

from offhook.mcp.policy import McpOptions, addresses_of

# One answer, or one event of a stream. Listings of a hundred tools have some hundred kilobytes.
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
# The protocol's client follows them within the same origin only.
MAX_REDIRECTS: Final = 3
# An empty line, whatever ends lines. Source: WHATWG HTML, "Server-sent events", 9.2.5.
_EVENT_ENDS: Final = (b"\n\n", b"\n\r", b"\r\r")


class TooMuchError(httpx2.TransportError):
    """A server sent more than anybody has use for."""


class _Bounded(httpx2.AsyncByteStream):
    """The body of a response, up to a limit. A stream of events lives as long as its session: each has the limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, events: bool) -> None:
        self._stream = stream
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size_bytes = 0
        last = b""
        async for chunk in self._stream:
            size_bytes += len(chunk)
            if self._events:
                joined = last + chunk
                if (end := max(map(joined.rfind, _EVENT_ENDS))) >= 0:
                    size_bytes = len(joined) - end - 2
                last = joined[-1:]
            if size_bytes > MAX_RESPONSE_BYTES:
                raise TooMuchError(
                    f"more than {MAX_RESPONSE_BYTES} bytes in one {'event' if self._events else 'response'}"
                )
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to the address that was looked at, whatever the name leads to a moment later.

    ``refusal`` is the HTTP status when the last message, or all that came before any success, was refused; else 0.
    """

    def __init__(self, options: McpOptions) -> None:
        self._options = options
        self._inner = httpx2.AsyncHTTPTransport()
        self.refusal = 0
        self._was_served = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request. Raises AddressRefusedError, and TransportError for what an untrusted server may do."""
        url = request.url
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            addresses = await addresses_of(url.host, port, self._options)
        except (OSError, UnicodeError) as failure:
            raise httpx2.ConnectError(f"'{url.host}' cannot be found", request=request) from failure
        # A few compressed bytes can be gigabytes.
        request.headers["accept-encoding"] = "identity"
        response = await self._send(request, addresses)
        if response.status_code < 300:
            self.refusal, self._was_served = 0, True
        elif request.method == "POST" or not self._was_served:
            # A server may well refuse the stream of its own messages, which is a GET, and nothing else.
            self.refusal = response.status_code
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise TooMuchError("a compressed response, which was not asked for")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(cast("httpx2.AsyncByteStream", response.stream), events=kind == "text/event-stream"),
            extensions=response.extensions,
        )

    async def _send(self, request: httpx2.Request, addresses: list[str]) -> httpx2.Response:
        """Send a request to the first of the addresses that can be connected to."""
        url = request.url
        for place, address in enumerate(addresses, 1):
            pinned = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except httpx2.ConnectError:
                if place == len(addresses):
                    raise
        raise httpx2.ConnectError(f"'{url.host}' has no address", request=request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


def guarded_client(transport: GuardedTransport, headers: dict[str, str], answer_s: float) -> httpx2.AsyncClient:
    """Return a client of one server. A stream of events may be silent for as long as the session lasts."""
    return httpx2.AsyncClient(
        transport=transport,
        headers=headers,
        timeout=httpx2.Timeout(answer_s, read=None),
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
    )
