"""A call that rings, and what an application makes of it: accepted, rejected, transferred or hung up."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET, UnsetType

from offhook.app import limits
from offhook.app.address import party
from offhook.app.functions import Functions, member
from offhook.app.session import CLOSED, CallSession, new_floor
from offhook.app.tool import Tool, as_tools
from offhook.client.errors import APIError, APIStatusError, NotFoundError
from offhook.errors import LocalError
from offhook.wire.session import FunctionTool, McpTool

if TYPE_CHECKING:
    from offhook.client.async_client import AsyncClient
    from offhook.wire.calls import RealtimeCallIncoming, SipHeader
    from offhook.wire.session import (
        Audio,
        Include,
        Modality,
        ModelName,
        Prompt,
        Reasoning,
        ToolChoice,
        Tracing,
        Truncation,
    )

    Json = Mapping[str, Any]
    AnyTool = Tool | Callable[..., Any] | FunctionTool | McpTool | Json


class _Fate(enum.Enum):
    """What became of a call so far."""

    RINGING = "rings"
    ACCEPTING = "is being accepted"
    UNCERTAIN = "may be answered"  # it was accepted, and nobody knows what the server made of that
    ANSWERED = "is answered"
    GONE = "is over"


class CallDecidedError(LocalError):
    """A call that was decided about already was accepted once more."""


class IncomingCall:
    """A call that rings. Decide soon: the caller hears ringing, and servers give up after half a minute.

    What stands in ``caller``, ``called`` and ``headers`` is the caller's word. That a webhook is genuine does not make
    it true.
    """

    def __init__(
        self, client: AsyncClient, event: RealtimeCallIncoming, tools: Sequence[Tool] = (), *, is_from_offhook: bool
    ) -> None:
        self.call_id: str = event.data.call_id
        """The id of the call."""
        self.headers: tuple[SipHeader, ...] = event.data.sip_headers
        """The headers of the INVITE, as they came: each has a ``name`` and a ``value``."""
        self.created_at: int = event.created_at
        """When the server announced the call, in Unix seconds."""
        self.is_from_offhook: bool = is_from_offhook
        """Whether the server said that it is offhook: then it is asked for what other servers do not have."""
        self._client = client
        self._tools = tools
        self._fate = _Fate.RINGING
        self._session: CallSession | None = None

    def __repr__(self) -> str:
        return f"<IncomingCall {self.call_id} {self._fate.value}>"

    @property
    def caller(self) -> str:
        """Who calls: the number or user of the From header, such as ``+15550001``; "" where there is none."""
        return party(self.header("from") or "")

    @property
    def called(self) -> str:
        """Who is called: the number or user of the To header; "" where there is none.

        Some trunks put their own name there, and the number that was dialled into ``header("Diversion")``.
        """
        return party(self.header("to") or "")

    def header(self, name: str) -> str | None:
        """Return the first header of this name, in any case; None when there is none."""
        lower = name.lower()
        return next((each.value for each in self.headers if each.name.lower() == lower), None)

    @property
    def session(self) -> CallSession | None:
        """The session, once the call is accepted."""
        return self._session

    @property
    def undecided(self) -> bool:
        """Whether nobody has accepted, rejected or ended the call."""
        return self._fate is _Fate.RINGING

    @property
    def over(self) -> bool:
        """Whether the call is known to have ended."""
        return self._fate is _Fate.GONE or (self._session is not None and self._session.end is not None)

    # -- deciding

    def accept(
        self,
        *,
        instructions: str | UnsetType = UNSET,
        tools: Sequence[AnyTool] = (),
        audio: Audio | Json | UnsetType = UNSET,
        include: Sequence[Include] | None | UnsetType = UNSET,
        max_output_tokens: int | Literal["inf"] | UnsetType = UNSET,
        model: ModelName | str | UnsetType = UNSET,
        output_modalities: Sequence[Modality] | UnsetType = UNSET,
        parallel_tool_calls: bool | UnsetType = UNSET,
        prompt: Prompt | Json | None | UnsetType = UNSET,
        reasoning: Reasoning | Json | UnsetType = UNSET,
        tool_choice: ToolChoice | Json | UnsetType = UNSET,
        tracing: Literal["auto"] | Tracing | Json | None | UnsetType = UNSET,
        truncation: Truncation | Json | UnsetType = UNSET,
        extra_body: Json | None = None,
    ) -> Answering:
        """Answer the call: ``session = await call.accept(...)``, or ``async with call.accept(...) as session``.

        Leaving the ``async with`` hangs up, when the agent has said what it is saying. With ``await`` the call lives
        until it ends by itself, also when the handler has returned.

        Args:
            instructions: What the model is told before everything else.
            tools: Functions that the model may call, besides those of ``@app.tool``: see `Tool`. Also tools of the
                API (MCP servers; functions whose calls you answer yourself).
            audio: As in ``client.realtime.calls.accept``, like all others here.
            include: More members of events.
            max_output_tokens: What one response may cost.
            model: The model. Default: the server's.
            output_modalities: ``["audio"]`` or ``["text"]``.
            parallel_tool_calls: Whether a response may call several tools.
            prompt: A stored prompt.
            reasoning: How hard the model thinks.
            tool_choice: Which tools the model may or must call.
            tracing: Names for the trace.
            truncation: What happens when the context is full.
            extra_body: More members of the body; they win.

        Raises, when it is awaited or entered:
            NotFoundError: the caller has given up. A handler may let it pass: that is no failure.
            BadRequestError: a member is wrong; ``param`` names it, and the call rings on.
            APIConnectionError, InternalServerError: whether the call is answered is not known. It may be accepted once
                more; a handler that leaves it at that ends the call. Also when an accepted call cannot be attached to:
                then it is hung up.
            CallDecidedError: the call was accepted, rejected or ended before.
            ValueError, TypeError: a tool that a model cannot call, or two of one name.
        """
        session = {
            "instructions": instructions,
            "audio": audio,
            "include": include,
            "max_output_tokens": max_output_tokens,
            "model": model,
            "output_modalities": output_modalities,
            "parallel_tool_calls": parallel_tool_calls,
            "prompt": prompt,
            "reasoning": reasoning,
            "tool_choice": tool_choice,
            "tracing": tracing,
            "truncation": truncation,
            "extra_body": extra_body,
        }
        return Answering(self, session, tools)

    async def reject(self, status_code: int | UnsetType = UNSET) -> None:
        """Refuse the call with a SIP status, 300 to 699; 603 (Decline) when none is given.

        A caller who has given up already is refused well enough. Raises APIStatusError, APIConnectionError.
        """
        await self._end(self._client.realtime.calls.reject(self.call_id, status_code=status_code))

    async def refer(self, target_uri: str) -> None:
        """Transfer a call that is answered; `CallSession.transfer` waits for the outcome.

        Raises APIStatusError: a call that rings cannot be transferred everywhere.
        """
        try:
            await self._client.realtime.calls.refer(self.call_id, target_uri=target_uri)
        except NotFoundError as failure:
            if failure.code == "call_id_not_found":
                self._fate = _Fate.GONE
            raise

    async def hangup(self) -> None:
        """End the call, whether it rings or is answered. One that is over already is ended well enough.

        Raises APIStatusError, APIConnectionError.
        """
        if self._session is not None:
            await self._session.hangup(after_speaking=False)
        else:
            await self._hang_up()

    async def _end(self, action: Any) -> None:
        try:
            await action
        except NotFoundError:
            pass
        self._fate = _Fate.GONE

    # -- for the application

    async def abandon(self, status_code: int) -> None:
        """End a call whose handler failed: it is rejected with this status, or hung up. Raises APIError."""
        async with asyncio.timeout(limits.LAST_ACTION_S):
            match self._fate:
                case _Fate.RINGING | _Fate.ACCEPTING | _Fate.UNCERTAIN:
                    try:
                        await self.reject(status_code)
                    except APIError:
                        # It does not ring any more, whatever was heard of its accept.
                        await self._hang_up()
                case _Fate.ANSWERED:
                    if self._session is not None and self._session.end is None:
                        await self._session.hangup(after_speaking=False)
                    elif self._session is None or self._session.end == CLOSED:
                        await self._hang_up()
                case _Fate.GONE:
                    pass

    async def _hang_up(self) -> None:
        await self._end(self._client.realtime.calls.hangup(self.call_id))

    async def answer(self, session: Mapping[str, Any], given: Sequence[AnyTool]) -> CallSession:
        """Accept the call, and attach to it."""
        before = self._fate
        if before not in (_Fate.RINGING, _Fate.UNCERTAIN):
            raise CallDecidedError(f"the call {self._fate.value}")
        functions = [each for each in given if isinstance(each, Tool) or callable(each)]
        declared = [each for each in given if not (isinstance(each, Tool) or callable(each))]
        tools = as_tools((*self._tools, *functions))
        definitions = [*(tool.definition for tool in tools.values()), *declared]
        body = {**session, "tools": definitions, **(session["extra_body"] or {})}
        floor = new_floor(member(member(body["audio"], "input"), "turn_detection"))
        opened = CallSession(self._client, self, tools, Functions(tools, body), floor)
        self._fate = _Fate.ACCEPTING
        try:
            await self._client.realtime.calls.accept(
                self.call_id, type="realtime", tools=definitions or UNSET, **session
            )
        except NotFoundError:
            self._fate = _Fate.GONE
            raise
        except APIStatusError as refused:
            self._fate = before if 400 <= refused.status_code < 500 else _Fate.UNCERTAIN
            raise
        except BaseException:  # also when cancelled: nobody knows what became of it
            self._fate = _Fate.UNCERTAIN
            raise
        self._fate = _Fate.ANSWERED
        try:
            await opened.open()
        except APIError:
            await self._give_up()
            raise
        self._session = opened
        return opened

    async def _give_up(self) -> None:
        """Hang up on a caller whom nobody could serve. What fails here, the application tries once more."""
        try:
            async with asyncio.timeout(limits.LAST_ACTION_S):
                await self._hang_up()
        except (APIError, TimeoutError):
            pass


class Answering:
    """An ``accept`` that is under way: await it, or enter it with ``async with``."""

    def __init__(self, call: IncomingCall, session: Mapping[str, Any], tools: Sequence[AnyTool]) -> None:
        self._call = call
        self._params = session
        self._tools = tools
        self._session: CallSession | None = None

    def __await__(self) -> Generator[Any, None, CallSession]:
        return self._call.answer(self._params, self._tools).__await__()

    async def __aenter__(self) -> CallSession:
        self._session = await self._call.answer(self._params, self._tools)
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, _: TracebackType | None
    ) -> None:
        session = self._session
        if session is None:
            return
        try:
            await session.hangup(after_speaking=failure is None)
            await _until_over(session)
        except APIError:
            if failure is None:
                raise
        finally:
            await session.close(patiently=not isinstance(failure, asyncio.CancelledError))


async def _until_over(session: CallSession) -> None:
    """Give a call that was hung up the time to tell its end."""
    try:
        async with asyncio.timeout(limits.LAST_ACTION_S):
            await session.wait_ended()
    except TimeoutError:
        pass
