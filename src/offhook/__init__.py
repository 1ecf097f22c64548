"""offhook: the OpenAI Realtime Calls API as software that you run yourself.

The client is here by name: `Client`, `AsyncClient`, what they raise, and ``offhook.types``; and `App`, which answers
calls. Each name is loaded when it is first used, so that importing offhook costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from offhook._version import __version__

if TYPE_CHECKING:
    from msgspec import UNSET

    from offhook import types
    from offhook.app.application import App
    from offhook.app.events import CallEnded, Reconnected
    from offhook.app.incoming import CallDecidedError, IncomingCall
    from offhook.app.session import CallSession
    from offhook.app.tool import Tool, ToolError
    from offhook.client.async_client import AsyncClient
    from offhook.client.errors import (
        APIConnectionError,
        APIError,
        APIResponseValidationError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConflictError,
        ConnectionClosedError,
        InternalServerError,
        InvalidWebhookSignatureError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        RedirectError,
        UnprocessableEntityError,
    )
    from offhook.client.sync_client import Client
    from offhook.errors import ConfigError, LocalError, OffhookError, RemoteError

__all__ = [
    "UNSET",
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "App",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "CallDecidedError",
    "CallEnded",
    "CallSession",
    "Client",
    "ConfigError",
    "ConflictError",
    "ConnectionClosedError",
    "IncomingCall",
    "InternalServerError",
    "InvalidWebhookSignatureError",
    "LocalError",
    "NotFoundError",
    "OffhookError",
    "PermissionDeniedError",
    "RateLimitError",
    "Reconnected",
    "RedirectError",
    "RemoteError",
    "Tool",
    "ToolError",
    "UnprocessableEntityError",
    "__version__",
    "types",
]

_PLACES = {
    "UNSET": "msgspec",
    "App": "offhook.app.application",
    "AsyncClient": "offhook.client.async_client",
    "CallDecidedError": "offhook.app.incoming",
    "CallEnded": "offhook.app.events",
    "CallSession": "offhook.app.session",
    "Client": "offhook.client.sync_client",
    "ConfigError": "offhook.errors",
    "IncomingCall": "offhook.app.incoming",
    "LocalError": "offhook.errors",
    "OffhookError": "offhook.errors",
    "Reconnected": "offhook.app.events",
    "RemoteError": "offhook.errors",
    "Tool": "offhook.app.tool",
    "ToolError": "offhook.app.tool",
}


def __getattr__(name: str) -> Any:
    if name == "types":
        return import_module("offhook.types")
    if name not in __all__:
        raise AttributeError(f"module 'offhook' has no attribute {name!r}")
    value = getattr(import_module(_PLACES.get(name, "offhook.client.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
