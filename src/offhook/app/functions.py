"""Whose the functions are that a model may call: the application's, or somebody else's who answers them.

A call of a name that is nobody's has to be answered, or the caller hears nothing any more. One that is somebody else's
must not be: a stored prompt, ``extra_body`` and other sockets of the call bring functions, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import UNSET

from offhook.app import limits
from offhook.wire.session import FunctionTool


class Functions:
    """The functions of one call. ``own`` are the names that the application runs; ``accepted`` the body of its accept.

    What is in force is known from that body until the server tells. Functions that another socket gives to a single
    response are told nowhere.
    """

    def __init__(self, own: Collection[str], accepted: Mapping[str, Any]) -> None:
        self._own = frozenset(own)
        self._others: dict[str, None] = {}  # names that were somebody else's at some time, in the order they came
        self._all_own = True
        self._prompts_unread = False
        tools = accepted.get("tools")
        if isinstance(tools, list | tuple):
            self.put_in_force(map(function_name, tools))
        if _is_given(accepted.get("prompt", UNSET)):
            # It is the server's, and may bring functions that only the server knows.
            self._all_own = False

    def put_in_force(self, names: Iterable[str | None]) -> None:
        """Take the functions that the session has now; None is a tool that is no function."""
        others = [each for each in names if each is not None and each not in self._own]
        self._all_own = not others
        self._remember(others)

    def add_for_response(self, response: Any) -> None:
        """Take what the application gives to a single response: ``response`` of a ``response.create``."""
        tools = member(response, "tools")
        if isinstance(tools, list | tuple):
            self._remember(each for each in map(function_name, tools) if each is not None and each not in self._own)
        self._prompts_unread = self._prompts_unread or _is_given(member(response, "prompt"))

    def is_ours(self, name: str) -> bool:
        """Whether the application answers a call of this name.

        One that nobody knows is the application's while it is alone: while every function in force is its own.
        """
        if name in self._own:
            return True
        return self._all_own and not self._prompts_unread and name not in self._others

    def _remember(self, names: Iterable[str]) -> None:
        self._others |= dict.fromkeys(names)
        while len(self._others) > limits.MAX_OTHER_FUNCTIONS:
            del self._others[next(iter(self._others))]


def function_name(tool: Any) -> str | None:
    """Return the name of a function as the API declares it, a dict or a structure; None for another tool."""
    if not isinstance(tool, FunctionTool) and member(tool, "type") != "function":
        return None
    name = member(tool, "name")
    return name if isinstance(name, str) else None


def member(value: Any, name: str) -> Any:
    """Return a member of a dict or a structure, UNSET where it is absent."""
    return value.get(name, UNSET) if isinstance(value, Mapping) else getattr(value, name, UNSET)


def _is_given(prompt: Any) -> bool:
    return prompt is not UNSET and prompt is not None
