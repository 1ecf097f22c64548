"""`Client`: the API for programs that block. It is safe to share between threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec import UNSET, UnsetType

from offhook.client import limits
from offhook.client.account import Account
from offhook.client.answer import Answer, RawResponse
from offhook.client.errors import APIConnectionError
from offhook.client.exchange import Exchange
from offhook.client.request import Operation, Options
from offhook.client.settings import returned_key
from offhook.client.sync_calls import Calls, ClientSecrets
from offhook.client.sync_transport import SyncTransport
from offhook.client.transport import OpenAnswer, Transport

if TYPE_CHECKING:
    from offhook.client.streamed import StreamedResponse
    from offhook.client.sync_realtime import RealtimeConnectionManager

T = TypeVar("T")


class Realtime:
    """``client.realtime``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def calls(self) -> Calls:
        """Telephone and WebRTC calls."""
        return Calls(self._client)

    @cached_property
    def client_secrets(self) -> ClientSecrets:
        """Keys for browsers."""
        return ClientSecrets(self._client)

    def connect(
        self,
        *,
        call_id: str | UnsetType = UNSET,
        model: str | UnsetType = UNSET,
        extra_query: Mapping[str, object] | None = None,
        extra_headers: Mapping[str, str | None] | None = None,
        websocket_connection_options: Mapping[str, Any] | None = None,
    ) -> RealtimeConnectionManager:
        """Open a socket with typed events in and out, as a context manager.

        With ``call_id`` it watches and steers the conversation of a call; with ``model`` it is a session of its own,
        whose audio goes through the socket.

        Args:
            call_id: The call. It may ring still.
            model: The model of a session without a call.
            extra_query: More query parameters.
            extra_headers: More headers; None takes a default one away.
            websocket_connection_options: Options of ``websockets.sync.client.connect``, such as ``open_timeout`` (10)
                and ``max_size`` (32 MiB).

        Raises, when it is entered:
            APIStatusError: the server refused; NotFoundError when the call is gone.
            APIConnectionError: no answer, by now or in time (APITimeoutError).
        """
        from offhook.client.sync_realtime import RealtimeConnectionManager

        return RealtimeConnectionManager(
            self._client, call_id, model, extra_query, extra_headers, websocket_connection_options
        )


