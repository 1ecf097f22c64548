"""Sessions, responses and items in an upstream's words.

Source: API reference, "Realtime client events"; the dialect says what is left out, and where things stand.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from offhook.session.outputs import Generate
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.wire.items import (
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Message,
    OutputAudio,
    OutputText,
)
from offhook.wire.session import (
    FunctionTool,
    Reasoning,
    Session,
    ToolChoice,
    ToolChoiceMcp,
    Tools,
    Transcription,
    TranscriptionEcho,
    Voice,
)

TURN_DETECTION: Final = "audio.input.turn_detection"

Members = dict[str, Any]
"""Members of an update by their paths, such as ``audio.output.voice``."""

DEFAULTS: Final[Members] = {"truncation": "auto", "include": None, "audio.output.speed": 1.0}
"""What a session upstream is without being told."""

_PREVIEW_FORMATS: Final = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}

_VERBATIM: Final = "Say exactly the following words, in the language that they are in, and nothing else:\n\n"


def session_members(
    session: Session,
    dialect: Dialect,
    format_in: FormatName,
    format_out: FormatName,
    turn_detection: dict[str, Any] | None = None,
) -> Members:
    """Return what an upstream is told of a session; without ``turn_detection`` it finds no turns."""
    fields = dialect.fields
    members: Members = {TURN_DETECTION: turn_detection}
    if "audio" in fields:
        members["audio.input.format"] = _format(format_in, dialect.pcm_in_hz)
        members["audio.output.format"] = _format(format_out, dialect.pcm_out_hz)
    if "transcription" in fields:
        members["audio.input.transcription"] = _transcription(session.audio.input.transcription, dialect)
    members |= _voice_members(session.audio.output.voice, dialect)
    if "speed" in fields:
        members["audio.output.speed"] = session.audio.output.speed
    given: Members = {
        "instructions": session.instructions,
        "max_output_tokens": session.max_output_tokens,
        "output_modalities": list(session.output_modalities),
        "tools": _tools(session.tools),
        "tool_choice": _tool_choice(session.tool_choice),
        "truncation": session.truncation,
        "include": session.include,
        "parallel_tool_calls": session.parallel_tool_calls,
        "reasoning": session.reasoning,
    }
    members |= {name: value for name, value in given.items() if name in fields and value is not UNSET}
    return _placed(members, dialect)


def _placed(members: Members, dialect: Dialect) -> Members:
    """Return members as the dialect has them."""
    if dialect.is_preview:
        members = {path: _preview(path, value) for path, value in members.items()}
    return {dialect.places.get(path, path): value for path, value in members.items()}


def _preview(path: str, value: Any) -> Any:
    """Return a member in the words of the preview."""
    match path:
        case "audio.input.format" | "audio.output.format":
            return _PREVIEW_FORMATS[value["type"]]
        case "output_modalities" if "audio" in value:
            return ["audio", "text"]
        case _:
            return value


def left_out(session: Session, dialect: Dialect) -> frozenset[str]:
    """Return the members of a session that were asked for, and that this upstream does not have."""
    voice = session.audio.output.voice
    asked = {
        "include": session.include is not None,
        "max_output_tokens": session.max_output_tokens != "inf",
        "output_modalities": session.output_modalities != ("audio",),
        "parallel_tool_calls": session.parallel_tool_calls is not UNSET,
        "reasoning": session.reasoning is not UNSET,
        "speed": session.audio.output.speed != 1.0,
        "truncation": session.truncation != "auto",
    }
    missing = {name for name, is_asked in asked.items() if is_asked and name not in dialect.fields}
    if not _voice_members(voice, dialect):
        missing.add("voice")
    return frozenset(missing)


def _format(name: FormatName, pcm_hz: int) -> dict[str, Any]:
    return {"type": name, "rate": pcm_hz} if name == "audio/pcm" else {"type": name}


def _transcription(wanted: Transcription | TranscriptionEcho | None, dialect: Dialect) -> dict[str, Any] | None:
    if wanted is None:
        return None
    if dialect.transcriber:
        return {"model": dialect.transcriber}
    given = msgspec.to_builtins(wanted)
    return {name: value for name, value in given.items() if value is not None}


def _voice_members(voice: Voice, dialect: Dialect) -> Members:
    known = dialect.voices is None or (isinstance(voice, str) and voice.lower() in dialect.voices)
    if "voice" not in dialect.fields or not known:
        return {}
    return {"audio.output.voice": msgspec.to_builtins(voice)}


def _tools(tools: Tools) -> list[Any]:
    """Return the functions; MCP servers are called from here, and their tools are functions to a response."""
    return [msgspec.to_builtins(tool) for tool in tools if isinstance(tool, FunctionTool)]


def _tool_choice(choice: ToolChoice) -> Any:
    return "auto" if isinstance(choice, ToolChoiceMcp) else msgspec.to_builtins(choice)


def nested(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return members with paths as the object that they are in."""
    whole: dict[str, Any] = {}
    for path, value in members.items():
        *ways, last = path.split(".")
        place = whole
        for way in ways:
            place = place.setdefault(way, {})
        place[last] = value
    return whole


