"""A pytest plugin that puts offhook's client where the official package's tests expect the official one.

It is loaded by name (``-p offhook_shim``) before those tests are imported, and converts what is a difference of form:
our structures to their models, our binary answer to theirs. Everything else is what offhook's client does.
"""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import openai
from openai import _exceptions, _legacy_response
from openai._models import construct_type
from openai.types.realtime import ClientSecretCreateResponse
from openai.types.webhooks.unwrap_webhook_event import UnwrapWebhookEvent

import offhook
from offhook.client import async_calls, sync_calls, webhooks
from offhook.client.answer import Answer, BinaryResponse, Headers
from offhook.client.async_transport import AsyncioTransport
from offhook.client.streamed import AsyncStreamedResponse, StreamedResponse
from offhook.client.sync_transport import SyncTransport

# Constructor arguments of theirs that mean nothing to a client of calls.
LEFT_OUT = ("admin_api_key", "_strict_response_validation", "http_client")
HEADERS = {"X-Stainless-Lang": "python"}


def is_mocked(request: Any) -> bool:
    """Their tests of ``create`` answer it themselves, inside their HTTP library."""
    return bool(request.target.endswith("/realtime/calls"))


def answer(response: httpx2.Response) -> Answer:
    return Answer(response.status_code, Headers(list(response.headers.raw)), response.content)


class Transport(SyncTransport):
    def __init__(self, library: httpx2.Client) -> None:
        super().__init__()
        self._library = library

    def send(self, request: Any, timeout_s: float | None) -> Answer:
        if not is_mocked(request):
            return super().send(request, timeout_s)
        return answer(self._library.post(request.url, headers=request.headers, content=request.body))

    def open(self, request: Any, timeout_s: float | None) -> Any:
        return Whole(self.send(request, timeout_s)) if is_mocked(request) else super().open(request, timeout_s)


class AsyncTransport(AsyncioTransport):
    def __init__(self, library: httpx2.AsyncClient) -> None:
        super().__init__()
        self._library = library

    async def send(self, request: Any, timeout_s: float | None) -> Answer:
        if not is_mocked(request):
            return await super().send(request, timeout_s)
        return answer(await self._library.post(request.url, headers=request.headers, content=request.body))

    async def open(self, request: Any, timeout_s: float | None) -> Any:
        if not is_mocked(request):
            return await super().open(request, timeout_s)
        return AsyncWhole(await self.send(request, timeout_s))


class Whole:
    """An answer that is here whole, as one that comes in."""

    def __init__(self, whole: Answer) -> None:
        self.status, self.headers, self._body = whole.status, whole.headers, whole.body

    def next_chunk(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Nothing is open."""


class AsyncWhole(Whole):
    async def next_chunk(self) -> bytes:  # type: ignore[override]
        return super().next_chunk()

    async def close(self) -> None:  # type: ignore[override]
        """Nothing is open."""


def given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in LEFT_OUT} | {"default_headers": HEADERS}


MADE: list[object] = []


class Client(offhook.Client):
    def __init__(self, **options: Any) -> None:
        MADE.append(self)
        super().__init__(
            **given(options), transport=Transport(options.get("http_client") or openai.DefaultHttpx2Client())
        )


class AsyncClient(offhook.AsyncClient):
    def __init__(self, **options: Any) -> None:
        MADE.append(self)
        library = options.get("http_client") or openai.DefaultAsyncHttpx2Client()
        super().__init__(**given(options), transport=AsyncTransport(library))


def converted(parse: Any) -> Any:
    """Our typed secret as their model: what our types had lost on the way, theirs would miss."""

    def read(whole: Answer) -> Any:
        secret = parse(whole)
        session = secret.session.to_dict() if isinstance(secret.session, offhook.types.Other) else secret.session
        members = {"value": secret.value, "expires_at": secret.expires_at, "session": msgspec.to_builtins(session)}
        return ClientSecretCreateResponse.model_validate(members)

    return read


class WebhookModels(webhooks.Webhooks):
    def unwrap(self, *args: Any, **options: Any) -> Any:
        event = super().unwrap(*args, **options)
        members = event.to_dict() if isinstance(event, offhook.types.Other) else msgspec.to_builtins(event)
        return construct_type(type_=UnwrapWebhookEvent, value=members)


class HttpxBinaryResponseContent(BinaryResponse):
    """Ours by the name that their tests look for."""


def bytes_of(result: Any) -> Any:
    """A streamed binary answer is read as bytes there."""
    return result.content if isinstance(result, BinaryResponse) else result


def streamed_parse(self: Any) -> Any:
    return bytes_of(_parse(self))


async def async_streamed_parse(self: Any) -> Any:
    return bytes_of(await _async_parse(self))


# Swapped when this is imported: before their conftest is, which takes the classes by name.
openai.OpenAI = Client  # type: ignore[misc,assignment]
openai.AsyncOpenAI = AsyncClient  # type: ignore[misc,assignment]
_exceptions.InvalidWebhookSignatureError = offhook.InvalidWebhookSignatureError  # type: ignore[misc,assignment]
_legacy_response.HttpxBinaryResponseContent = HttpxBinaryResponseContent  # type: ignore[misc,assignment]
sync_calls.read_call = async_calls.read_call = HttpxBinaryResponseContent
sync_calls.read_client_secret = async_calls.read_client_secret = converted(sync_calls.read_client_secret)
webhooks.Webhooks = WebhookModels  # type: ignore[misc]
_parse, _async_parse = StreamedResponse.parse, AsyncStreamedResponse.parse
StreamedResponse.parse = streamed_parse  # type: ignore[method-assign]
AsyncStreamedResponse.parse = async_streamed_parse  # type: ignore[method-assign]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say whose client it was."""
    terminalreporter.write_line(f"offhook's client was made {len(MADE)} times")
