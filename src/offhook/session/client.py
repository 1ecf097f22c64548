"""What clients ask for over their sockets, event by event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from msgspec import UNSET
from msgspec.structs import replace

from offhook.errors import ApiProblem
from offhook.session import outputs as do
from offhook.session.given import check_parts, without_audio
from offhook.session.settings import check_model, update_session
from offhook.wire import client_events as asked
from offhook.wire import server_events as ev
from offhook.wire.client_events import ClientEvent
from offhook.wire.items import (
    FunctionCallOutput,
    InputAudio,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
)
from offhook.wire.own import OwnResponse
from offhook.wire.problem import invalid
from offhook.wire.session import SessionParams

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# The API documents that a commit needs 100 ms of audio.
LEAST_COMMIT_MS = 100


def _asks_for_more_than_a_model(wanted: SessionParams) -> bool:
    """Say whether an update is about more than the model, so that this is a default that came with it.

    Agents for Python send theirs with every update, also where the model stands in the URL that they were given.
    """
    return wanted != SessionParams(type=wanted.type, model=wanted.model)


class ClientRequests:
    """Obeys client events, or answers them with one ``error`` event to the socket that sent them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handle(self, event: ClientEvent, origin: int) -> None:
        """Obey one event."""
        try:
            self._engine.door.check(event)
            self._HANDLERS[type(event)](self, event, origin)
        except ApiProblem as problem:
            self.refuse(problem, event.event_id or None, origin)

    def refuse(self, problem: ApiProblem, event_id: str | None, origin: int) -> None:
        """Answer with an error; the session goes on."""
        details = ev.ErrorDetails(
            type=problem.kind,
            code=problem.code,
            message=problem.message,
            param=problem.param,
            event_id=event_id,
        )
        engine = self._engine
        engine.emit(do.Send(ev.ErrorEvent(event_id=engine.ids.event(), error=details), origin))

    def _update_session(self, event: asked.SessionUpdate, _: int) -> None:
        engine = self._engine
        before, wanted = engine.session, event.session
        if engine.model_named and (engine.door.keeps_model or _asks_for_more_than_a_model(wanted)):
            wanted = replace(wanted, model=UNSET)
        if not engine.model_named and wanted.model != before.model:
            check_model(wanted, engine.options.strict_models)
        own = engine.waiting.updated(wanted.offhook)
        engine.session = update_session(
            before,
            wanted,
            voice_locked=engine.has_spoken,
            model_locked=engine.model_named,
            defaults=engine.options.defaults,
            formats_given=engine.door.formats_given,
        )
        engine.waiting.own = own
        engine.model_named = engine.model_named or wanted.model is not UNSET
        wanted_input = engine.session.audio.input
        if wanted_input.noise_reduction != before.audio.input.noise_reduction:
            engine.emit(do.ReduceNoise(wanted_input.noise_reduction))
        detection = wanted_input.turn_detection
        if detection != before.audio.input.turn_detection:
            engine.turns.reconfigure(detection)
        engine.send_session()
        engine.waiting.speak_first()
        engine.tools.discover(wanted.tools or ())

    # -- audio buffers

    def _append_input(self, event: asked.InputAudioBufferAppend, _: int) -> None:
        self._engine.door.append(event)

    def _commit_input(self, _event: asked.InputAudioBufferCommit, _: int) -> None:
        engine = self._engine
        if engine.turns.uncommitted_ms < LEAST_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {float(engine.turns.uncommitted_ms):.2f}ms of audio."
            )
            raise ApiProblem(400, "input_audio_buffer_commit_empty", message)
        engine.turns.commit()

    def _clear_input(self, _event: asked.InputAudioBufferClear, _: int) -> None:
        self._engine.turns.clear()

    def _clear_output(self, _event: asked.OutputAudioBufferClear, _: int) -> None:
        self._engine.stop_playout()

    # -- items

    def _create_item(self, event: asked.ConversationItemCreate, _: int) -> None:
        engine = self._engine
        item = self._check_item(event.item)
        if item.id is UNSET:
            item = replace(item, id=engine.ids.item())
        audio = self._audio_of(item)
        if isinstance(item, Message):
            # No audio is in an item that is announced.
            item = replace(without_audio(item), status=item.status or "completed")
        engine.add_item(item, event.previous_item_id or None)
        if audio is not None:
            given = engine.session.audio.input
            engine.transcripts.expect(str(item.id))
            engine.emit(do.HearGiven(str(item.id), audio, given.format, given.transcription))
        if isinstance(item, FunctionCallOutput):
            engine.waiting.output_given(item.call_id)
        if isinstance(item, McpApprovalResponse):
            engine.tools.approve(item)

    def _check_item(self, item: Item) -> Item:
        match item:
            case Message():
                check_parts(item, "item")
            case FunctionCallOutput(call_id=call_id):
                if not self._engine.conversation.has_tool_call(call_id):
                    message = f"Tool call ID '{call_id}' not found in conversation."
                    raise ApiProblem(400, "invalid_tool_call_id", message, param="item.call_id")
            case McpApprovalResponse():
                self._engine.tools.check_approval(item)
            case McpListTools() | McpApprovalRequest() | McpCall():
                message = "Items of this type are made by the server: only an mcp_approval_response can be added."
                raise ApiProblem(400, "invalid_value", message, param="item.type")
            case _:
                pass
        return item

    def _audio_of(self, item: Item) -> bytes | None:
        """Return the audio of an item of which nobody has told the words. Raises ApiProblem."""
        if not isinstance(item, Message):
            return None
        for index, part in enumerate(item.content):
            if isinstance(part, InputAudio) and not isinstance(part.transcript, str):
                where = f"item.content[{index}]"
                audio = self._engine.door.given_audio(part.audio, where)
                if len(item.content) > 1:
                    raise invalid(where, f"Invalid '{where}': audio without its transcript has to be the only part.")
                return audio
        return None

    def _retrieve_item(self, event: asked.ConversationItemRetrieve, origin: int) -> None:
        engine = self._engine
        item = self._known(event.item_id, "retrieving", "item_retrieve_invalid_item_id")
        span = engine.conversation.audio.get(event.item_id)
        if span is None:
            retrieved = ev.ConversationItemRetrieved(event_id=engine.ids.event(), item=item)
            engine.emit(do.Send(retrieved, origin))
        else:
            engine.emit(do.SendWithAudio(item, engine.ids.event(), span.start_ms, span.end_ms, origin))

    def _truncate_item(self, event: asked.ConversationItemTruncate, _: int) -> None:
        engine = self._engine
        self._known(event.item_id, "truncating", "item_truncate_invalid_item_id")
        found = engine.message_spoken(event.item_id)
        if found is None:
            message = f"Error truncating item: the item with id '{event.item_id}' has no audio of the assistant."
            raise ApiProblem(400, "invalid_value", message, param="item_id")
        response, spoken = found
        produced_ms = int(spoken.heard.produced_ms)
        if event.content_index != 0:
            message = f"Error truncating item: it has no content part {event.content_index}."
            raise ApiProblem(400, "invalid_value", message, param="content_index")
        if event.audio_end_ms > produced_ms:
            message = f"Audio content of {produced_ms}ms is already shorter than {event.audio_end_ms}ms"
            raise ApiProblem(400, "invalid_value", message, param="audio_end_ms")
        response.cut(spoken, float(event.audio_end_ms))
        engine.send_all(response.tell_cut(spoken))

    def _delete_item(self, event: asked.ConversationItemDelete, _: int) -> None:
        engine = self._engine
        self._known(event.item_id, "deleting", "item_delete_invalid_item_id")
        engine.conversation.remove(event.item_id)
        engine.forget_item(event.item_id)
        engine.send(ev.ConversationItemDeleted(event_id=engine.ids.event(), item_id=event.item_id))

    def _known(self, item_id: str, doing: str, code: str) -> Item:
        item = self._engine.conversation.get(item_id)
        if item is None:
            message = f"Error {doing} item: the item with id '{item_id}' does not exist."
            raise ApiProblem(400, code, message, param="item_id")
        return item

    # -- responses

    def _create_response(self, event: asked.ResponseCreate, _: int) -> None:
        params = None if event.response is UNSET else event.response
        own = None if params is None else params.offhook
        said = own.say if isinstance(own, OwnResponse) and own.say is not UNSET else ""
        self._engine.create_response(params, verbatim=said)

    def _cancel_response(self, event: asked.ResponseCancel, _: int) -> None:
        engine = self._engine
        wanted = event.response_id
        if wanted is UNSET:
            response = engine.active_response
        else:
            response = next((each for each in engine.responses if each.id == wanted), None)
        if response is None:
            message = "Cancellation failed: no active response found"
            raise ApiProblem(400, "response_cancel_not_active", message)
        engine.cancel_response(response)

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        asked.SessionUpdate: _update_session,
        asked.InputAudioBufferAppend: _append_input,
        asked.InputAudioBufferCommit: _commit_input,
        asked.InputAudioBufferClear: _clear_input,
        asked.OutputAudioBufferClear: _clear_output,
        asked.ConversationItemCreate: _create_item,
        asked.ConversationItemRetrieve: _retrieve_item,
        asked.ConversationItemTruncate: _truncate_item,
        asked.ConversationItemDelete: _delete_item,
        asked.ResponseCreate: _create_response,
        asked.ResponseCancel: _cancel_response,
    }
