"""What a session promises about the order of its events, as a judge that reads them one by one.

Source: API reference, "Server events", and the order of recorded live traffic.
"""

from __future__ import annotations

import json
from typing import Any

from offhook.model.openai_http import chat_messages
from offhook.session import outputs as do
from offhook.wire import server_events as ev
from offhook.wire.items import FunctionCall, McpCall, Message

# Events that name a response and may come after its end: what is played of it, and what its tools have brought.
AFTER_THE_END = (ev.OutputBufferStarted, ev.OutputBufferStopped, ev.OutputBufferCleared)


class Part:
    """A content part, or a function call: what of it has been told."""

    def __init__(self) -> None:
        self.text = ""
        self.sound_done = False
        self.words_done: str | None = None
        self.done = False


class Judge:
    """Fails as soon as an output breaks a promise. It keeps its own copy of the conversation, made from the events."""

    def __init__(self) -> None:
        self.event_ids: set[str] = set()
        self.order: list[str] = []
        self.items_known: set[str] = set()
        self.unfinished: set[str] = set()
        self.opened: dict[str, str | None] = {}
        self.closed: set[str] = set()
        self.default: str | None = None
        self.outputs: dict[str, dict[int, str]] = {}
        self.outputs_open: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        self.speaking: str | None = None
        self.sounding: set[str] = set()
        self.sounded: set[str] = set()
        self.told_transcripts: set[str] = set()
        self.limits_due = False
        self.requested: set[int] = set()
        self.cancelled: set[int] = set()
        self.playing: set[int] = set()
        self.ducked = False
        self.errors: list[ev.ErrorDetails] = []

    def take(self, outputs: list[do.Output]) -> None:
        for output in outputs:
            match output:
                case do.Send(event=event):
                    self.event(event)
                case do.Generate():
                    self.request(output)
                case do.CancelGeneration(run=run):
                    self.cancelled.add(run)
                case do.Play(run=run):
                    assert run not in self.cancelled, "sound of a generation that was cancelled"
                    self.playing.add(run)
                case do.FinishPlayout(run=run):
                    assert run in self.playing, "the end of what was not playing"
                    self.playing.remove(run)
                case do.StopPlayout():
                    self.playing.clear()
                case do.Duck(ducked=ducked):
                    self.ducked = ducked
                case _:
                    pass
        assert not self.limits_due, "rate_limits.updated follows response.done"

    def request(self, request: do.Generate) -> None:
        """A chat model can read a context: each id once, each call with its output, nothing half done."""
        assert request.run not in self.requested, "a response asks its model once"
        self.requested.add(request.run)
        ids = [item.id for item in request.items]
        assert len(ids) == len(set(ids)), "an item is read once"
        assert not any(getattr(item, "status", None) == "in_progress" for item in request.items)
        assert_chat_is_valid(chat_messages(request.instructions, request.items))

    def event(self, event: Any) -> None:
        assert event.event_id not in self.event_ids, "event ids are unique"
        self.event_ids.add(event.event_id)
        if self.limits_due:
            assert isinstance(event, ev.RateLimitsUpdated), "rate_limits.updated follows response.done"
        response_id = getattr(event, "response_id", None)
        if response_id is not None:
            assert response_id in self.opened, (event.type, "before its response")
            late = isinstance(event, AFTER_THE_END) or isinstance(getattr(event, "item", None), McpCall)
            assert late or response_id not in self.closed, (event.type, "after the end of its response")
        self._response(event)
        self._input(event)
        self._item(event)
        self._part(event)

    # -- responses

    def _response(self, event: Any) -> None:
        match event:
            case ev.ResponseCreated(response=response):
                assert response.id not in self.opened, "a response opens once"
                assert (response.status, response.output, response.usage) == ("in_progress", (), None)
                self.opened[response.id] = response.conversation_id
                self.outputs[response.id] = {}
                if response.conversation_id is not None:
                    assert self.default is None, "one response of the conversation at a time"
                    self.default = response.id
            case ev.ResponseDone(response=response):
                assert response.id in self.opened, "a response that was not opened"
                assert response.id not in self.closed, "a response closes once"
                self.closed.add(response.id)
                assert response.status != "in_progress"
                assert response.usage is not None
                details = response.status_details
                assert (details is None) == (response.status == "completed")
                assert details is None or details.type == response.status
                indices = self.outputs[response.id]
                assert [item.id for item in response.output] == [indices[index] for index in sorted(indices)]
                left = {item_id for item_id, owner in self.outputs_open.items() if owner == response.id}
                mcp = {item.id for item in response.output if isinstance(item, McpCall)}
                assert left <= mcp, "every output item is done before its response"
                self.limits_due = True
                if self.default == response.id:
                    self.default = None
            case ev.RateLimitsUpdated(rate_limits=limits):
                assert self.limits_due, "rate_limits.updated follows response.done"
                self.limits_due = False
                assert all(0 <= limit.remaining <= limit.limit for limit in limits)
            case ev.OutputItemAdded(response_id=response_id, output_index=index, item=item):
                item_id = str(item.id)
                assert index == len(self.outputs[response_id]), "output_index counts"
                assert item_id not in self.outputs_open
                self.outputs[response_id][index] = item_id
                self.outputs_open[item_id] = response_id
                if isinstance(item, FunctionCall | McpCall):
                    self.parts[item_id] = Part()
            case ev.OutputItemDone(response_id=response_id, output_index=index, item=item):
                item_id = str(item.id)
                assert self.outputs[response_id][index] == item_id, "done at the place where it was added"
                assert self.outputs_open.pop(item_id) == response_id
                part = self.parts.pop(item_id, None)
                if isinstance(item, Message):
                    assert part is not None, "a message has its part"
                    assert part.done, "an item is done after its part"
                elif isinstance(item, FunctionCall | McpCall):
                    assert part is not None
                    assert part.words_done == item.arguments, "an item is done after its arguments"
            case ev.OutputBufferStarted(response_id=response_id):
                assert response_id not in self.sounded, "a response begins to sound once"
                self.sounded.add(response_id)
                self.sounding.add(response_id)
            case ev.OutputBufferStopped(response_id=response_id) | ev.OutputBufferCleared(response_id=response_id):
                assert response_id in self.sounding, "what ends had begun"
                self.sounding.remove(response_id)
            case ev.ErrorEvent(error=error):
                self.errors.append(error)

    # -- parts

    def _part(self, event: Any) -> None:
        item_id = getattr(event, "item_id", "")
        part = self.parts.get(item_id)
        match event:
            case ev.ContentPartAdded():
                assert item_id in self.outputs_open, "a part of an item that is open"
                assert part is None
                self.parts[item_id] = Part()
            case (
                ev.OutputTranscriptDelta(delta=delta)
                | ev.OutputTextDelta(delta=delta)
                | ev.FunctionArgumentsDelta(delta=delta)
                | ev.McpCallArgumentsDelta(delta=delta)
            ):
                assert part is not None, "a delta of what was added"
                assert part.words_done is None, "no delta after the end"
                part.text += delta
            case ev.OutputAudioDelta() | ev.SentAudioDelta():
                assert part is not None
                assert not part.sound_done, "a message is done when its sound is"
            case ev.OutputAudioDone():
                assert part is not None
                assert not part.sound_done
                part.sound_done = True
            case (
                ev.OutputTranscriptDone(transcript=text)
                | ev.OutputTextDone(text=text)
                | ev.FunctionArgumentsDone(arguments=text)
                | ev.McpCallArgumentsDone(arguments=text)
            ):
                assert part is not None
                assert part.words_done is None, "words are done once"
                assert not isinstance(event, ev.OutputTextDone) or part.text == text
                part.words_done = text
            case ev.ContentPartDone(part=told):
                assert part is not None
                assert not part.done
                assert part.words_done == (told.transcript if isinstance(told, ev.AudioPart) else told.text)
                assert part.sound_done == isinstance(told, ev.AudioPart)
                part.done = True

    # -- the caller

    def _input(self, event: Any) -> None:
        match event:
            case ev.SpeechStarted(item_id=item_id):
                assert self.speaking is None, "speech starts once"
                assert item_id not in self.items_known
                self.speaking = item_id
            case ev.SpeechStopped(item_id=item_id):
                assert self.speaking == item_id, "speech that stops had started, for the same item"
                self.speaking = None
            case ev.SessionUpdated(session=session) if session.audio.input.turn_detection is None:
                assert self.speaking is None, "where nobody listens for the end of speech, it has stopped"
            case ev.InputCommitted(item_id=item_id, previous_item_id=previous_id):
                assert item_id not in self.items_known, "an item is committed once"
                assert item_id != self.speaking, "speech stops before it is committed"
                assert previous_id == (self.order[-1] if self.order else None)
            case ev.TranscriptionDelta(item_id=item_id):
                assert item_id not in self.told_transcripts, "no words after the whole transcript"
            case ev.TranscriptionCompleted(item_id=item_id) | ev.TranscriptionFailed(item_id=item_id):
                assert item_id in self.items_known
                assert item_id not in self.told_transcripts, "one transcript an item"
                self.told_transcripts.add(item_id)

    # -- the conversation

    def _item(self, event: Any) -> None:
        match event:
            case ev.ConversationItemAdded(item=item, previous_item_id=previous_id):
                item_id = str(item.id)
                assert item_id not in self.order, "an item is added once"
                place = 0 if previous_id is None else self.order.index(previous_id) + 1
                self.order.insert(place, item_id)
                self.items_known.add(item_id)
                self.unfinished.add(item_id)
            case ev.ConversationItemDone(item=item, previous_item_id=previous_id):
                item_id = str(item.id)
                assert item_id in self.unfinished, "an item is done once, after it was added"
                self.unfinished.remove(item_id)
                place = self.order.index(item_id)
                assert previous_id == (self.order[place - 1] if place else None)
                assert getattr(item, "status", None) != "in_progress"
            case ev.ConversationItemDeleted(item_id=item_id):
                self.order.remove(item_id)
                self.unfinished.discard(item_id)
            case ev.ConversationItemTruncated(item_id=item_id):
                assert item_id in self.order, "what is cut is in the conversation"
            case ev.ConversationItemRetrieved(item=item):
                assert item.id in self.order

    # -- the end

    def is_over(self) -> None:
        """Nothing is left open when the session has ended."""
        assert self.default is None
        assert set(self.opened) == self.closed, "every response has an end"
        assert not self.outputs_open, "every output item has an end"
        assert not self.unfinished, "every item of the conversation has an end"


def assert_chat_is_valid(messages: list[dict[str, Any]]) -> None:
    """Instructions first, every output right behind its call, no call twice, and nothing empty."""
    waiting: str | None = None
    called: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting, "an output without its call"
            waiting = None
            continue
        assert waiting is None, "a call without its output"
        if calls := message.get("tool_calls"):
            assert message["role"] == "assistant"
            assert len(calls) == 1
            waiting = calls[0]["id"]
            assert waiting not in called, "a call is read once"
            assert isinstance(json.loads(calls[0]["function"]["arguments"]), dict)
            called.add(calls[0]["id"])
        else:
            assert message["role"] in {"system", "user", "assistant"}
            assert message["content"]
    assert waiting is None, "a call without its output"
