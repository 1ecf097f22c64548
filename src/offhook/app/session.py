"""The conversation of one answered call: events out, sentences and functions in, and the end of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, assert_never

from offhook.app import facts, limits
from offhook.app.events import CallEnded, Reconnected
from offhook.app.floor import Action, Floor, RequestFailed, RunFunctions, SendEvent, Sentence, SentenceSettled
from offhook.app.functions import Functions, function_name
from offhook.app.socket import OVER, REFUSED, Lost, Socket
from offhook.app.tool import Tool
from offhook.client.errors import APIResponseValidationError, ConnectionClosedError, NotFoundError
from offhook.client.events import Event, EventGroups, decode_event
from offhook.wire.client_events import ClientEvent, ResponseCreate
from offhook.wire.limits import MAX_SENTENCE_CHARS

if TYPE_CHECKING:
    from offhook.app.incoming import IncomingCall
    from offhook.client.async_client import AsyncClient

_log: Final = logging.getLogger("offhook.app")
_ENDERS: Final = frozenset({"caller", "application", "server"})
CLOSED: Final = CallEnded(reason="this session was closed")
"""How a session ends that lets go of its call, which may go on."""


class CallSession(EventGroups[Awaitable[None]]):
    """An answered call. Iterate over it for what happens; the last event is a `CallEnded`.

    The events are those of the API, typed (``offhook.types``): `DtmfReceived` for a key, `TranscriptionCompleted` for
    what the caller said, an `Other` for what has no type. Functions of the model run by themselves, whether anybody
    iterates or not; events that nobody takes wait, 1,000 at most (then the oldest are dropped). What the server takes
    can be sent: ``session.response.create()``, ``session.conversation.item.create(...)``, ``session.send(...)``.
    """

    def __init__(
        self, client: AsyncClient, call: IncomingCall, tools: Mapping[str, Tool], functions: Functions, floor: Floor
    ) -> None:
        super().__init__(self.send)
        self.call: IncomingCall = call
        self.dropped_events: int = 0
        self._client = client
        self._tools = tools
        self._known_functions = functions
        self._floor = floor
        self._socket = Socket(client, call.call_id, own_events=call.is_from_offhook)
        self._unread: deque[Event | CallEnded | Reconnected] = deque()
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._over = asyncio.Event()
        self._end: CallEnded | None = None
        self._told_end: facts.EndFacts | None = None
        self._transfer = facts.Transfer()
        self._hangs_up = False
        self._sentences: dict[int, asyncio.Future[bool]] = {}
        self._sentence_count = 0
        self._outbox: deque[dict[str, Any]] = deque()
        self._unconfirmed: dict[str, dict[str, Any]] = {}  # outputs of functions that nobody has told us have arrived
        self._to_send = asyncio.Event()
        self._functions: set[asyncio.Task[None]] = set()
        self._running = 0
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<CallSession {self.call_id}{' (over)' if self.end else ''}>"

    @property
    def call_id(self) -> str:
        """The id of the call."""
        return self.call.call_id

    @property
    def end(self) -> CallEnded | None:
        """How the call ended; None while it lives."""
        return self._end

    # -- what happens

    async def __aiter__(self) -> AsyncIterator[Event | CallEnded | Reconnected]:
        while True:
            while self._unread:
                yield self._unread.popleft()
            if self._end is not None:
                return
            self._news.clear()
            await self._news.wait()

    async def wait_ended(self) -> CallEnded:
        """Wait for the end of the call; its functions run meanwhile."""
        await self._over.wait()
        assert self._end is not None
        return self._end

    # -- what to do

    async def send(self, event: ClientEvent | Mapping[str, Any]) -> None:
        """Send an event; while the connection is lost, wait for the next one.

        Raises ConnectionClosedError when the call is over.
        """
        if isinstance(event, ResponseCreate):
            self._known_functions.add_for_response(event.response)
        elif isinstance(event, Mapping) and event.get("type") == "response.create":
            self._known_functions.add_for_response(event.get("response"))
        await self._socket.send(event)

    async def say(self, text: str) -> bool:
        """Let the agent say something; return True when the caller has heard it to its end.

        Offhook says it word for word, without asking a model. Elsewhere this is the best that can be done: the model
        is told to read it out, and usually does. It begins when the response under way is over. False: the caller
        interrupted it, it failed, or the call is over. 1,000 characters at most.

        Raises ValueError for an empty or longer text.
        """
        if not text.strip() or len(text) > MAX_SENTENCE_CHARS:
            raise ValueError(f"what is to be said has 1 to {MAX_SENTENCE_CHARS} characters")
        if self._over.is_set():
            return False
        self._sentence_count += 1
        number = self._sentence_count
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._sentences[number] = heard
        self._perform(self._floor.say(Sentence(number, text, verbatim=self.call.is_from_offhook)))
        try:
            async with asyncio.timeout(limits.SAY_START_S + limits.SAY_LETTER_S * len(text)):
                return await heard
        except TimeoutError:
            return False
        finally:
            self._sentences.pop(number, None)
            self._floor.withdraw(number)

    async def transfer(
        self, target_uri: str, *, after_speaking: bool = True, within_s: float = limits.TRANSFER_S
    ) -> bool:
        """Transfer the caller to ``tel:+14155550123`` or ``sip:...``; return True when they have gone there.

        What the agent is saying is heard to its end first, unless ``after_speaking`` is False. False: it failed
        (offhook tells that at once), nothing was heard of it ``within_s`` seconds, or the caller hung up before.

        Raises APIStatusError when the server refuses it (BadRequestError: not such a target).
        """
        if after_speaking:
            await self._until_quiet()
        if self._over.is_set():
            return False
        self._transfer = facts.Transfer()
        try:
            await self._client.realtime.calls.refer(self.call_id, target_uri=target_uri)
        except NotFoundError:
            return False
        try:
            async with asyncio.timeout(within_s):
                await self._until(lambda: self._transfer.final)
        except TimeoutError:
            return False
        if self._end is not None:
            return self._end.result in {"transferred", "unknown"}
        status = self._transfer.status
        return status is not None and 200 <= status < 300

    async def hangup(self, *, after_speaking: bool = True) -> None:
        """Hang up, and return when the server does. A call that is over already is none of your business.

        What the agent is saying is heard to its end first, unless ``after_speaking`` is False. Raises APIStatusError,
        APIConnectionError.
        """
        if self._over.is_set():
            return
        if after_speaking:
            await self._until_quiet()
        if self._over.is_set():
            return
        self._hangs_up = True
        try:
            await self._client.realtime.calls.hangup(self.call_id, timeout=limits.LAST_ACTION_S)
        except NotFoundError:
            pass

    async def _until_quiet(self) -> None:
        try:
            async with asyncio.timeout(limits.LAST_SENTENCE_S):
                await self._until(lambda: self._floor.quiet)
        except TimeoutError:
            pass

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition() and not self._over.is_set():
            self._moved.clear()
            await self._moved.wait()

    # -- from the first event to the last

    async def open(self) -> None:
        """Attach to the call. Raises APIError: NotFoundError when it is over already."""
        await self._socket.open()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._follow()), loop.create_task(self._send_all())]

    async def close(self, *, patiently: bool = True) -> None:
        """Let go of the call, which goes on without this session; functions under way come to their end, or not."""
        try:
            if self._functions and patiently:
                await asyncio.wait(self._functions)
        finally:
            tasks = [*self._tasks, *self._functions]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._finish(CLOSED)
            await self._socket.close()

    async def _follow(self) -> None:
        try:
            end = await self._read()
        except Exception as bug:  # a bug of ours must not leave the caller alone
            _log.exception("call_id=%s: the session failed", self.call_id)
            end = CallEnded("lost", "application", f"a bug: {type(bug).__name__}")
        if end.result == "lost":
            # Nobody steers the call any more, and whoever called should not talk to a machine without its functions.
            try:
                await self._client.realtime.calls.hangup(self.call_id, timeout=limits.LAST_ACTION_S, max_retries=0)
            except Exception as failure:  # also of a key's function, which is not ours: the session ends all the same
                _log.debug("call_id=%s: the call could not be hung up: %s", self.call_id, failure)
        self._finish(end)

    async def _read(self) -> CallEnded:
        while True:
            try:
                data = await self._socket.receive()
            except ConnectionClosedError as closed:
                if closed.close_code == OVER or self._told_end is not None:
                    return self._ended(closed)
                # Later it is said to readers that fell behind, who may come again.
                if closed.close_code == REFUSED and not self._socket.steady:
                    return CallEnded("lost", "server", str(closed))
                lost_at = time.monotonic()
                self._lose()
                outcome = await self._socket.reopen()
                if outcome is Lost.CALL:
                    return self._ended(closed)
                if outcome is Lost.SERVER:
                    return CallEnded("lost", None, str(closed))
                self._put(Reconnected(round(time.monotonic() - lost_at, 3)))
                self._perform(self._floor.resume())
            else:
                self._take(data)

    def _take(self, data: bytes) -> None:
        fact = facts.read_fact(data)
        if isinstance(fact, facts.CallOver):
            self._told_end = fact.end
        else:
            try:
                self._put(decode_event(data))
            except APIResponseValidationError as failure:
                _log.warning("call_id=%s: %s", self.call_id, failure)
        if isinstance(fact, facts.ItemAdded):
            self._unconfirmed.pop(fact.item.id, None)
        if isinstance(fact, facts.SessionChanged) and fact.tools is not None:
            self._known_functions.put_in_force(map(function_name, fact.tools))
        if isinstance(fact, facts.TransferMoved):
            self._transfer = fact.refer
        elif fact is not None:
            self._perform(self._floor.take(fact))
        self._moved.set()

    def _put(self, event: Event | CallEnded | Reconnected) -> None:
        if len(self._unread) >= limits.MAX_UNREAD_EVENTS:
            self._unread.popleft()
            self.dropped_events += 1
        self._unread.append(event)
        self._news.set()

    def _lose(self) -> None:
        waiting = [each for each in self._outbox if each["type"] != "response.create"]
        # What was sent last may have been lost. Where it was not, its id is known there, and it is not added twice.
        self._outbox = deque(each for each in self._unconfirmed.values() if each not in waiting)
        self._outbox.extend(waiting)
        self._perform(self._floor.lose())

    def _ended(self, closed: ConnectionClosedError) -> CallEnded:
        told = self._told_end
        if told is not None:
            by: Any = told.by if told.by in _ENDERS else None
            return CallEnded(told.result or "unknown", by, told.reason, told.sip_status)
        return CallEnded("unknown", "application" if self._hangs_up else None, closed.reason)

    def _finish(self, end: CallEnded) -> None:
        if self._end is not None:
            return
        self._put(end)
        self._end = end
        for heard in self._sentences.values():
            if not heard.done():
                heard.set_result(False)
        self._socket.finish()
        self._over.set()
        self._moved.set()
        self._to_send.set()

    # -- what follows from events

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendEvent(event=event):
                    self._queue(event)
                case RunFunctions(calls=calls):
                    task = asyncio.get_running_loop().create_task(self._run_functions(calls))
                    self._functions.add(task)
                    task.add_done_callback(self._functions.discard)
                case SentenceSettled(number=number, heard=heard):
                    waiting = self._sentences.get(number)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(heard)
                case RequestFailed(code=code, message=message):
                    _log.warning("call_id=%s: the server refused a response: %s %r", self.call_id, code, message)
                case _:
                    assert_never(action)

    def _queue(self, event: dict[str, Any]) -> None:
        self._outbox.append(event)
        self._to_send.set()

    async def _send_all(self) -> None:
        """Send what is queued, apart from the reading: a server may read on only when it is read itself."""
        while self._end is None:
            if not self._outbox:
                self._to_send.clear()
                await self._to_send.wait()
                continue
            event = self._outbox.popleft()
            try:
                # A request for a response is made anew on the next connection, if it is still wanted there.
                await self._socket.send(event, again=event["type"] != "response.create")
            except ConnectionClosedError:
                return

    async def _run_functions(self, calls: tuple[facts.OutputItem, ...]) -> None:
        ours = [each for each in calls if self._known_functions.is_ours(each.name)]
        for each in calls:
            if each not in ours:
                _log.debug("call_id=%s: the function %r is left to whoever answers it", self.call_id, each.name)
        outputs = await asyncio.gather(*(self._run_function(each) for each in ours))
        if self._end is not None or not ours:
            return
        for called, output in zip(ours, outputs, strict=True):
            item_id = f"item_{secrets.token_hex(8)}"
            item = {"id": item_id, "type": "function_call_output", "call_id": called.call_id, "output": output}
            if len(self._unconfirmed) >= limits.MAX_RUNNING_FUNCTIONS:
                del self._unconfirmed[next(iter(self._unconfirmed))]
            self._unconfirmed[item_id] = {"type": "conversation.item.create", "item": item}
            self._queue(self._unconfirmed[item_id])
        if len(ours) == len(calls):
            # Otherwise the application still has to give outputs of its own, and asks for the response then.
            self._perform(self._floor.answer(each.call_id for each in ours))

    async def _run_function(self, called: facts.OutputItem) -> str:
        tool = self._tools.get(called.name)
        if tool is None:
            known = ", ".join(self._tools) or "there is none"
            return f"There is no function of this name. Functions are: {known}."
        if self._running >= limits.MAX_RUNNING_FUNCTIONS:
            return f"{called.name} was not called: too many functions are running. Try again later."
        self._running += 1
        try:
            return await tool.run(called.arguments, (self, self.call))
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return f"{called.name} was cancelled."
        finally:
            self._running -= 1


def new_floor(turn_detection: Any) -> Floor:
    """Return the floor of a session with this turn detection: a structure, a dict, UNSET, or None for none."""
    create: Any = turn_detection
    create = create.get("create_response") if isinstance(create, Mapping) else getattr(create, "create_response", None)
    return Floor(f"app_{secrets.token_hex(4)}", takes_turns=turn_detection is not None and create is not False)
