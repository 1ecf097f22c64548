"""One response: it opens once, builds its items, and closes once, in the order that the API promises.

Source: API reference, "response.*" server events; the order is the one of recorded live traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from offhook.session.conversation import Conversation
from offhook.session.heard import Heard
from offhook.session.mcp import McpTarget
from offhook.session.usage import BYTES_PER_TOKEN
from offhook.wire import server_events as ev
from offhook.wire.ids import Ids
from offhook.wire.items import (
    ContentPart,
    FunctionCall,
    Item,
    ItemStatus,
    McpApprovalRequest,
    McpCall,
    McpToolExecutionError,
    Message,
    OutputAudio,
    OutputText,
)
from offhook.wire.server_events import ServerEvent, StatusDetails, Usage
from offhook.wire.session import AudioFormat, Modality, Voice, voice_name

Reason = Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"]


class ResponseSettings(msgspec.Struct, frozen=True):
    """What a response shows of its settings; a later update of the session does not change it."""

    modality: Modality
    max_output_tokens: int | Literal["inf"]
    audio_format: AudioFormat
    voice: Voice
    metadata: dict[str, str] | None = None


# -- how a response can end


class Completed(msgspec.Struct, frozen=True):
    """The model said all it wanted to."""


class Cancelled(msgspec.Struct, frozen=True):
    """The caller or the client stopped it."""

    reason: Literal["turn_detected", "client_cancelled"]


class Incomplete(msgspec.Struct, frozen=True):
    """The model was not allowed to go on."""

    reason: Literal["max_output_tokens", "content_filter"]


class Failed(msgspec.Struct, frozen=True):
    """The model failed."""

    kind: str
    code: str
    message: str


Ending = Completed | Cancelled | Incomplete | Failed


# -- the items that it is building


class Saying(msgspec.Struct):
    """A message that is said or written; ``cut_ms`` is how much of its sound was heard when it was interrupted."""

    item_id: str
    output_index: int
    words: list[str] = msgspec.field(default_factory=list)
    heard: Heard = msgspec.field(default_factory=Heard)
    cut_ms: float | None = None

    @property
    def text(self) -> str:
        """The words that count: all of them, or those that were heard."""
        return "".join(self.words) if self.cut_ms is None else self.heard.until(self.cut_ms)

    def cut(self, heard_ms: float) -> None:
        """Let only what was heard count; the least cut holds."""
        self.cut_ms = heard_ms if self.cut_ms is None else min(self.cut_ms, heard_ms)


class _Calling(msgspec.Struct):
    """A function call whose arguments are coming in."""

    item_id: str
    output_index: int
    name: str
    call_id: str
    target: McpTarget | None = None
    arguments: list[str] = msgspec.field(default_factory=list)

    def mcp_item(self, arguments: str) -> McpCall | None:
        """The item of a call of an MCP server's tool."""
        if self.target is None:
            return None
        return McpCall(
            id=self.item_id,
            server_label=self.target.server.server_label,
            name=self.target.name,
            arguments=arguments,
            approval_request_id=None,
            output=None,
            error=None,
        )


class MadeMcpCall(msgspec.Struct, frozen=True):
    """A whole call of an MCP server's tool. Its item names the approval request when it needs one."""

    item: McpCall
    output_index: int
    target: McpTarget