def response_members(request: Generate, told: Members, dialect: Dialect) -> dict[str, Any]:
    """Return what a response is asked for beyond what the session upstream is known to be (``told``)."""
    wanted: Members = {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "output_modalities": [request.modality],
        "tools": _tools(request.tools),
        "tool_choice": _tool_choice(request.tool_choice),
    }
    if request.reasoning is not None:
        wanted["reasoning"] = Reasoning(effort=request.reasoning)
    if request.parallel_tool_calls is not None:
        wanted["parallel_tool_calls"] = request.parallel_tool_calls
    if request.verbatim:
        wanted |= {"instructions": _VERBATIM + request.verbatim, "tools": [], "tool_choice": "none"}
    members = {name: value for name, value in wanted.items() if name in dialect.fields}
    if not dialect.one_voice:
        members |= _voice_members(request.voice, dialect)
    return nested({path: value for path, value in _placed(members, dialect).items() if told.get(path) != value})


# -- items


def spoken_members(audio: bytes) -> dict[str, Any]:
    """Return what a caller said as an item to be put into the conversation upstream."""
    part = {"type": "input_audio", "audio": binascii.b2a_base64(audio, newline=False).decode("ascii")}
    return {"type": "message", "role": "user", "content": [part]}


def item_members(item: Item, call_ids: Mapping[str, str], dialect: Dialect) -> dict[str, Any] | None:
    """Return an item to be put into the conversation upstream; None for one without anything to tell.

    ``call_ids`` are those upstream of the function calls that have others here.
    """
    match item:
        case Message(role=role, content=content):
            parts = [found for part in content if (found := _part(part, dialect)) is not None]
            return {"type": "message", "role": role, "content": parts} if parts else None
        case FunctionCall(name=name, arguments=arguments, call_id=call_id):
            known = call_ids.get(str(call_id), str(call_id))
            return {"type": "function_call", "name": name, "arguments": arguments, "call_id": known}
        case FunctionCallOutput(call_id=call_id, output=output):
            known = call_ids.get(call_id, call_id)
            return {"type": "function_call_output", "call_id": known, "output": output}
        case _:
            return None


def _part(part: object, dialect: Dialect) -> dict[str, Any] | None:
    match part:
        case InputText(text=text):
            return {"type": "input_text", "text": text}
        case InputAudio(transcript=str(words)) if words:
            return {"type": "input_text", "text": words}
        case InputImage():
            return dict(msgspec.to_builtins(part))
        # Audio of the assistant cannot be given, only its words.
        case OutputText(text=str(words)) | OutputAudio(transcript=str(words)) if words:
            return {"type": "text" if dialect.is_preview else "output_text", "text": words}
        case _:
            return None