class Client(Account):
    """A client of the Realtime Calls API: offhook's, OpenAI's, or any server's with the same routes.

    Args:
        api_key: The key, or a function that returns it, which is asked at every attempt. Default: ``OPENAI_API_KEY``.
        organization: Sent as ``OpenAI-Organization``. Default: ``OPENAI_ORG_ID``.
        project: Sent as ``OpenAI-Project``. Default: ``OPENAI_PROJECT_ID``.
        webhook_secret: The secret of webhooks, ``whsec_...``. Default: ``OPENAI_WEBHOOK_SECRET``.
        base_url: Where the routes are, usually ending in ``/v1``. Default: ``OPENAI_BASE_URL``, else OpenAI's.
        websocket_base_url: The same for sockets. Default: ``base_url`` with ws for http.
        timeout: Seconds for each attempt, None for ever. Default: 600. A connection has 5 of them to come to be.
        max_retries: How often a request is sent again: after 408, 409, 429, 5xx and lost connections. Default: 2.
        default_headers: More headers for every request; None takes one away. ``OPENAI_CUSTOM_HEADERS`` adds some too.
        default_query: More query parameters for every request.
        transport: What carries the requests. Default: connections of the client's own.

    Raises ConfigError for settings that cannot work.
    """

    _key: str | Callable[[], str]
    _transport: Transport

    def __init__(
        self,
        *,
        api_key: str | Callable[[], str] | None = None,
        organization: str | None = None,
        project: str | None = None,
        webhook_secret: str | None = None,
        base_url: str | None = None,
        websocket_base_url: str | None = None,
        timeout: float | None | UnsetType = UNSET,
        max_retries: int = limits.MAX_RETRIES,
        default_headers: Mapping[str, str | None] | None = None,
        default_query: Mapping[str, object] | None = None,
        transport: Transport | None = None,
    ) -> None:
        given = {
            "api_key": api_key,
            "organization": organization,
            "project": project,
            "webhook_secret": webhook_secret,
            "base_url": base_url,
            "websocket_base_url": websocket_base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "default_headers": default_headers,
            "default_query": default_query,
        }
        super().__init__(given, transport or SyncTransport())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def realtime(self) -> Realtime:
        """Calls, client secrets and sockets."""
        return Realtime(self)

    def with_options(
        self,
        *,
        api_key: str | Callable[[], str] | UnsetType = UNSET,
        organization: str | None | UnsetType = UNSET,
        project: str | None | UnsetType = UNSET,
        webhook_secret: str | None | UnsetType = UNSET,
        base_url: str | None | UnsetType = UNSET,
        websocket_base_url: str | None | UnsetType = UNSET,
        timeout: float | None | UnsetType = UNSET,
        max_retries: int | UnsetType = UNSET,
        default_headers: Mapping[str, str | None] | None | UnsetType = UNSET,
        default_query: Mapping[str, object] | None | UnsetType = UNSET,
    ) -> Self:
        """Return a client that differs in these, and shares the connections: ``client.with_options(timeout=5)``.

        All else stays as it is: the environment is not read again.
        """
        changed = {
            "api_key": api_key,
            "organization": organization,
            "project": project,
            "webhook_secret": webhook_secret,
            "base_url": base_url,
            "websocket_base_url": websocket_base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "default_headers": default_headers,
            "default_query": default_query,
        }
        return self._changed(changed)

    def close(self) -> None:
        """Close the connections, also those of clients made by ``with_options``."""
        self._transport.close()

    def _api_key(self) -> str:
        return self._key if isinstance(self._key, str) else returned_key(self._key())

    def _perform(self, operation: Operation, options: Options, parse: Callable[[Answer], T]) -> T:
        return parse(self._send(Exchange(self._settings, operation, options)))

    def _perform_raw(self, operation: Operation, options: Options, parse: Callable[[Answer], T]) -> RawResponse[T]:
        exchange = Exchange(self._settings, operation, options)
        answer = self._send(exchange)
        assert exchange.request is not None
        return RawResponse(answer, exchange.request, exchange.retries_taken, parse)

    def _send(self, exchange: Exchange) -> Answer:
        around = self._surroundings
        while True:
            request = exchange.next_request(self._api_key())
            try:
                answer = self._transport.send(request, exchange.timeout_s)
            except APIConnectionError as failure:
                pause_s = exchange.failed(failure, around.chance())
            else:
                if answer.is_success:
                    return answer
                pause_s = exchange.refused(answer, around.chance(), around.unix_s())
            around.sleep(pause_s)

    def _perform_streaming(
        self, operation: Operation, options: Options, parse: Callable[[Answer], T]
    ) -> StreamedResponse[T]:
        from offhook.client.streamed import StreamedResponse

        exchange = Exchange(self._settings, operation, options)
        around = self._surroundings
        while True:
            request = exchange.next_request(self._api_key())
            try:
                opened = self._transport.open(request, exchange.timeout_s)
                if 200 <= opened.status < 300:
                    return StreamedResponse(opened, request, exchange.retries_taken, parse)
                answer = _read_whole(opened)
            except APIConnectionError as failure:
                pause_s = exchange.failed(failure, around.chance())
            else:
                pause_s = exchange.refused(answer, around.chance(), around.unix_s())
            around.sleep(pause_s)


def _read_whole(opened: OpenAnswer) -> Answer:
    try:
        body = []
        while chunk := opened.next_chunk():
            body.append(chunk)
        return Answer(opened.status, opened.headers, b"".join(body))
    finally:
        opened.close()
