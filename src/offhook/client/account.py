"""What both clients are: settings that were read once, and clients of others that differ in some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from msgspec import UNSET

from offhook.client import limits
from offhook.client.settings import Settings, read_environment, read_key, read_settings, timeout_of
from offhook.client.surroundings import Surroundings

if TYPE_CHECKING:
    from offhook.client.webhooks import Webhooks


class Account:
    """The part of a client that waits for nothing: the same for ``asyncio`` and for threads."""

    _key: Any
    _transport: Any

    def __init__(self, given: Mapping[str, Any], transport: Any) -> None:
        self._environment = read_environment(os.environ)
        self._transport = transport
        self._surroundings = Surroundings()
        self._configure(given)

    def _configure(self, given: Mapping[str, Any]) -> None:
        self._given = given
        environment, timeout = self._environment, given["timeout"]
        self._key = read_key(given["api_key"], environment)
        self._webhook_secret: str | None = given["webhook_secret"] or environment.get("OPENAI_WEBHOOK_SECRET")
        self._settings: Settings = read_settings(
            environment,
            base_url=given["base_url"],
            websocket_base_url=given["websocket_base_url"],
            organization=given["organization"],
            project=given["project"],
            default_headers=given["default_headers"],
            default_query=given["default_query"],
            timeout=limits.TIMEOUT_S if timeout is UNSET else timeout_of(timeout),
            max_retries=given["max_retries"],
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._settings.base_url}>"

    @property
    def base_url(self) -> str:
        """Where the routes are."""
        return self._settings.base_url

    @cached_property
    def webhooks(self) -> Webhooks:
        """Webhooks: verify and read them."""
        from offhook.client.webhooks import Webhooks

        return Webhooks(self._webhook_secret)

    def _changed(self, changed: Mapping[str, Any]) -> Self:
        """Return a client that differs in what is not UNSET."""
        other = object.__new__(type(self))
        for name, value in vars(self).items():
            # What is made once for each client leads back to that.
            if not isinstance(getattr(type(self), name, None), cached_property):
                setattr(other, name, value)
        other._configure({**self._given, **{name: value for name, value in changed.items() if value is not UNSET}})
        return other
