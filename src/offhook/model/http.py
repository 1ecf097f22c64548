"""The outgoing HTTP of model servers: one pool of connections each, failures in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from offhook.model.interface import ModelError

# Model servers answer errors with a line or two; what comes after this is not read.
MAX_ERROR_BYTES = 64 * 1024
_SHOWN_ERROR_CHARS = 300


class AnswerRefusedError(ModelError):
    """A server answered, with a status that says no."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(code, message)
        self.status = status


class Patience:
    """Until when an answer has to get on. Whoever reads it renews that: signs of life are no words and no sound."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.renew()

    def renew(self) -> None:
        """Give as much time again."""
        self.until = asyncio.get_running_loop().time() + self._timeout_s


class ModelServer:
    """One model server: its base URL, its key, and a pool of connections to it."""

    def __init__(self, name: str, base_url: str, api_key: str | None, timeout_s: float) -> None:
        self.name = name
        self.base_url = base_url
        self._api_key = api_key
        self.timeout_s = timeout_s
        self._client: Client | None = None

    def __repr__(self) -> str:
        return f"ModelServer({self.name!r}, {self.base_url!r})"

    async def start(self) -> None:
        """Open the pool; no connection is made yet."""
        if self._client is None:
            timeout = timedelta(seconds=self.timeout_s)
            self._client = (
                ClientBuilder().follow_redirects(False).read_timeout(timeout).connect_timeout(timeout).build()
            )

    async def stop(self) -> None:
        """Close the pool."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def request(self, path: str) -> RequestBuilder:
        """Return a POST to a path below the base URL, with the key."""
        if self._client is None:
            raise ModelError("server_error", f"The {self.name} is not started.")
        builder = self._client.post(self.base_url + path)
        return builder if self._api_key is None else builder.bearer_auth(self._api_key)

    @asynccontextmanager
    async def stream(self, builder: RequestBuilder) -> AsyncIterator[Response]:
        """Send a request and give its answer while it comes in. Raises ModelError for every failure."""
        try:
            async with builder.streamed_read_buffer_limit(0).build_streamed() as response:
                if response.status != 200:
                    raise await self._refused(response)
                yield response
        except PyreqwestError as failure:
            raise self._failed(failure) from failure

    def patience(self) -> Patience:
        """Return the time that the server has to get on with its answer."""
        return Patience(self.timeout_s)

    async def chunks(self, response: Response, patience: Patience | None = None) -> AsyncIterator[bytes]:
        """Yield the body as it comes in. Raises ModelError when it breaks off, or when the patience is over."""
        try:
            while True:
                async with asyncio.timeout_at(None if patience is None else patience.until):
                    chunk = await response.body_reader.read_chunk()
                if chunk is None:
                    break
                yield bytes(chunk)
        except TimeoutError:
            raise self.too_late() from None
        except PyreqwestError as failure:
            raise self._failed(failure) from failure

    def too_late(self) -> ModelError:
        """Return what to say about a server that took too long."""
        return ModelError("model_timeout", f"The {self.name} did not answer within {self.timeout_s:g} s.")

    def _failed(self, failure: PyreqwestError) -> ModelError:
        if isinstance(failure, ConnectError):
            return ModelError("model_unavailable", f"The {self.name} cannot be reached.")
        if isinstance(failure, RequestTimeoutError):
            return self.too_late()
        return ModelError("model_error", f"The connection to the {self.name} broke.")

    async def _refused(self, response: Response) -> ModelError:
        body = bytes(await response.body_reader.read(MAX_ERROR_BYTES) or b"")
        code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(
            response.status, "model_error"
        )
        message = f"The {self.name} answered {response.status}: {_error_text(body)}"
        return AnswerRefusedError(code, message, response.status)


class HostedModel:
    """A model on a server, by the name that the server has for it."""

    def __init__(self, server: ModelServer, model: str) -> None:
        self._server = server
        self._model = model

    @property
    def name(self) -> str:
        """The model, and where it is."""
        return f"{self._model} at {self._server.base_url}"

    async def start(self) -> None:
        """Open the connections."""
        await self._server.start()

    async def stop(self) -> None:
        """Close the connections."""
        await self._server.stop()


def _error_text(body: bytes) -> str:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        value = body.decode(errors="replace")
    if isinstance(value, dict):
        error = value.get("error", value.get("detail", ""))
        value = error.get("message", "") if isinstance(error, dict) else error
    text = " ".join(str(value).split())
    return "".join(char for char in text if char.isprintable())[:_SHOWN_ERROR_CHARS] or "no reason given"
