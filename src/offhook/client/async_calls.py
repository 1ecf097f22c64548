"""The calls of a client for ``asyncio``: accept, reject, refer, hang up, create; and the secrets for browsers.

Parameters without a value are left to the server; None is a value of its own, and is sent. Source: API reference,
"Calls", "Client secrets".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from msgspec import UNSET, UnsetType

from offhook.client.answer import BinaryResponse, RawResponse
from offhook.client.fields import ExtraHeaders
from offhook.client.operations import (
    action,
    create_call,
    create_client_secret,
    read_call,
    read_client_secret,
    read_nothing,
)
from offhook.client.request import ExtraBody, ExtraQuery, Options

if TYPE_CHECKING:
    from offhook.client.async_client import AsyncClient
    from offhook.client.secret import ClientSecret
    from offhook.client.streamed import AsyncStreamManager
    from offhook.wire.secrets import ExpiresAfter
    from offhook.wire.session import (
        Audio,
        Include,
        Modality,
        ModelName,
        Prompt,
        Reasoning,
        SessionParams,
        Tool,
        ToolChoice,
        Tracing,
        Truncation,
    )
    from offhook.wire.transcription import TranscriptionParams

P = ParamSpec("P")
T = TypeVar("T")
Json = Mapping[str, Any]


class AsyncCalls:
    """``client.realtime.calls``."""

    # Actions answer None, and hand on the response where ``perform`` gives it raw: hence their ignored return types.

    def __init__(self, client: AsyncClient, perform: Any = None) -> None:
        self._client = client
        self._perform = perform or client._perform

    @property
    def with_raw_response(self) -> AsyncCallsWithRawResponse:
        """The same methods, answering with status, headers and body; ``parse()`` gives the usual result."""
        return AsyncCallsWithRawResponse(self._client)

    @property
    def with_streaming_response(self) -> AsyncCallsWithStreamingResponse:
        """The same methods as asynchronous context managers, whose answers are read as they come in."""
        return AsyncCallsWithStreamingResponse(self._client)

    async def accept(
        self,
        call_id: str,
        *,
        type: Literal["realtime"],  # noqa: A002 - the API's own word
        audio: Audio | Json | UnsetType = UNSET,
        include: Sequence[Include] | None | UnsetType = UNSET,
        instructions: str | UnsetType = UNSET,
        max_output_tokens: int | Literal["inf"] | UnsetType = UNSET,
        model: ModelName | str | UnsetType = UNSET,
        output_modalities: Sequence[Modality] | UnsetType = UNSET,
        parallel_tool_calls: bool | UnsetType = UNSET,
        prompt: Prompt | Json | None | UnsetType = UNSET,
        reasoning: Reasoning | Json | UnsetType = UNSET,
        tool_choice: ToolChoice | Json | UnsetType = UNSET,
        tools: Sequence[Tool | Json] | UnsetType = UNSET,
        tracing: Literal["auto"] | Tracing | Json | None | UnsetType = UNSET,
        truncation: Truncation | Json | UnsetType = UNSET,
        extra_headers: ExtraHeaders | None = None,
        extra_query: ExtraQuery | None = None,
        extra_body: ExtraBody | None = None,
        timeout: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
        max_retries: int | None = None,
    ) -> None:
        """Answer a call that rings, with the session that will hold its conversation.

        Returns when the call is being answered. A caller who has given up meanwhile is a NotFoundError. Sending the
        same once more is harmless; another session for an accepted call is a BadRequestError.

        Args:
            call_id: The call, as the webhook named it.
            type: ``"realtime"``.
            audio: How the caller is heard and the agent sounds: noise reduction, transcription, turn detection, voice,
                speed. On a telephone call the format is the negotiated one, whatever stands here.
            include: ``["item.input_audio_transcription.logprobs"]`` adds log-probabilities to transcripts. Default:
                none.
            instructions: What the model is told before everything else. Default: the server's own, which
                ``session.created`` and ``session.updated`` show; ``""`` for none. 1 MB at most.
            max_output_tokens: What one response may cost, its tool calls too: 1 to 4096, or ``"inf"`` (the default).
            model: The model, by any name the server takes. Default: the server's.
            output_modalities: ``["audio"]`` (the default: speech and its transcript) or ``["text"]``; not both.
            parallel_tool_calls: Whether a response may call several tools. Reasoning models only.
            prompt: A stored prompt by ``id``, with ``version`` and ``variables``. What is given here directly wins
                over it. Default: None.
            reasoning: ``{"effort": ...}``: minimal, low, medium, high or xhigh. Reasoning models only. Default: low.
            tool_choice: ``"auto"`` (the default), ``"none"``, ``"required"``, or one function or MCP tool by name.
            tools: Functions that the application runs, and MCP servers whose tools the server runs. 128 at most.
                Default: none.
            tracing: ``"auto"``, or names for the trace. Default: None, no trace.
            truncation: When the context is full: ``"auto"`` (the default) drops the oldest items, ``"disabled"`` fails
                the response, ``{"type": "retention_ratio", ...}`` keeps that part, with ``token_limits`` for its size.
            extra_headers: More headers; None takes a default one away.
            extra_query: More query parameters.
            extra_body: More members of the body; they win.
            timeout: Seconds for each attempt, None for ever. Default: the client's (600).
            idempotency_key: Sent as ``Idempotency-Key``. Default: none is sent.
            max_retries: How often to send again. Default: the client's (2).

        Raises:
            APIStatusError: the server refused; NotFoundError, BadRequestError (``param`` names the member) and others.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
            ValueError: an empty id, ``.`` or ``..``; a header that cannot be one.
        """
        members = {
            "type": type,
            "audio": audio,
            "include": include,
            "instructions": instructions,
            "max_output_tokens": max_output_tokens,
            "model": model,
            "output_modalities": output_modalities,
            "parallel_tool_calls": parallel_tool_calls,
            "prompt": prompt,
            "reasoning": reasoning,
            "tool_choice": tool_choice,
            "tools": tools,
            "tracing": tracing,
            "truncation": truncation,
        }
        options = Options(extra_headers, extra_query, extra_body, timeout, idempotency_key, max_retries)
        return await self._perform(action(call_id, "accept", members), options, read_nothing)  # type: ignore[return-value]

    async def hangup(
        self,
        call_id: str,
        *,
        extra_headers: ExtraHeaders | None = None,
        extra_query: ExtraQuery | None = None,
        extra_body: ExtraBody | None = None,
        timeout: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
        max_retries: int | None = None,
    ) -> None:
        """End a call: one that is answered, or that rings still.

        A call that has ended already is a NotFoundError.

        Args:
            call_id: The call.
            extra_headers: More headers; None takes a default one away.
            extra_query: More query parameters.
            extra_body: More members of the body; they win.
            timeout: Seconds for each attempt, None for ever. Default: the client's (600).
            idempotency_key: Sent as ``Idempotency-Key``. Default: none is sent.
            max_retries: How often to send again. Default: the client's (2).

        Raises:
            APIStatusError: the server refused.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
            ValueError: an empty id, ``.`` or ``..``; a header that cannot be one.
        """
        options = Options(extra_headers, extra_query, extra_body, timeout, idempotency_key, max_retries)
        return await self._perform(action(call_id, "hangup", None), options, read_nothing)  # type: ignore[return-value]

    async def refer(
        self,
        call_id: str,
        *,
        target_uri: str,
        extra_headers: ExtraHeaders | None = None,
        extra_query: ExtraQuery | None = None,
        extra_body: ExtraBody | None = None,
        timeout: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
        max_retries: int | None = None,
    ) -> None:
        """Transfer a call that is answered: the caller's side is asked to call somebody else (SIP REFER).

        Returns when it has been asked. When that succeeds, this call ends; when it fails, it goes on.

        Args:
            call_id: The call.
            target_uri: Whom to call: ``tel:+14155550123``, ``sip:agent@example.com``. It goes into ``Refer-To``
                unchanged; 1,024 characters at most.
            extra_headers: More headers; None takes a default one away.
            extra_query: More query parameters.
            extra_body: More members of the body; they win.
            timeout: Seconds for each attempt, None for ever. Default: the client's (600).
            idempotency_key: Sent as ``Idempotency-Key``. Default: none is sent.
            max_retries: How often to send again. Default: the client's (2).

        Raises:
            APIStatusError: the server refused.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
            ValueError: an empty id, ``.`` or ``..``; a header that cannot be one.
        """
        options = Options(extra_headers, extra_query, extra_body, timeout, idempotency_key, max_retries)
        return await self._perform(action(call_id, "refer", {"target_uri": target_uri}), options, read_nothing)  # type: ignore[return-value]

    async def reject(
        self,
        call_id: str,
        *,
        status_code: int | UnsetType = UNSET,
        extra_headers: ExtraHeaders | None = None,
        extra_query: ExtraQuery | None = None,
        extra_body: ExtraBody | None = None,
        timeout: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
        max_retries: int | None = None,
    ) -> None:
        """Decline a call that rings.

        Args:
            call_id: The call.
            status_code: The SIP status that the caller gets, 300 to 699. Default: 603 (Decline). 486 is "busy".
            extra_headers: More headers; None takes a default one away.
            extra_query: More query parameters.
            extra_body: More members of the body; they win.
            timeout: Seconds for each attempt, None for ever. Default: the client's (600).
            idempotency_key: Sent as ``Idempotency-Key``. Default: none is sent.
            max_retries: How often to send again. Default: the client's (2).

        Raises:
            APIStatusError: the server refused.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
            ValueError: an empty id, ``.`` or ``..``; a header that cannot be one.
        """
        options = Options(extra_headers, extra_query, extra_body, timeout, idempotency_key, max_retries)
        return await self._perform(action(call_id, "reject", {"status_code": status_code}), options, read_nothing)  # type: ignore[return-value]

    async def create(
        self,
        *,
        sdp: str,
        session: SessionParams | Json | UnsetType = UNSET,
        extra_headers: ExtraHeaders | None = None,
        extra_query: ExtraQuery | None = None,
        extra_body: ExtraBody | None = None,
        timeout: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
        max_retries: int | None = None,
    ) -> BinaryResponse:
        """Make a WebRTC call from a browser's offer.

        Args:
            sdp: The offer.
            session: The session, as for ``accept``. Default: that of the client secret used as key, else the server's.
            extra_headers: More headers; None takes a default one away.
            extra_query: More query parameters.
            extra_body: More members of the body; they win.
            timeout: Seconds for each attempt, None for ever. Default: the client's (600).
            idempotency_key: Sent as ``Idempotency-Key``. Default: none is sent.
            max_retries: How often to send again. Default: the client's (2).

        Returns:
            The answer: ``text`` is the SDP, ``call_id`` names the call.

        Raises:
            APIStatusError: the server refused.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
            ValueError: a header that cannot be one.
        """
        options = Options(extra_headers, extra_query, extra_body, timeout, idempotency_key, max_retries)
        return await self._perform(create_call(sdp, session), options, read_call)


class AsyncClientSecrets:
    """``client.realtime.client_secrets``."""

    def __init__(self, client: AsyncClient, perform: Any = None) -> None:
        self._client = client
        self._perform = perform or client._perform

    @property
    def with_raw_response(self) -> AsyncClientSecretsWithRawResponse:
        """The same methods, answering with status, headers and body; ``parse()`` gives the usual result."""
        return AsyncClientSecretsWithRawResponse(self._client)

    @property
    def with_streaming_response(self) -> AsyncClientSecretsWithStreamingResponse:
        """The same methods as asynchronous context managers, whose answers are read as they come in."""
        return AsyncClientSecretsWithStreamingResponse(self._client)

    async def create(
        self,
        *,
        expires_after: ExpiresAfter | Json | UnsetType = UNSET,
        session: SessionParams | TranscriptionParams | Json | UnsetType = UNSET,
        extra_headers: ExtraHeaders | None = None,
        extra_query: ExtraQuery | None = None,
        extra_body: ExtraBody | None = None,
        timeout: float | None | UnsetType = UNSET,
        idempotency_key: str | None = None,
        max_retries: int | None = None,
    ) -> ClientSecret:
        """Make a key that a browser may hold: it opens sessions for some minutes, and does nothing else.

        Args:
            expires_after: ``{"anchor": "created_at", "seconds": ...}``, 10 to 7200 seconds. Default: 600. Sessions
                live on after it.
            session: The session that it opens: a realtime one as for ``accept``, or a transcription session. Default:
                the server's.
            extra_headers: More headers; None takes a default one away.
            extra_query: More query parameters.
            extra_body: More members of the body; they win.
            timeout: Seconds for each attempt, None for ever. Default: the client's (600).
            idempotency_key: Sent as ``Idempotency-Key``. Default: none is sent.
            max_retries: How often to send again. Default: the client's (2).

        Returns:
            The secret (``value``), its end (``expires_at``) and the whole effective session.

        Raises:
            APIStatusError: the server refused.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
            APIResponseValidationError: the answer is no client secret.
            ValueError: a header that cannot be one.
        """
        options = Options(extra_headers, extra_query, extra_body, timeout, idempotency_key, max_retries)
        operation = create_client_secret(expires_after, session)
        return await self._perform(operation, options, read_client_secret)


def _raw(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[RawResponse[T]]]:
    """Give a method of a resource that performs raw the type that it has then."""
    return cast("Any", method)  # type: ignore[no-any-return]


def _streamed(method: Callable[P, Awaitable[T]]) -> Callable[P, AsyncStreamManager[T]]:
    """Put off a method of a resource that streams to the beginning of a ``with``."""

    def manager(*args: P.args, **kwargs: P.kwargs) -> AsyncStreamManager[T]:
        from offhook.client.streamed import AsyncStreamManager

        return AsyncStreamManager(lambda: cast("Any", method(*args, **kwargs)))

    return manager


class AsyncCallsWithRawResponse:
    """``client.realtime.calls.with_raw_response``."""

    def __init__(self, client: AsyncClient) -> None:
        calls = AsyncCalls(client, client._perform_raw)
        self.accept = _raw(calls.accept)
        self.hangup = _raw(calls.hangup)
        self.refer = _raw(calls.refer)
        self.reject = _raw(calls.reject)
        self.create = _raw(calls.create)


class AsyncCallsWithStreamingResponse:
    """``client.realtime.calls.with_streaming_response``."""

    def __init__(self, client: AsyncClient) -> None:
        calls = AsyncCalls(client, client._perform_streaming)
        self.accept = _streamed(calls.accept)
        self.hangup = _streamed(calls.hangup)
        self.refer = _streamed(calls.refer)
        self.reject = _streamed(calls.reject)
        self.create = _streamed(calls.create)


class AsyncClientSecretsWithRawResponse:
    """``client.realtime.client_secrets.with_raw_response``."""

    def __init__(self, client: AsyncClient) -> None:
        self.create = _raw(AsyncClientSecrets(client, client._perform_raw).create)


class AsyncClientSecretsWithStreamingResponse:
    """``client.realtime.client_secrets.with_streaming_response``."""

    def __init__(self, client: AsyncClient) -> None:
        self.create = _streamed(AsyncClientSecrets(client, client._perform_streaming).create)
