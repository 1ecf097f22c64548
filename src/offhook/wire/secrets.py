"""Client secrets: keys for browsers and apps, made by a server that holds a real one.

Source: API reference, "Client secrets"; the older shapes of ``/realtime/sessions`` are mapped onto them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from offhook.wire import limits
from offhook.wire.session import (
    AudioFormat,
    MaxOutputTokens,
    Modality,
    Name,
    NoiseReduction,
    PcmaFormat,
    PcmFormat,
    PcmuFormat,
    Prompt,
    ServerVad,
    Session,
    SessionParams,
    Text,
    Tools,
    Tracing,
    Transcription,
    Truncation,
    TurnDetection,
    Voice,
    Wire,
)
from offhook.wire.transcription import TranscriptionParams, TranscriptionSession


class ExpiresAfter(Wire, frozen=True, kw_only=True):
    """How long a secret opens sessions: 10 to 7200 s from now, 600 unless told otherwise."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=limits.MIN_SECRET_S, le=limits.MAX_SECRET_S)] = limits.DEFAULT_SECRET_S


class SecretParams(Wire, frozen=True, kw_only=True):
    """The body of ``client_secrets`` for a conversation; everything is optional."""

    expires_after: ExpiresAfter | UnsetType = UNSET
    session: SessionParams | UnsetType = UNSET


class TranscriptionSecretParams(Wire, frozen=True, kw_only=True):
    """The body of ``client_secrets`` for transcripts alone."""

    session: TranscriptionParams
    expires_after: ExpiresAfter | UnsetType = UNSET


class Secret(Struct, frozen=True, kw_only=True):
    """A secret, when it expires (Unix seconds), and the effective session that it begins with."""

    value: str
    expires_at: int
    session: Session | TranscriptionSession


# -- translation


class TranslationTranscription(Wire, frozen=True, kw_only=True):
    """Which model transcribes the source language."""

    model: Name


class TranslationInput(Wire, frozen=True, kw_only=True):
    """What is done with the audio that comes in."""

    transcription: TranslationTranscription | None = None
    noise_reduction: NoiseReduction | None = None


class TranslationOutput(Wire, frozen=True, kw_only=True):
    """The language that is translated into."""

    language: Name | UnsetType = UNSET


class TranslationAudio(Wire, frozen=True, kw_only=True):
    """Audio in and out; null and absent mean the same."""

    input: TranslationInput = TranslationInput()
    output: TranslationOutput = TranslationOutput()


class TranslationParams(Wire, frozen=True, kw_only=True):
    """A translation session as a client asks for it."""

    model: Name
    audio: TranslationAudio = TranslationAudio()


class TranslationSecretParams(Wire, frozen=True, kw_only=True):
    """The body of ``translations/client_secrets``."""

    session: TranslationParams
    expires_after: ExpiresAfter | UnsetType = UNSET


class TranslationSession(Struct, frozen=True, kw_only=True):
    """A translation session as it is shown."""

    id: str
    expires_at: int
    model: str
    audio: TranslationAudio
    type: Literal["translation"] = "translation"


class TranslationSecret(Struct, frozen=True, kw_only=True):
    """A secret for a translation session."""

    value: str
    expires_at: int
    session: TranslationSession


# -- the older shapes

LegacyFormat = Literal["pcm16", "g711_ulaw", "g711_alaw"]
_FORMATS: dict[LegacyFormat, AudioFormat] = {
    "pcm16": PcmFormat(),
    "g711_ulaw": PcmuFormat(),
    "g711_alaw": PcmaFormat(),
}
_LEGACY_NAMES: dict[type, LegacyFormat] = {type(value): name for name, value in _FORMATS.items()}


class LegacySecret(Wire, frozen=True, kw_only=True):
    """How the older requests ask for a life-time, and how the older answers show a secret."""

    value: str | UnsetType = UNSET
    expires_at: int | UnsetType = UNSET
    expires_after: ExpiresAfter | UnsetType = UNSET


