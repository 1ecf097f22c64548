"""Projects: whose keys open which calls, and where their webhooks go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from offhook.errors import ConfigError
from offhook.webhook.delivery import Endpoint


@dataclass(frozen=True, slots=True)
class Project:
    """One tenant. ``id`` is the user part of the request URI that its calls are sent to."""

    id: str
    key_digests: frozenset[bytes]
    endpoint: Endpoint | None = None

    def __repr__(self) -> str:
        return f"Project({self.id!r})"


def digest_key(key: str) -> bytes:
    """Return what is kept of an API key: keys are looked up by their hash, never compared as text."""
    return hashlib.sha256(key.encode()).digest()


class Projects:
    """All projects of a server."""

    def __init__(self, projects: Iterable[Project]) -> None:
        self._by_id: dict[str, Project] = {}
        self._by_key: dict[bytes, Project] = {}
        for project in projects:
            if project.id in self._by_id:
                raise ConfigError(f"projects.{project.id}", "is there twice")
            self._by_id[project.id] = project
            for digest in project.key_digests:
                if digest in self._by_key:
                    other = self._by_key[digest].id
                    raise ConfigError(f"projects.{project.id}.api_keys", f"holds a key of project {other} too")
                self._by_key[digest] = project
        if not self._by_id:
            raise ConfigError("projects", "there is none")
        self.only = next(iter(self._by_id.values())) if len(self._by_id) == 1 else None
        """The project of every call, if there is just one."""

    def __iter__(self) -> Iterator[Project]:
        return iter(self._by_id.values())

    def of_key(self, key: str) -> Project | None:
        """Return the project that an API key belongs to."""
        return self._by_key.get(digest_key(key))

    def of_user(self, user: str | None) -> Project | None:
        """Return the project that a request URI's user part names, or the only one there is."""
        return self.only or self._by_id.get(user or "")
