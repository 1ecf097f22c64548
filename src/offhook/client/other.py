"""What has no type of its own yet: events and objects of a server that is newer than this client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Other:
    """A JSON object with its members as attributes, all the way down.

    A member that is not there is an AttributeError; ``to_dict`` gives all that came.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members if isinstance(members, Mapping) else {"value": members}

    def __getattr__(self, name: str) -> Any:
        try:
            return _wrapped(self._members[name])
        except KeyError:
            raise AttributeError(f"the server sent no {name!r}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._members]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Other) and self._members == other._members

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Other({sorted(self._members)!r})"

    def __reduce__(self) -> tuple[type[Other], tuple[Mapping[str, Any]]]:
        return Other, (self._members,)

    def to_dict(self) -> dict[str, Any]:
        """Return the members as they came."""
        return dict(self._members)


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return Other(value)
    if isinstance(value, list):
        return [_wrapped(each) for each in value]
    return value
