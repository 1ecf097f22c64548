"""``GET /realtime?call_id=``: a socket that watches and steers the conversation of a call.

Source: API reference, "Realtime"; guide, "Realtime with SIP".
"""

from __future__ import annotations

import asyncio

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from offhook.api.answer import find_project, problem_response
from offhook.call.machine import NOT_FOUND
from offhook.errors import ApiProblem
from offhook.host.directory import Directory
from offhook.host.owner import CallOwner
from offhook.host.sideband import Closing, Sideband

PROTOCOL = "realtime"
FAILED = Closing(1011, "The server failed at an event of this socket.")


class SidebandSockets:
    """Opens and serves sideband sockets."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def serve(self, socket: WebSocket) -> None:
        """Serve one socket from its upgrade to its close. Refusals are HTTP answers to the upgrade."""
        try:
            owner = self._find(socket)
            sideband = owner.attach(own_events=socket.query_params.get("offhook_events") == "1")
        except ApiProblem as problem:
            await socket.send_denial_response(problem_response(problem))
            return
        try:
            # The key protocol is never echoed; a client that offers none gets none.
            await socket.accept(subprotocol=PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            await self._talk(socket, owner, sideband)
        finally:
            owner.detach(sideband)

    def _find(self, socket: WebSocket) -> CallOwner:
        project = find_project(self._directory.projects, socket.headers, socket.scope["subprotocols"])
        call_id = socket.query_params.get("call_id")
        if not call_id:
            message = "This server serves the sockets of telephone calls: give the call_id of one."
            raise ApiProblem(400, "missing_required_parameter", message, param="call_id")
        call = self._directory.find(project, call_id)
        if not isinstance(call, CallOwner) or call.ended:
            raise NOT_FOUND
        return call

    async def _talk(self, socket: WebSocket, owner: CallOwner, sideband: Sideband) -> None:
        reading = asyncio.ensure_future(self._read(socket, owner, sideband))
        try:
            await self._write(socket, sideband, reading)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, socket: WebSocket, owner: CallOwner, sideband: Sideband) -> None:
        try:
            while True:
                # What a client sends makes events, and frames that came together are received without a pause.
                await sideband.room()
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                text = message.get("text")
                owner.hear_client(sideband, text if text is not None else message["bytes"])
        except Exception as bug:  # this socket pays for it, the call goes on
            owner.log.error("client event failed", failure=bug)
            sideband.close(FAILED)
        finally:
            # Closing the socket does not end the call; there is only nobody to write to any more.
            sideband.close(Closing(1000, ""))

    async def _write(self, socket: WebSocket, sideband: Sideband, reading: asyncio.Future[None]) -> None:
        try:
            while not isinstance(news := await sideband.take(), Closing):
                await socket.send_text(news)
            if (news is FAILED or not reading.done()) and socket.application_state is WebSocketState.CONNECTED:
                await socket.close(news.code, news.reason)
        except WebSocketDisconnect:
            return
