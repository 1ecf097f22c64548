"""offhook: the OpenAI Realtime Calls API as software that you run yourself.

The client is here by name: `Client`, `AsyncClient`, what they raise, and ``offhook.types``. Each name is loaded when it
is first used, so that importing offhook costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from offhook._version import __version__

if TYPE_CHECKING:
    from msgspec import UNSET

    from offhook import types
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
    from offhook.errors import OffhookError

__all__ = [
    "UNSET",
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "ConnectionClosedError",
    "InternalServerError",
    "InvalidWebhookSignatureError",
    "NotFoundError",
    "OffhookError",
    "PermissionDeniedError",
    "RateLimitError",
    "RedirectError",
    "UnprocessableEntityError",
    "__version__",
    "types",
]

_PLACES = {
    "UNSET": "msgspec",
    "AsyncClient": "offhook.client.async_client",
    "Client": "offhook.client.sync_client",
    "OffhookError": "offhook.errors",
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