class Response:
    """Builds one response. Every method yields the server events of its step.

    ``conversation`` is None for an out-of-band response: its items are not announced and do not stay. ``keeps_open``:
    the client gets the sound in events, so that no message is done before its sound is, which may be late.
    """

    def __init__(
        self,
        run: int,
        settings: ResponseSettings,
        conversation: Conversation | None,
        ids: Ids,
        *,
        keeps_open: bool = False,
    ) -> None:
        self.id = ids.response()
        self.run = run
        self.settings = settings
        self.closed = False
        self.spoken: list[Saying] = []
        self._silenced = False
        self._conversation = conversation
        self._ids = ids
        self._output: dict[int, Item] = {}
        self._next_index = 0
        self._message: Saying | None = None
        self._keeps_open = keeps_open and settings.modality == "audio"
        self._unfinished: list[Saying] = []
        self._calls: dict[int, _Calling] = {}
        self._mcp_calls: list[MadeMcpCall] = []
        self._words_bytes = 0

    @property
    def out_of_band(self) -> bool:
        """Whether the response stays out of the conversation."""
        return self._conversation is None

    @property
    def produced_tokens(self) -> int:
        """All words and arguments that the model produced, in estimated tokens."""
        return -(-self._words_bytes // BYTES_PER_TOKEN)

    def _count(self, words: str) -> None:
        self._words_bytes += len(words.encode("utf-8", "surrogatepass"))

    @property
    def produced_ms(self) -> float:
        """Milliseconds of sound so far."""
        return sum(message.heard.produced_ms for message in self.spoken)

    @property
    def call_ids(self) -> frozenset[str]:
        """The function calls that are finished."""
        calls = (item for item in self._output.values() if isinstance(item, FunctionCall))
        return frozenset(str(call.call_id) for call in calls)

    def open(self) -> Iterator[ServerEvent]:
        """Begin."""
        yield ev.ResponseCreated(event_id=self._ids.event(), response=self._snapshot("in_progress", None, None))

    # -- words

    def add_text(self, text: str) -> Iterator[ServerEvent]:
        """Take words of the model, said or written; a message begins with its first word."""
        if not text.strip() and (self._message is None or not text):
            return
        yield from self._open_message()
        message = self._message
        if message is None:
            return
        message.words.append(text)
        self._count(text)
        kind = ev.OutputTranscriptDelta if self.settings.modality == "audio" else ev.OutputTextDelta
        if self.settings.modality == "audio":
            message.heard.add_text(text)
        yield kind(
            event_id=self._ids.event(),
            response_id=self.id,
            item_id=message.item_id,
            output_index=message.output_index,
            content_index=0,
            delta=text,
            obfuscation=self._ids.obfuscation(),
        )

    def wants_sound(self, number: int | None) -> bool:
        """Say whether sound of a message (None: the last) is to be heard; after a cut, no more of it is."""
        message = self.said(number)
        return self.settings.modality == "audio" and not self._silenced and (message is None or message.cut_ms is None)

    def add_audio(self, duration_ms: float, text: str, number: int | None) -> Sequence[ServerEvent]:
        """Take audio of the model, and the words that it speaks when they are known.

        It may belong to a message that was finished already: the voice is slower than the words.
        """
        message = self.said(number)
        opened = () if message is not None else tuple(self._open_message())
        (message or self.spoken[-1]).heard.add_audio(duration_ms, text)
        return opened

    def said(self, number: int | None) -> Saying | None:
        """Return a spoken message by its number, None for one that has not begun."""
        if number is None:
            return self.spoken[-1] if self.spoken else None
        return self.spoken[number] if number < len(self.spoken) else self._message

    def _open_message(self) -> Iterator[ServerEvent]:
        if self._message is not None:
            return
        message = self._message = Saying(self._ids.item(), self._take_index())
        if self.settings.modality == "audio":
            self.spoken.append(message)
        if self._silenced:
            message.cut(0.0)
        item = Message(id=message.item_id, status="in_progress", role="assistant", content=())
        yield from self._announce(item, message.output_index)
        yield ev.ContentPartAdded(
            event_id=self._ids.event(),
            response_id=self.id,
            item_id=message.item_id,
            output_index=message.output_index,
            content_index=0,
            part=self._part(""),
        )

    def end_message(self) -> Iterator[ServerEvent]:
        """Let what is said next be another message."""
        yield from self._leave_message()

    def _leave_message(self) -> Iterator[ServerEvent]:
        """Begin something else: what is being said is finished by it, unless its sound may still come."""
        message, self._message = self._message, None
        if message is None:
            return
        if self._keeps_open:
            self._unfinished.append(message)
        else:
            yield from self._close_message(message, "completed")

    def _close_messages(self, status: ItemStatus) -> Iterator[ServerEvent]:
        last, self._message = self._message, None
        for message in [*self._unfinished, *filter(None, [last])]:
            yield from self._close_message(message, status)
        self._unfinished = []

    def _close_message(self, message: Saying, status: ItemStatus) -> Iterator[ServerEvent]:
        text = message.text
        place: dict[str, Any] = {
            "response_id": self.id,
            "item_id": message.item_id,
            "output_index": message.output_index,
            "content_index": 0,
        }
        content: ContentPart
        if self.settings.modality == "audio":
            yield ev.OutputAudioDone(event_id=self._ids.event(), **place)
            yield ev.OutputTranscriptDone(event_id=self._ids.event(), transcript=text, **place)
            content = OutputAudio(transcript=text)
        else:
            yield ev.OutputTextDone(event_id=self._ids.event(), text=text, **place)
            content = OutputText(text=text)
        yield ev.ContentPartDone(event_id=self._ids.event(), part=self._part(text), **place)
        if message.cut_ms is not None:
            status = "incomplete"
        item = Message(id=message.item_id, status=status, role="assistant", content=(content,))
        yield from self._finish(item, message.output_index)

    def _part(self, text: str) -> ev.AudioPart | ev.TextPart:
        return ev.AudioPart(transcript=text) if self.settings.modality == "audio" else ev.TextPart(text=text)

    # -- what was heard

    def silence(self, played_ms: float) -> list[Saying]:
        """Cut what was not heard when the sound stopped for good after ``played_ms``; return the messages cut now."""
        if self._silenced:
            return []
        self._silenced = True
        cut = []
        start_ms, rest_ms = 0.0, self.produced_ms
        for message in self.spoken:
            length_ms = message.heard.produced_ms
            rest_ms -= length_ms
            # Sound comes in the order of the messages: what a later one has, this one will not get.
            is_whole = (self.closed or rest_ms > 0) and int(start_ms + length_ms) <= played_ms
            if not is_whole:
                self.cut(message, min(max(played_ms - start_ms, 0.0), length_ms))
                cut.append(message)
            start_ms += length_ms
        return cut

    def cut(self, message: Saying, heard_ms: float) -> None:
        """Let only what was heard of a message count, in its item too when that was finished before."""
        message.cut(heard_ms)
        item = self._output.get(message.output_index)
        if isinstance(item, Message):
            item = replace(item, status="incomplete", content=(OutputAudio(transcript=message.text),))
            self._output[message.output_index] = item
            if self._conversation is not None:
                self._conversation.replace(item)

    def tell_cut(self, message: Saying) -> Iterator[ServerEvent]:
        """Say where a message was cut, unless it is not in the conversation."""
        # A client may have deleted the item.
        if self._conversation is None or message.item_id not in self._conversation:
            return
        yield ev.ConversationItemTruncated(
            event_id=self._ids.event(),
            item_id=message.item_id,
            content_index=0,
            audio_end_ms=int(message.cut_ms or 0),
        )

    # -- function calls

    def finish_words(self) -> Iterator[ServerEvent]:
        """All function calls are whole, and nothing but sound can follow."""
        yield from self._close_calls("completed")

    def start_call(
        self, index: int, name: str, call_id: str | None, target: McpTarget | None = None
    ) -> Iterator[ServerEvent]:
        """Begin a function call; what was being said, and the call before, are finished by it.

        ``target`` says which tool of an MCP server is meant.
        """
        if index in self._calls:
            return
        yield from self._leave_message()
        yield from self._close_calls("completed")
        item_id = self._ids.item() if target is None else self._ids.mcp_call()
        call = self._calls[index] = _Calling(
            item_id, self._take_index(), name, call_id or self._ids.tool_call(), target
        )
        self._count(name)
        function = FunctionCall(id=item_id, status="in_progress", call_id=call.call_id, name=name, arguments="")
        yield from self._announce(call.mcp_item("") or function, call.output_index)

    def add_arguments(self, index: int, delta: str) -> Iterator[ServerEvent]:
        """Take a part of a call's arguments."""
        call = self._calls.get(index)
        if call is None or not delta:
            return
        call.arguments.append(delta)
        self._count(delta)
        place: dict[str, Any] = {
            "event_id": self._ids.event(),
            "response_id": self.id,
            "item_id": call.item_id,
            "output_index": call.output_index,
            "delta": delta,
            "obfuscation": self._ids.obfuscation(),
        }
        if call.target is None:
            yield ev.FunctionArgumentsDelta(call_id=call.call_id, **place)
        else:
            yield ev.McpCallArgumentsDelta(**place)

    def _close_calls(self, status: ItemStatus) -> Iterator[ServerEvent]:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            yield from self._close_call(call, status)

    def _close_call(self, call: _Calling, status: ItemStatus) -> Iterator[ServerEvent]:
        arguments = "".join(call.arguments)
        if status == "completed" and not arguments:
            arguments = "{}"
        if (tool_call := call.mcp_item(arguments)) is not None and call.target is not None:
            yield from self._close_mcp_call(tool_call, call.output_index, call.target, status)
            return
        yield ev.FunctionArgumentsDone(
            event_id=self._ids.event(),
            response_id=self.id,
            item_id=call.item_id,
            output_index=call.output_index,
            call_id=call.call_id,
            name=call.name,
            arguments=arguments,
        )
        item = FunctionCall(id=call.item_id, status=status, call_id=call.call_id, name=call.name, arguments=arguments)
        yield from self._finish(item, call.output_index)

    # -- calls of MCP servers' tools

    def _close_mcp_call(
        self, item: McpCall, output_index: int, target: McpTarget, status: ItemStatus
    ) -> Iterator[ServerEvent]:
        yield ev.McpCallArgumentsDone(
            event_id=self._ids.event(),
            response_id=self.id,
            item_id=item.id,
            output_index=output_index,
            arguments=item.arguments,
        )
        if status != "completed":
            broken_off = McpToolExecutionError(message="The response ended before the call was whole.")
            yield from self._finish(replace(item, error=broken_off), output_index)
            return
        if target.needs_approval:
            request = McpApprovalRequest(
                id=self._ids.mcp_approval_request(),
                server_label=item.server_label,
                name=item.name,
                arguments=item.arguments,
            )
            item = replace(item, approval_request_id=request.id)
            index = self._take_index()
            yield from self._announce(request, index)
            yield from self._finish(request, index)
        self._output[output_index] = item
        if self._conversation is not None:
            self._conversation.replace(item)
        self._mcp_calls.append(MadeMcpCall(item, output_index, target))

    def take_mcp_calls(self) -> list[MadeMcpCall]:
        """Return the calls that have become whole since this was asked last."""
        calls, self._mcp_calls = self._mcp_calls, []
        return calls

    def finish_mcp_call(self, item: McpCall, output_index: int) -> Iterator[ServerEvent]:
        """Say what came of a call, which may be long after the response has ended."""
        yield from self._finish(item, output_index)

    # -- the end

    def close(self, ending: Ending, usage: Usage) -> Iterator[ServerEvent]:
        """End the response, once; a second end does nothing."""
        if self.closed:
            return
        self.closed = True
        item_status: ItemStatus = "completed" if isinstance(ending, Completed) else "incomplete"
        yield from self._close_messages(item_status)
        yield from self._close_calls(item_status)
        status, details = _status(ending)
        yield ev.ResponseDone(event_id=self._ids.event(), response=self._snapshot(status, details, usage))

    def _take_index(self) -> int:
        self._next_index += 1
        return self._next_index - 1

    def _announce(self, item: Item, output_index: int) -> Iterator[ServerEvent]:
        yield ev.OutputItemAdded(event_id=self._ids.event(), response_id=self.id, output_index=output_index, item=item)
        if self._conversation is not None:
            previous_id = self._conversation.append(item)
            yield ev.ConversationItemAdded(event_id=self._ids.event(), previous_item_id=previous_id, item=item)

    def _finish(self, item: Item, output_index: int) -> Iterator[ServerEvent]:
        self._output[output_index] = item
        # A client may have deleted the item while it was being built.
        if self._conversation is not None and item.id in self._conversation:
            self._conversation.replace(item)
            yield ev.ConversationItemDone(
                event_id=self._ids.event(),
                previous_item_id=self._conversation.previous_id(str(item.id)),
                item=item,
            )
        yield ev.OutputItemDone(event_id=self._ids.event(), response_id=self.id, output_index=output_index, item=item)

    def _snapshot(self, status: ev.ResponseStatus, details: StatusDetails | None, usage: Usage | None) -> ev.Response:
        settings = self.settings
        return ev.Response(
            id=self.id,
            status=status,
            status_details=details,
            output=tuple(self._output[index] for index in sorted(self._output)),
            conversation_id=self._conversation.id if self._conversation is not None else None,
            output_modalities=(settings.modality,),
            max_output_tokens=settings.max_output_tokens,
            audio=ev.ResponseAudioEcho(
                output=ev.ResponseAudioOutputEcho(format=settings.audio_format, voice=voice_name(settings.voice))
            ),
            usage=usage,
            metadata=settings.metadata,
        )


def _status(ending: Ending) -> tuple[ev.ResponseStatus, StatusDetails | None]:
    match ending:
        case Completed():
            return "completed", None
        case Cancelled(reason=reason):
            return "cancelled", StatusDetails(type="cancelled", reason=reason)
        case Incomplete(reason=why):
            return "incomplete", StatusDetails(type="incomplete", reason=why)
        case Failed(kind=kind, code=code, message=message):
            error = ev.ResponseError(type=kind, code=code, message=message)
            return "failed", StatusDetails(type="failed", error=error)
