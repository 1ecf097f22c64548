"""The journal of a call: every input with its time, and what followed, as lines of JSON.

The same inputs give the same outputs, so a journal is a bug report that can be run again. It holds what clients sent
and what was said, but no sound, no images, no files and no credentials of MCP servers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from offhook.call import machine as telephone
from offhook.call.call import Call, Input, Output
from offhook.call.machine import CallOptions
from offhook.errors import LocalError
from offhook.session import inputs as talk
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.wire.client_events import (
    ConversationItemCreate,
    InputAudioBufferAppend,
    ResponseCreate,
    ResponseParams,
    SessionUpdate,
)
from offhook.wire.items import ContentPart, InputAudio, InputImage, InputItem, Message, OutputAudio
from offhook.wire.session import AudioFormat, Prompt, PromptFile, PromptImage, PromptText, SessionParams, mask_secrets

Masked = TypeVar("Masked", SessionParams, ResponseParams)
AnyItem = TypeVar("AnyItem", bound=InputItem)
Variable = str | PromptText | PromptImage | PromptFile

VERSION = 1
# Where an image is takes a line; what is longer is the image itself, or as good as one.
MAX_KEPT_URL_CHARS: Final = 2048
_MAX_KIND_CHARS: Final = 40


class JournalError(LocalError):
    """A file that is no journal, or one of another version."""


class Head(msgspec.Struct, frozen=True):
    """What a replay needs beside the inputs. ``seed`` makes the ids."""

    call_id: str
    seed: bytes
    began: float
    options: CallOptions
    engine: EngineOptions
    version: int = VERSION


class Tick(msgspec.Struct, frozen=True):
    """A deadline of the call has come."""


class SessionOpened(msgspec.Struct, frozen=True):
    """The conversation began."""

    params: SessionParams
    audio_format: AudioFormat
    expires_at: int


Event = Input | Tick | SessionOpened

_KINDS: dict[str, Any] = {
    **{f"call.{each.__name__}": each for each in telephone.CallInput.__args__},
    **{f"session.{each.__name__}": each for each in talk.Input.__args__},
    "Tick": Tick,
    "SessionOpened": SessionOpened,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Line(msgspec.Struct, frozen=True):
    """One input, and the names of what followed from it."""

    now: float
    event: Event
    outputs: tuple[str, ...]


def output_names(outputs: Iterable[Output]) -> tuple[str, ...]:
    """Return what was done in words: server events by their type, all else by its name."""
    return tuple(
        str(output.event.__struct_config__.tag) if isinstance(output, do.Send) else type(output).__name__
        for output in outputs
    )


def encode_head(head: Head) -> bytes:
    """Return the first line of a journal."""
    return msgspec.json.encode(head) + b"\n"


def bug_name(bug: Exception) -> tuple[str, ...]:
    """Return what stands in a journal where the machines failed instead of deciding."""
    return (f"bug {type(bug).__name__}",)


def encode_line(now: float, event: Event, outputs: tuple[str, ...]) -> bytes:
    """Return the line of one input, with the names of what followed from it."""
    event = _fit_to_keep(event)
    line = {"now": round(now, 6), "in": _NAMES[type(event)], "data": event, "out": outputs}
    return msgspec.json.encode(line) + b"\n"


def _fit_to_keep(event: Event) -> Event:
    match event:
        case talk.AudioProduced():
            return replace(event, pcm=b"")
        case talk.FillerMade(sounds=sounds):
            return replace(event, sounds=tuple(replace(each, pcm=b"") for each in sounds))
        case telephone.AcceptAsked(params=params, body=body):
            # The body is only compared with another one, for which its digest does as well.
            return replace(event, params=_masked(params), body=hashlib.sha256(body).digest())
        case SessionOpened(params=params):
            return replace(event, params=_masked(params))
        case talk.ClientSent(event=SessionUpdate(session=session) as update):
            return replace(event, event=replace(update, session=_masked(session)))
        case talk.ClientSent(event=ResponseCreate(response=ResponseParams() as response) as create):
            response = replace(_masked(response), input=_slim_input(response.input))
            return replace(event, event=replace(create, response=response))
        case talk.ClientSent(event=InputAudioBufferAppend() as append):
            # A call takes no sound of its clients: what was in it decides nothing.
            return replace(event, event=replace(append, audio=""))
        case talk.ClientSent(event=ConversationItemCreate(item=item) as create):
            return replace(event, event=replace(create, item=_slim(item)))
        case _:
            return event


def _slim_input(items: tuple[InputItem, ...] | UnsetType) -> tuple[InputItem, ...] | UnsetType:
    return UNSET if items is UNSET else tuple(map(_slim, items))


def _slim(item: AnyItem) -> AnyItem:
    """Return an item without its sound and its images; of the sound, whether there was some is left."""
    if not isinstance(item, Message):
        return item
    return replace(item, content=tuple(map(_slim_part, item.content)))


def _slim_part(part: ContentPart) -> ContentPart:
    match part:
        case InputAudio(audio=str()) | OutputAudio(audio=str()):
            return replace(part, audio="")
        case InputImage(image_url=url):
            return replace(part, image_url=_kept_url(url))
        case _:
            return part


def _slim_prompt(prompt: Prompt | None | UnsetType) -> Prompt | None | UnsetType:
    """Return a prompt without the images and the files that fill in its variables."""
    if not isinstance(prompt, Prompt) or not prompt.variables:
        return prompt
    return replace(prompt, variables={name: _slim_variable(value) for name, value in prompt.variables.items()})


def _slim_variable(value: Variable) -> Variable:
    match value:
        case PromptImage(image_url=str() as url):
            return replace(value, image_url=_kept_url(url))
        case PromptFile(file_data=data, file_url=url):
            return replace(
                value,
                file_data=UNSET if data is UNSET else _digest(data),
                file_url=UNSET if url is UNSET else _kept_url(url),
            )
        case _:
            return value


def _kept_url(url: str) -> str:
    """Return where an image or a file is; of one that is in its URL (RFC 2397), what ``_digest`` tells."""
    return url if not _is_data(url) and len(url) <= MAX_KEPT_URL_CHARS else _digest(url)


def _digest(content: str) -> str:
    """Return the kind of an image or a file, where that is told, its size and its digest, as a URL without data."""
    data = content.encode("utf-8", "surrogatepass")
    kind = content[5 : 5 + _MAX_KIND_CHARS].partition(",")[0].partition(";")[0] if _is_data(content) else ""
    return f"data:{kind};size_bytes={len(data)};sha256={hashlib.sha256(data).hexdigest()},"


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _masked(params: Masked) -> Masked:
    """Return settings without the keys of MCP servers, and without the images and the files of a prompt's variables."""
    return replace(params, tools=mask_secrets(params.tools), prompt=_slim_prompt(params.prompt))


