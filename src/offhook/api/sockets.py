"""``GET /realtime``: the sideband of a call (``call_id=``), or a session of its own.

Source: API reference, "Realtime"; guides, "Realtime with SIP", "Realtime with WebSockets".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from offhook.api.answer import ANY_SESSION, find_opener, find_project, problem_response
from offhook.call.machine import NOT_FOUND
from offhook.call.tokens import TokenStream
from offhook.errors import ApiProblem
from offhook.host.client_secrets import ClientSecrets, SecretSession
from offhook.host.directory import Directory
from offhook.host.owner import CallOwner
from offhook.host.project import Project
from offhook.host.sessions import Sessions
from offhook.host.sideband import Closing, Sideband
from offhook.host.socket_session import SocketSession
from offhook.net.http import TEXTS
from offhook.telemetry.log import FactLog
from offhook.wire import limits
from offhook.wire.ids import Ids
from offhook.wire.problem import invalid
from offhook.wire.server_events import ErrorDetails, ErrorEvent, encode_event
from offhook.wire.session import SessionParams
from offhook.wire.transcription import DEFAULT_MODEL, transcription_by

PROTOCOL: Final = "realtime"
FAILED: Final = Closing(1011, "The server failed at an event of this socket.")


class RealtimeSockets:
    """Opens and serves sockets."""

    def __init__(self, directory: Directory, secrets: ClientSecrets, sessions: Sessions) -> None:
        self._directory = directory
        self._secrets = secrets
        self._sessions = sessions

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket from its upgrade to its close. Refusals are HTTP answers to the upgrade."""
        own_events = socket.query_params.get("offhook_events") == "1"
        call_id = socket.query_params.get("call_id")
        projects, protocols = self._directory.projects, socket.scope["subprotocols"]
        try:
            if call_id is not None:
                # A client secret is made for a browser: it opens what it was made with, and steers nobody's call.
                owner = self._find(find_project(projects, socket.headers, protocols), call_id)
                sideband = owner.attach(own_events=own_events)
            else:
                project, given = find_opener(projects, self._secrets, socket.headers, protocols)
                if given is None:
                    message = "This client secret is for a translation session, which this server does not have."
                    raise ApiProblem(400, "invalid_value", message)
        except ApiProblem as problem:
            await socket.send_denial_response(problem_response(problem))
            return
        if call_id is not None:
            await self._serve_sideband(socket, owner, sideband)
        else:
            assert given is not None
            await self._serve_session(socket, project, given, own_events=own_events)

    # -- of a call

    def _find(self, project: Project, call_id: str) -> CallOwner:
        if not call_id:
            raise ApiProblem(400, "missing_required_parameter", "The call_id is empty.", param="call_id")
        call = self._directory.find(project, call_id)
        if not isinstance(call, CallOwner) or call.ended:
            raise NOT_FOUND
        return call

    async def _serve_sideband(self, socket: WebSocket, owner: CallOwner, sideband: Sideband) -> None:
        try:
            await _accept(socket)
            await _talk(
                socket,
                sideband,
                has_room=sideband.has_room,
                room=sideband.room,
                hear=lambda text: owner.hear_client(sideband, text),
                log=owner.log,
            )
        finally:
            owner.detach(sideband)

    # -- of its own

    async def _serve_session(
        self, socket: WebSocket, project: Project, given: SecretSession, *, own_events: bool
    ) -> None:
        try:
            session = self._open(socket, project, given, own_events=own_events)
        except ApiProblem as problem:
            if problem.status != 400:
                await socket.send_denial_response(problem_response(problem))
            else:
                await _accept(socket)
                await self._refuse(socket, problem)
            return
        try:
            await _accept(socket)
            session.start()
            await _talk(
                socket,
                session.socket,
                has_room=session.has_room,
                room=session.room,
                hear=session.hear_client,
                log=session.log,
            )
        finally:
            session.close(Closing(1000, ""))
            session.socket.leave()

    def _open(self, socket: WebSocket, project: Project, given: SecretSession, *, own_events: bool) -> SocketSession:
        model = socket.query_params.get("model")
        if model and len(model) > limits.MAX_NAME_CHARS:
            raise invalid("model", f"Invalid 'model': more than {limits.MAX_NAME_CHARS} characters.")
        if given == ANY_SESSION and socket.query_params.get("intent") == "transcription":
            given = transcription_by(model or DEFAULT_MODEL)
        if isinstance(given, SessionParams) and model:
            if given.model is not UNSET and given.model != model:
                message = f"Invalid value: '{model}'. The client secret is for the model '{given.model}'."
                raise invalid("model", message)
            given = replace(given, model=model)
        return self._sessions.open(project, given, own_events=own_events)

    async def _refuse(self, socket: WebSocket, problem: ApiProblem) -> None:
        """Say what is wrong in an event: clients show those, and hide how an upgrade was answered."""
        ids = Ids(TokenStream(self._directory.services.seed()))
        details = ErrorDetails(type=problem.kind, code=problem.code, message=problem.message, param=problem.param)
        try:
            await socket.send_text(encode_event(ErrorEvent(event_id=ids.event(), error=details)).decode())
            await socket.close(1008, problem.code)
        except WebSocketDisconnect:
            return


async def _accept(socket: WebSocket) -> None:
    # The key protocol is never echoed; a client that offers none gets none.
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)


async def _talk(
    socket: WebSocket,
    queue: Sideband,
    *,
    has_room: Callable[[], bool],
    room: Callable[[], Awaitable[None]],
    hear: Callable[[str | bytes], None],
    log: FactLog,
) -> None:
    """Let a client and a conversation hear each other until one of them ends it."""

    def offer(text: str | bytes) -> bool:
        """Hear a message as it comes, where it would be heard at once when it was received."""
        if queue.closing is not None or not has_room():
            return False
        try:
            hear(text)
        except Exception as bug:  # this socket pays for it, the call goes on
            log.error("client event failed", failure=bug)
            queue.close(FAILED)
        return True

    texts = socket.scope["extensions"][TEXTS]
    texts["offer"](offer)
    queue.write_by(texts["write"])
    reading = asyncio.ensure_future(_read(socket, queue, room, hear, log))
    try:
        await _write(socket, queue, reading)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(
    socket: WebSocket,
    queue: Sideband,
    room: Callable[[], Awaitable[None]],
    hear: Callable[[str | bytes], None],
    log: FactLog,
) -> None:
    """Hear what could not be heard as it came."""
    try:
        while True:
            # What a client sends makes events, and frames that came together are received without a pause.
            await room()
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                break
            text = message.get("text")
            hear(text if text is not None else message["bytes"])
    except Exception as bug:  # as above
        log.error("client event failed", failure=bug)
        queue.close(FAILED)
    finally:
        # Closing the socket does not end a call; there is only nobody to write to any more.
        queue.close(Closing(1000, ""))


async def _write(socket: WebSocket, queue: Sideband, reading: asyncio.Future[None]) -> None:
    send = socket.scope["extensions"][TEXTS]["send"]
    try:
        while not isinstance(news := await queue.take(), Closing):
            await send(news)
        if (news is FAILED or not reading.done()) and socket.application_state is WebSocketState.CONNECTED:
            await socket.close(news.code, news.reason)
    except (WebSocketDisconnect, OSError):
        return
