"""Transcription sessions: input audio and its words, no answers. Source: API reference, "Realtime transcription".

Inside they are sessions like all others that never respond; only what clients send and see has another shape.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from offhook.wire.client_events import (
    ClientEventBase,
    ConversationItemCreate,
    ConversationItemDelete,
    ConversationItemRetrieve,
    ConversationItemTruncate,
    InputAudioBufferAppend,
    InputAudioBufferClear,
    InputAudioBufferCommit,
    OutputAudioBufferClear,
    ResponseCancel,
    ResponseCreate,
)
from offhook.wire.server_events import ServerEventBase
from offhook.wire.session import (
    Audio,
    AudioFormat,
    AudioInput,
    Include,
    NoiseReduction,
    ServerVad,
    Session,
    SessionParams,
    Transcription,
    TranscriptionEcho,
    TurnDetection,
    Wire,
)

DEFAULT_MODEL: Final = "whisper-1"
"""What transcribes when nobody says what shall: a session of this kind without transcripts would have no purpose."""

_NO_ANSWER: Final = {"create_response": False, "interrupt_response": False}


class TranscriptionAudio(Wire, frozen=True, kw_only=True):
    """Audio in; there is none out."""

    input: AudioInput | UnsetType = UNSET


class TranscriptionParams(Wire, frozen=True, kw_only=True):
    """A transcription session as a client asks for it."""

    type: Literal["transcription"]
    audio: TranscriptionAudio | UnsetType = UNSET
    include: tuple[Include, ...] | None | UnsetType = UNSET


class TranscriptionUpdate(ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.update"):
    """Change a transcription session."""

    session: TranscriptionParams


TranscriptionEvents = (
    TranscriptionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ConversationItemDelete
    | ResponseCreate
    | ResponseCancel
)
"""What clients send to a transcription session."""


def as_update(params: TranscriptionParams) -> SessionParams:
    """Return the update of the session inside."""
    audio: Audio | UnsetType = UNSET
    if params.audio is not UNSET and params.audio.input is not UNSET:
        given = params.audio.input
        detection = given.turn_detection
        if detection is not None and detection is not UNSET:
            given = msgspec.structs.replace(given, turn_detection=msgspec.structs.replace(detection, **_NO_ANSWER))
        audio = Audio(input=given)
    return SessionParams(type="realtime", audio=audio, include=params.include)


def transcription_by(model: str) -> TranscriptionParams:
    """Return a session whose words come from a model, and of which nothing else was said."""
    given = AudioInput(transcription=Transcription(model=model))
    return TranscriptionParams(type="transcription", audio=TranscriptionAudio(input=given))


def as_start(params: TranscriptionParams) -> SessionParams:
    """Return the session inside."""
    update = as_update(params)
    given = update.audio.input if update.audio is not UNSET and update.audio.input is not UNSET else AudioInput()
    if given.turn_detection is UNSET:
        given = msgspec.structs.replace(given, turn_detection=ServerVad(**_NO_ANSWER))
    if given.transcription is UNSET:
        given = msgspec.structs.replace(given, transcription=Transcription(model=DEFAULT_MODEL))
    elif given.transcription is not None and given.transcription.model is UNSET:
        named = msgspec.structs.replace(given.transcription, model=DEFAULT_MODEL)
        given = msgspec.structs.replace(given, transcription=named)
    return msgspec.structs.replace(update, audio=Audio(input=given))


# -- the effective session


class TranscriptionInputEcho(Struct, frozen=True, kw_only=True):
    """The effective input, nothing left out."""

    format: AudioFormat
    transcription: TranscriptionEcho | None
    noise_reduction: NoiseReduction | None
    turn_detection: TurnDetection | None


class TranscriptionAudioEcho(Struct, frozen=True, kw_only=True):
    """The effective audio settings."""

    input: TranscriptionInputEcho


class TranscriptionSession(Struct, frozen=True, kw_only=True):
    """The effective transcription session; ``expires_at`` 0 is never."""

    id: str
    audio: TranscriptionAudioEcho
    type: Literal["transcription"] = "transcription"
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    expires_at: int = 0
    include: tuple[Include, ...] | None = None


class TranscriptionSessionCreated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.created"):
    """The first event of a transcription session's socket."""

    session: TranscriptionSession


class TranscriptionSessionUpdated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.updated"):
    """An update was accepted."""

    session: TranscriptionSession


TranscriptionEvent = TranscriptionSessionCreated | TranscriptionSessionUpdated


def as_transcription(session: Session) -> TranscriptionSession:
    """Return what a client sees of the session inside."""
    given = session.audio.input
    detection = given.turn_detection
    if detection is not None:
        # Nothing is ever answered, so nothing is said about it.
        detection = msgspec.structs.replace(detection, create_response=UNSET, interrupt_response=UNSET)
    if isinstance(detection, ServerVad):
        detection = msgspec.structs.replace(detection, idle_timeout_ms=UNSET)
    transcription = given.transcription
    if transcription is not None and transcription.model is None:
        # It was off, and an update that turned it on again named none.
        transcription = msgspec.structs.replace(transcription, model=DEFAULT_MODEL)
    shown = TranscriptionInputEcho(
        format=given.format,
        transcription=transcription,
        noise_reduction=given.noise_reduction,
        turn_detection=detection,
    )
    return TranscriptionSession(
        id=session.id,
        audio=TranscriptionAudioEcho(input=shown),
        expires_at=session.expires_at,
        include=session.include,
    )