def read_journal(data: bytes) -> tuple[Head, list[Line]]:
    """Return a journal. A last line that was cut off is left out. Raises JournalError."""
    first, _, rest = data.partition(b"\n")
    try:
        version = msgspec.json.decode(first, type=dict[str, Any]).get("version")
        if version != VERSION:
            raise JournalError(f"this is a journal of version {version}; version {VERSION} can be replayed")
        head = msgspec.json.decode(first, type=Head)
    except (msgspec.DecodeError, UnicodeError) as failure:
        raise JournalError(f"this is no journal of a call: {failure}") from None
    lines = rest.split(b"\n")
    return head, [_read_line(number, line) for number, line in enumerate(lines[:-1], 2)]


def _read_line(number: int, data: bytes) -> Line:
    try:
        line = msgspec.json.decode(data, type=dict[str, Any])
        event = msgspec.convert(line["data"], type=_KINDS[line["in"]])
        return Line(float(line["now"]), event, tuple(line["out"]))
    except (msgspec.DecodeError, UnicodeError, KeyError, TypeError, ValueError) as failure:
        raise JournalError(f"line {number} of the journal cannot be read: {failure}") from None


class Step(msgspec.Struct, frozen=True):
    """One replayed input: what follows from it now, and what followed when it was recorded."""

    line: Line
    outputs: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the same followed."""
        return self.outputs == self.line.outputs


def replay(head: Head, lines: Iterable[Line]) -> Iterable[Step]:
    """Run a journal again, with the machines as they are now."""
    call = Call(head.call_id, head.seed, head.options, head.began)
    for line in lines:
        try:
            names = output_names(_repeat(call, head, line))
        except Exception as bug:  # bugs are what is replayed: one that was written down is repeated
            names = bug_name(bug)
        yield Step(line, names)


def _repeat(call: Call, head: Head, line: Line) -> Sequence[Output]:
    match line.event:
        case Tick():
            return call.pass_deadline(line.now)
        case SessionOpened(params=params, audio_format=audio_format, expires_at=expires_at):
            return call.open_session(
                params, audio_format=audio_format, expires_at=expires_at, options=head.engine, now=line.now
            )
        case event:
            return call.handle(event, line.now)
