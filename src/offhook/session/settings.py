"""The effective session: how it begins, and what an update makes of it.

An update merges by present members; objects inside ``audio`` merge deeply, lists and unions are replaced whole, null
resets. It is done as a whole or refused as a whole. Source: API reference, "session.update".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from offhook.errors import ApiProblem
from offhook.wire.models import tells_speakers as is_diarizer
from offhook.wire.own import Own
from offhook.wire.problem import invalid, unsupported_value
from offhook.wire.session import (
    Audio,
    AudioEcho,
    AudioFormat,
    AudioInput,
    AudioInputEcho,
    AudioOutput,
    AudioOutputEcho,
    NoiseReduction,
    SemanticVad,
    ServerVad,
    Session,
    SessionParams,
    Transcription,
    TranscriptionEcho,
    TurnDetection,
    Voice,
    voice_name,
)

T = TypeVar("T")

DEFAULT_INSTRUCTIONS = (
    "You are a friendly assistant on a telephone call. Answer in the caller's language, in one or two short spoken "
    "sentences, without lists or markup. Ask when something is unclear. Say so when you do not know."
)

# Of these the session keeps and echoes the value, and nothing acts on it; a model that reasons is told how much.
WITHOUT_EFFECT = ("reasoning",)


@dataclass(frozen=True, slots=True)
class SessionDefaults:
    """What a session gets for the members that nobody gave; each is a server setting."""

    model: str = "gpt-realtime"
    instructions: str = DEFAULT_INSTRUCTIONS
    voice: Voice = "marin"
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    own: Own = field(default_factory=Own)


def start_session(
    params: SessionParams,
    *,
    session_id: str,
    audio_format: AudioFormat,
    expires_at: int,
    defaults: SessionDefaults,
    formats_given: bool = False,
) -> Session:
    """Return the effective session as it begins.

    The ``audio_format`` negotiated for a call wins over given ones; a session without a call takes those.
    """
    empty = Session(
        id=session_id,
        model=defaults.model,
        instructions=defaults.instructions,
        audio=AudioEcho(
            input=AudioInputEcho(
                format=audio_format,
                transcription=None,
                noise_reduction=None,
                turn_detection=_default_vad(defaults),
            ),
            output=AudioOutputEcho(format=audio_format, voice=defaults.voice, speed=1.0),
        ),
        expires_at=expires_at,
    )
    return update_session(
        empty, params, voice_locked=False, model_locked=False, defaults=defaults, formats_given=formats_given
    )


def check_model(params: SessionParams, models: frozenset[str] | None) -> None:
    """Raise ApiProblem for a model that is not one of ``models``, if these are all there are."""
    if models is not None and params.model is not UNSET and params.model not in models:
        problem = unsupported_value("session.model", params.model, sorted(models))
        raise ApiProblem(400, "model_not_found", problem.message, param="session.model")


def update_session(
    session: Session,
    params: SessionParams,
    *,
    voice_locked: bool,
    model_locked: bool,
    defaults: SessionDefaults,
    formats_given: bool = False,
) -> Session:
    """Return the session after an update; on a call the formats stay the negotiated ones (not ``formats_given``).

    Raises ApiProblem for a change that is not allowed: another model once one was named (``model_locked``), another
    voice once the agent has spoken (``voice_locked``), tracing once it is on. The session given in is untouched then.
    """
    if model_locked and params.model is not UNSET and params.model != session.model:
        message = f"Invalid value: '{params.model}'. The model of a session cannot be changed: '{session.model}'."
        raise invalid("session.model", message)
    if params.tracing is not UNSET and session.tracing is not None and params.tracing != session.tracing:
        raise invalid("session.tracing", "Invalid value: tracing cannot be changed once it is on.")
    return replace(
        session,
        model=_or(params.model, session.model),
        audio=_audio(
            session.audio, params.audio, voice_locked=voice_locked, defaults=defaults, formats_given=formats_given
        ),
        include=_or(params.include, session.include),
        instructions=_or(params.instructions, session.instructions),
        max_output_tokens=_or(params.max_output_tokens, session.max_output_tokens),
        output_modalities=_or(params.output_modalities, session.output_modalities),
        parallel_tool_calls=_or(params.parallel_tool_calls, session.parallel_tool_calls),
        prompt=_or(params.prompt, session.prompt),
        reasoning=_or(params.reasoning, session.reasoning),
        tool_choice=_or(params.tool_choice, session.tool_choice),
        tools=_or(params.tools, session.tools),
        tracing=_or(params.tracing, session.tracing),
        truncation=_or(params.truncation, session.truncation),
    )


def without_effect(params: SessionParams, *, reasons: bool = False, tells_speakers: bool = False) -> list[str]:
    """Return the given members that are kept and echoed but that nothing acts on.

    ``reasons``: the model can. ``tells_speakers``: the recogniser does, for models that are to.
    """
    ignored = [name for name in WITHOUT_EFFECT if not reasons or name != "reasoning"]
    found = [name for name in ignored if getattr(params, name) not in (UNSET, None)]
    heard = params.audio.input.transcription if params.audio and params.audio.input else None
    if heard and not tells_speakers and is_diarizer(heard.model or None):
        found.append("audio.input.transcription.model")
    return found


def _or(given: T | UnsetType, present: T) -> T:
    return present if given is UNSET else given


def _merge(given: Any, present: Any) -> Any:
    """Return ``present`` with the members that ``given``, of the same type, has."""
    members = {name: getattr(given, name) for name in given.__struct_fields__}
    return replace(present, **{name: value for name, value in members.items() if value is not UNSET})


def _audio(
    present: AudioEcho,
    given: Audio | UnsetType,
    *,
    voice_locked: bool,
    defaults: SessionDefaults,
    formats_given: bool,
) -> AudioEcho:
    if isinstance(given, UnsetType):
        return present
    return AudioEcho(
        input=_input(present.input, given.input, defaults, formats_given=formats_given),
        output=_output(present.output, given.output, voice_locked=voice_locked, formats_given=formats_given),
    )


def _input(
    present: AudioInputEcho, given: AudioInput | UnsetType, defaults: SessionDefaults, *, formats_given: bool
) -> AudioInputEcho:
    if isinstance(given, UnsetType):
        return present
    return AudioInputEcho(
        format=_or(given.format, present.format) if formats_given else present.format,
        transcription=_transcription(given.transcription, present.transcription),
        noise_reduction=_noise_reduction(given.noise_reduction, present.noise_reduction),
        turn_detection=_turn_detection(given.turn_detection, present.turn_detection, defaults),
    )


def _output(
    present: AudioOutputEcho, given: AudioOutput | UnsetType, *, voice_locked: bool, formats_given: bool
) -> AudioOutputEcho:
    if isinstance(given, UnsetType):
        return present
    voice = _or(given.voice, present.voice)
    if voice_locked and voice_name(voice) != voice_name(present.voice):
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise ApiProblem(400, "cannot_update_voice", message, param="session.audio.output.voice")
    audio_format = _or(given.format, present.format) if formats_given else present.format
    return AudioOutputEcho(format=audio_format, voice=voice, speed=_or(given.speed, present.speed))


def _transcription(
    given: Transcription | None | UnsetType, present: TranscriptionEcho | None
) -> TranscriptionEcho | None:
    if given is None or isinstance(given, UnsetType):
        return None if given is None else present
    return _merge(given, present or TranscriptionEcho())  # type: ignore[no-any-return]


def _noise_reduction(given: NoiseReduction | None | UnsetType, present: NoiseReduction | None) -> NoiseReduction | None:
    if given is None or isinstance(given, UnsetType):
        return None if given is None else present
    strength = _or(given.strength, present.strength if present is not None else 1.0)
    return NoiseReduction(type=given.type, strength=strength)


def _turn_detection(
    given: TurnDetection | None | UnsetType, present: TurnDetection | None, defaults: SessionDefaults
) -> TurnDetection | None:
    match given:
        case None:
            return None
        case ServerVad():
            return _server_vad(given, present if isinstance(present, ServerVad) else None, defaults)
        case SemanticVad():
            base = SemanticVad(eagerness="auto", create_response=True, interrupt_response=True)
            return _merge(given, present if isinstance(present, SemanticVad) else base)  # type: ignore[no-any-return]
        case _:
            return present


def _server_vad(given: ServerVad, present: ServerVad | None, defaults: SessionDefaults) -> ServerVad:
    return _merge(given, present or _default_vad(defaults))  # type: ignore[no-any-return]


def _default_vad(defaults: SessionDefaults) -> ServerVad:
    return ServerVad(
        threshold=defaults.threshold,
        prefix_padding_ms=defaults.prefix_padding_ms,
        silence_duration_ms=defaults.silence_duration_ms,
        idle_timeout_ms=None,
        create_response=True,
        interrupt_response=True,
    )
