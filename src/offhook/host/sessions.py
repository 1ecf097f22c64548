"""All sessions on sockets of their own, and the one task that listens to them."""

from __future__ import annotations

import asyncio
from typing import Final

from offhook.errors import ApiProblem
from offhook.host.admission import Admission
from offhook.host.client_secrets import SecretSession
from offhook.host.directory import Directory
from offhook.host.project import Project
from offhook.host.sideband import Closing
from offhook.host.socket_session import FAILED, SocketSession
from offhook.session.listening import Listening
from offhook.wire import limits

# How often all are listened to: what live voices bring meanwhile is one window of the detector, judged in one batch.
GATHER_S: Final = 0.03
# The share of a core that a session in conversation takes; it has no telephone side.
GUESSED_COST: Final = 0.002
STOPPING: Final = Closing(1001, "The server is stopping.")


class Sessions:
    """Opens sessions, keeps them until their sockets close, and ends them when the server stops."""

    def __init__(self, directory: Directory, listening: Listening) -> None:
        self.directory = directory
        self.services = directory.services
        self.listening = listening
        self.admission = Admission(limits.MAX_SOCKET_SESSIONS, "sessions", GUESSED_COST, directory.admission.costs)
        self.total = 0
        self._active: dict[str, SocketSession] = {}
        self._news = asyncio.Event()
        self._listened = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._draining = False
        self._listener: asyncio.Task[None] | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._active)

    def open(self, project: Project, params: SecretSession, *, own_events: bool) -> SocketSession:
        """Open a session. Raises ApiProblem when there are too many, or its model is not there."""
        if self._draining:
            message = "The server is stopping."
            raise ApiProblem(503, None, message, kind="server_error", retry_after_s=self.services.options.retry_after_s)
        if (why := self.admission.refuse(len(self._active))) is not None:
            message = f"There is no room for another session now: {why}."
            raise ApiProblem(429, "rate_limit_exceeded", message, retry_after_s=self.services.options.retry_after_s)
        session = SocketSession(self, project, params, own_events=own_events)
        self._active[session.id] = session
        self._quiet.clear()
        self.admission.take()
        self.total += 1
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen())
        return session

    def ended(self, session: SocketSession) -> None:
        """A session is over."""
        self._active.pop(session.id, None)
        self._listened.set()
        if not self._active:
            self._quiet.set()

    # -- listening

    def has_news(self) -> None:
        """Audio came in."""
        self._news.set()

    async def listened(self) -> None:
        """Wait until some of what waits was listened to."""
        self._listened.clear()
        await self._listened.wait()

    async def _listen(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            began = self.services.clock()
            try:
                while self.listening.step():
                    self._listened.set()
                    await asyncio.sleep(0)
            except Exception:  # one of those in the batch pays for it, the others go on
                self._find_failing()
            self._listened.set()
            await asyncio.sleep(max(began + GATHER_S - self.services.clock(), 0.0))

    def _find_failing(self) -> None:
        """Listen to each session alone, and end those that cannot be listened to."""
        for session in list(self._active.values()):
            try:
                session.line.catch_up()
            except Exception as bug:  # as above
                session.log.error("listening failed", failure=bug)
                session.close(FAILED)

    # -- the end

    def drain(self, for_s: float) -> None:
        """Open no more; those that are open may go on for so long."""
        self._draining = True
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = asyncio.get_running_loop().call_later(for_s, self._end_all)

    def _end_all(self) -> None:
        for session in list(self._active.values()):
            session.end(STOPPING)

    async def drained(self) -> None:
        """Wait until the last session is over."""
        await self._quiet.wait()

    async def stop(self) -> None:
        """End what is left."""
        self._draining = True
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_all()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
