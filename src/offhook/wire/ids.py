"""The shapes of the ids that the server makes. Chance is given in, so a test's ids are always the same."""

from __future__ import annotations

from collections.abc import Callable

Token = Callable[[int], str]
"""``token(n)`` returns ``n`` random letters and digits."""


class Ids:
    """Makes ids that look like the service's own.

    Items, responses, events and conversations have 21 characters after their prefix, calls 32 after ``rtc_u1_``.
    """

    def __init__(self, token: Token) -> None:
        self._token = token

    def call(self) -> str:
        """Return the id of a call."""
        return "rtc_u1_" + self._token(32)

    def session(self, call_id: str | None = None) -> str:
        """Return the id of a session; one of a call shares the call's tail."""
        if call_id is not None and call_id.startswith("rtc_"):
            return "sess_" + call_id[4:]
        return "sess_" + self._token(21)

    def event(self) -> str:
        """Return the id of a server event."""
        return "event_" + self._token(21)

    def item(self) -> str:
        """Return the id of an item."""
        return "item_" + self._token(21)

    def response(self) -> str:
        """Return the id of a response."""
        return "resp_" + self._token(21)

    def conversation(self) -> str:
        """Return the id of a conversation."""
        return "conv_" + self._token(21)

    def tool_call(self) -> str:
        """Return the ``call_id`` of a function call."""
        return "call_" + self._token(16)

    def segment(self) -> str:
        """Return the id of a segment of a transcript."""
        return "seg_" + self._token(21)

    def mcp_list(self) -> str:
        """Return the id of a list of an MCP server's tools."""
        return "mcpl_" + self._token(21)

    def mcp_call(self) -> str:
        """Return the id of a call of an MCP server's tool."""
        return "mcp_" + self._token(21)

    def mcp_approval_request(self) -> str:
        """Return the id of a request to approve such a call."""
        return "mcpr_" + self._token(21)

    def webhook(self) -> str:
        """Return the id of a webhook delivery, the same on every retry."""
        return "wh_" + self._token(32)

    def webhook_event(self) -> str:
        """Return the id of a webhook event."""
        return "evt_" + self._token(32)

    def request(self) -> str:
        """Return an ``x-request-id``."""
        return "req_" + self._token(32)

    def secret(self) -> str:
        """Return a client secret, which nobody can guess."""
        return "ek_" + self._token(32)

    def obfuscation(self) -> str:
        """Return padding that hides the length of a delta."""
        return self._token(7)