class LegacySessionParams(Wire, frozen=True, kw_only=True):
    """The body of ``/realtime/sessions``. ``temperature`` is taken and has no effect."""

    client_secret: LegacySecret | None | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    modalities: Annotated[tuple[Modality, ...], Meta(min_length=1, max_length=2)] | UnsetType = UNSET
    instructions: Text | UnsetType = UNSET
    voice: Voice | UnsetType = UNSET
    input_audio_format: LegacyFormat | UnsetType = UNSET
    output_audio_format: LegacyFormat | UnsetType = UNSET
    input_audio_transcription: Transcription | None | UnsetType = UNSET
    input_audio_noise_reduction: NoiseReduction | None | UnsetType = UNSET
    turn_detection: TurnDetection | None | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=limits.MIN_SPEED, le=limits.MAX_SPEED)] | UnsetType = UNSET
    tools: Tools | UnsetType = UNSET
    tool_choice: str | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    max_response_output_tokens: MaxOutputTokens | UnsetType = UNSET
    tracing: Literal["auto"] | Tracing | None | UnsetType = UNSET
    truncation: Truncation | UnsetType = UNSET
    prompt: Prompt | None | UnsetType = UNSET


class LegacyTranscriptionParams(Wire, frozen=True, kw_only=True):
    """The body of ``/realtime/transcription_sessions``."""

    client_secret: LegacySecret | None | UnsetType = UNSET
    modalities: tuple[Modality, ...] | UnsetType = UNSET
    input_audio_format: LegacyFormat | UnsetType = UNSET
    input_audio_transcription: Transcription | None | UnsetType = UNSET
    input_audio_noise_reduction: NoiseReduction | None | UnsetType = UNSET
    turn_detection: ServerVad | None | UnsetType = UNSET
    include: tuple[str, ...] | None | UnsetType = UNSET


def _members(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not UNSET}


def _input(params: LegacySessionParams | LegacyTranscriptionParams) -> dict[str, Any]:
    given = params.input_audio_format
    return _members(
        format=UNSET if given is UNSET else _FORMATS[given],
        transcription=params.input_audio_transcription,
        noise_reduction=params.input_audio_noise_reduction,
        turn_detection=params.turn_detection,
    )


def modern_session(params: LegacySessionParams) -> bytes:
    """Return the session that an older one means, as the JSON that a client of today would send."""
    given = params.output_audio_format
    output = _members(format=UNSET if given is UNSET else _FORMATS[given], voice=params.voice, speed=params.speed)
    modality: Any = UNSET
    if params.modalities is not UNSET:
        modality = ["audio" if "audio" in params.modalities else "text"]
    session = _members(
        type="realtime",
        model=params.model,
        output_modalities=modality,
        instructions=params.instructions,
        audio={"input": _input(params), "output": output},
        tools=params.tools,
        tool_choice=params.tool_choice,
        max_output_tokens=params.max_response_output_tokens,
        tracing=params.tracing,
        truncation=params.truncation,
        prompt=params.prompt,
    )
    return msgspec.json.encode(session)


def modern_transcription(params: LegacyTranscriptionParams) -> bytes:
    """Return the transcription session that an older one means, as a client of today would send it."""
    session = _members(type="transcription", audio={"input": _input(params)}, include=params.include)
    return msgspec.json.encode(session)


def legacy_session(secret: Secret) -> dict[str, Any]:
    """Return the answer of ``/realtime/sessions`` or ``/realtime/transcription_sessions``."""
    session = secret.session
    given = session.audio.input
    shown: dict[str, Any] = {
        "id": session.id,
        "object": session.object,
        "client_secret": {"value": secret.value, "expires_at": secret.expires_at},
        "expires_at": session.expires_at,
        "input_audio_format": _LEGACY_NAMES[type(given.format)],
        "input_audio_transcription": given.transcription,
        "input_audio_noise_reduction": given.noise_reduction,
        "turn_detection": given.turn_detection,
        "include": session.include,
    }
    if isinstance(session, TranscriptionSession):
        return shown
    output = session.audio.output
    return shown | {
        "model": session.model,
        "modalities": ["audio", "text"] if session.output_modalities == ("audio",) else ["text"],
        "instructions": session.instructions,
        "voice": output.voice,
        "speed": output.speed,
        "output_audio_format": _LEGACY_NAMES[type(output.format)],
        "tools": session.tools,
        "tool_choice": session.tool_choice,
        "max_response_output_tokens": session.max_output_tokens,
        "tracing": session.tracing,
        "truncation": session.truncation,
        "prompt": session.prompt,
    }
