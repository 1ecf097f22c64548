"""What a response asks of the model: the session's settings, with the overrides of ``response.create``."""

from __future__ import annotations

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from offhook.errors import ApiProblem
from offhook.session.conversation import Conversation
from offhook.session.given import check_parts, check_words, without_audio
from offhook.session.outputs import Generate
from offhook.session.response import Response, ResponseSettings
from offhook.wire.client_events import ResponseParams
from offhook.wire.ids import Ids
from offhook.wire.items import Item, ItemReference, Message
from offhook.wire.session import AudioFormat, Reasoning, ReasoningEffort, Session, Voice, voice_name


def context(params: ResponseParams | None, conversation: Conversation, ids: Ids) -> tuple[Item, ...]:
    """Return the items that the model reads: the conversation's finished ones, or those of ``response.input``.

    Raises ApiProblem for a reference to an item that does not exist, and for a message that no model could read.
    """
    if params is None or params.input is UNSET:
        return tuple(item for item in conversation if getattr(item, "status", None) != "in_progress")
    items: list[Item] = []
    for index, each in enumerate(params.input):
        if not isinstance(each, ItemReference):
            item = _checked(each, f"response.input[{index}]")
            items.append(item if item.id is not UNSET else replace(item, id=ids.item()))
            continue
        known = conversation.get(each.id)
        if known is None:
            message = f"Error creating response: the item with id '{each.id}' does not exist."
            raise ApiProblem(400, "invalid_value", message, param=f"response.input[{index}].id")
        items.append(known)
    return tuple(items)


def _checked(item: Item, path: str) -> Item:
    if not isinstance(item, Message):
        return item
    check_parts(item, path, spoken=True)
    check_words(item, path)
    return without_audio(item)


def response_settings(
    session: Session, params: ResponseParams | None, *, voice_locked: bool, formats_given: bool
) -> ResponseSettings:
    """Return what a response shows of its settings; on a call the format stays the negotiated one.

    Raises ApiProblem for another voice than the session's once the agent has spoken (``voice_locked``).
    """
    given = params or ResponseParams()
    modalities = session.output_modalities if given.output_modalities is UNSET else given.output_modalities
    voice = _voice(session, given)
    if voice_locked and modalities[0] == "audio" and voice_name(voice) != voice_name(session.audio.output.voice):
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise ApiProblem(400, "cannot_update_voice", message, param="response.audio.output.voice")
    limit = session.max_output_tokens if given.max_output_tokens is UNSET else given.max_output_tokens
    return ResponseSettings(
        modality=modalities[0],
        max_output_tokens=limit,
        audio_format=_format(session, given) if formats_given else session.audio.output.format,
        voice=voice,
        metadata=None if given.metadata is UNSET else given.metadata,
    )


def _voice(session: Session, given: ResponseParams) -> Voice:
    if given.audio is UNSET or given.audio.output is UNSET or given.audio.output.voice is UNSET:
        return session.audio.output.voice
    return given.audio.output.voice


def _format(session: Session, given: ResponseParams) -> AudioFormat:
    if given.audio is UNSET or given.audio.output is UNSET or given.audio.output.format is UNSET:
        return session.audio.output.format
    return given.audio.output.format


def generation_request(
    session: Session, params: ResponseParams | None, response: Response, items: tuple[Item, ...]
) -> Generate:
    """Return the request to the model."""
    given = params or ResponseParams()
    return Generate(
        run=response.run,
        response_id=response.id,
        instructions=session.instructions if given.instructions is UNSET else given.instructions,
        directed=given.instructions is not UNSET,
        items=items,
        tools=session.tools if given.tools is UNSET else given.tools,
        tool_choice=session.tool_choice if given.tool_choice is UNSET else given.tool_choice,
        max_output_tokens=response.settings.max_output_tokens,
        modality=response.settings.modality,
        voice=response.settings.voice,
        speed=session.audio.output.speed,
        model=session.model,
        parallel_tool_calls=_first(given.parallel_tool_calls, session.parallel_tool_calls),
        reasoning=_effort(given.reasoning) or _effort(session.reasoning),
        chosen=given.input is not UNSET,
        aside=response.out_of_band,
    )


def _first(*given: bool | UnsetType) -> bool | None:
    """Return the first of these that was given."""
    return next((each for each in given if not isinstance(each, UnsetType)), None)


def _effort(given: Reasoning | UnsetType) -> ReasoningEffort | None:
    return (given.effort or None) if given else None
