"""The session object of the Realtime API, as clients send it and as the server echoes it.

``SessionParams`` is the body of ``accept`` and the ``session`` of ``session.update``; ``Session`` is the effective one,
with every member spelt out. Source: API reference, "Realtime session"; defaults and bounds stand at each member.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from offhook.wire import limits
from offhook.wire.own import OwnParams

Text = Annotated[str, Meta(max_length=limits.MAX_TEXT_CHARS)]
Name = Annotated[str, Meta(min_length=1, max_length=limits.MAX_NAME_CHARS)]
Milliseconds = Annotated[int, Meta(ge=0, le=limits.MAX_SILENCE_MS)]
MaxOutputTokens = Annotated[int, Meta(ge=1, le=limits.MAX_OUTPUT_TOKENS)] | Literal["inf"]
Modality = Literal["text", "audio"]
Modalities = Annotated[tuple[Modality, ...], Meta(min_length=1, max_length=1)]
Include = Literal["item.input_audio_transcription.logprobs"]
ReasoningEffort = Literal["minimal", "low", "medium", "high", "xhigh"]
VoiceName = Literal["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"]

ModelName = Literal[
    "gpt-realtime",
    "gpt-realtime-2025-08-28",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-realtime-mini",
    "gpt-realtime-mini-2025-10-06",
    "gpt-realtime-mini-2025-12-15",
    "gpt-4o-realtime-preview",
    "gpt-4o-realtime-preview-2024-10-01",
    "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-realtime-preview-2025-06-03",
    "gpt-4o-mini-realtime-preview",
    "gpt-4o-mini-realtime-preview-2024-12-17",
    "gpt-audio-1.5",
    "gpt-audio-mini",
    "gpt-audio-mini-2025-10-06",
    "gpt-audio-mini-2025-12-15",
]
"""The models that the API names. Any other name is taken as well."""


def tag_of(struct: Struct) -> str:
    """Return the ``type`` that a structure is told apart by. Raises AttributeError for one that has none."""
    tag = struct.__struct_config__.tag
    if not isinstance(tag, str):
        raise AttributeError(f"{type(struct).__name__} has no type")
    return tag


class Wire(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A structure that clients send: unknown members are refused, absent ones are UNSET."""

    @property
    def type(self) -> str:
        """The member ``type`` of a structure that is known by it, such as ``"function_call"``."""
        return tag_of(self)


# -- audio


class PcmFormat(Wire, frozen=True, kw_only=True, tag_field="type", tag="audio/pcm"):
    """16-bit mono little-endian samples at 24 kHz."""

    rate: Literal[24000] = 24000
    """24000, the only rate."""


class PcmuFormat(Wire, frozen=True, kw_only=True, tag_field="type", tag="audio/pcmu"):
    """G.711 mu-law at 8 kHz."""


class PcmaFormat(Wire, frozen=True, kw_only=True, tag_field="type", tag="audio/pcma"):
    """G.711 A-law at 8 kHz."""


AudioFormat = PcmFormat | PcmuFormat | PcmaFormat


class Transcription(Wire, frozen=True, kw_only=True):
    """What to do about transcripts of the caller's audio. ``model`` is free text; ``language`` is ISO-639-1."""

    model: Name | UnsetType = UNSET
    """Who transcribes, by any name the server takes. Default: the server's."""
    language: Name | None | UnsetType = UNSET
    """The language spoken, ISO-639-1 (``"en"``). Default: None, found out."""
    languages: Annotated[tuple[Name, ...], Meta(min_length=1)] | UnsetType = UNSET
    """Languages that may be spoken, one at least. Default: any."""
    keywords: tuple[Name, ...] | UnsetType = UNSET
    """Words that are likely to come up. Default: none."""
    prompt: Text | None | UnsetType = UNSET
    """Text that leads the transcript: names, spelling, style. Default: None."""
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET
    """How long the model may wait for a better transcript. Streaming models only."""


class NoiseReduction(Wire, frozen=True, kw_only=True):
    """Noise reduction before turn detection and the model. ``strength`` is 1 when it is first turned on."""

    type: Literal["near_field", "far_field"]
    """``near_field`` for headsets and telephones, ``far_field`` for rooms."""
    strength: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    """0 and up, 1 when it is first turned on. Absent keeps what it is."""


class ServerVad(Wire, frozen=True, kw_only=True, tag_field="type", tag="server_vad"):
    """A turn ends after ``silence_duration_ms`` without speech."""

    threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    """How sure the detector has to be of speech, 0 to 1. Default: 0.5. Higher in noise."""
    prefix_padding_ms: Milliseconds | UnsetType = UNSET
    """Audio before the speech that belongs to it, 0 to 60,000 ms. Default: 300."""
    silence_duration_ms: Milliseconds | UnsetType = UNSET
    """The silence that ends a turn, 0 to 60,000 ms. Default: 500. Shorter answers sooner, and interrupts more."""
    idle_timeout_ms: (
        Annotated[int, Meta(ge=limits.MIN_IDLE_TIMEOUT_MS, le=limits.MAX_IDLE_TIMEOUT_MS)] | None | UnsetType
    ) = UNSET
    """When nobody speaks for so long after an answer, the model is asked again: 5,000 to 30,000 ms. Default: None,
    never."""
    create_response: bool | UnsetType = UNSET
    """Whether the end of a turn makes a response. Default: true."""
    interrupt_response: bool | UnsetType = UNSET
    """Whether speech stops the response that is being made. Default: true."""


class SemanticVad(Wire, frozen=True, kw_only=True, tag_field="type", tag="semantic_vad"):
    """A turn ends when what was said reads complete; ``eagerness`` sets how long to wait (``auto`` is ``medium``)."""

    eagerness: Literal["low", "medium", "high", "auto"] | UnsetType = UNSET
    """How soon a pause is taken for the end. ``low`` waits up to 8 s, ``medium`` 4, ``high`` 2. Default: ``auto``,
    which is ``medium``."""
    create_response: bool | UnsetType = UNSET
    """Whether the end of a turn makes a response. Default: true."""
    interrupt_response: bool | UnsetType = UNSET
    """Whether speech stops the response that is being made. Default: true."""


TurnDetection = ServerVad | SemanticVad


class CustomVoice(Wire, frozen=True, kw_only=True):
    """A voice of one's own, by id."""

    id: Name
    """The id of the voice."""


Voice = Name | CustomVoice


def voice_name(voice: Voice) -> str:
    """Return a voice as the server names it: by its name, or the id of one's own."""
    return voice.id if isinstance(voice, CustomVoice) else voice


class AudioInput(Wire, frozen=True, kw_only=True):
    """How the caller's audio arrives and is understood. On a telephone call the negotiated codec is the format."""

    format: AudioFormat | UnsetType = UNSET
    """Default: PCM at 24 kHz. On a telephone call the negotiated codec, whatever stands here."""
    transcription: Transcription | None | UnsetType = UNSET
    """Transcripts of the caller. Default: None, none."""
    noise_reduction: NoiseReduction | None | UnsetType = UNSET
    """Before turn detection and the model. Default: None, off."""
    turn_detection: TurnDetection | None | UnsetType = UNSET
    """How turns end. Default: `ServerVad`. None: by ``input_audio_buffer.commit`` alone."""


class AudioOutput(Wire, frozen=True, kw_only=True):
    """How the agent sounds. ``speed`` is 0.25 to 1.5."""

    format: AudioFormat | UnsetType = UNSET
    """Default: PCM at 24 kHz. On a telephone call the negotiated codec, whatever stands here."""
    voice: Voice | UnsetType = UNSET
    """A voice by name or id. Default: the server's. It cannot change once the agent has spoken."""
    speed: Annotated[float, Meta(ge=limits.MIN_SPEED, le=limits.MAX_SPEED)] | UnsetType = UNSET
    """0.25 to 1.5. Default: 1. It changes between turns."""


class Audio(Wire, frozen=True, kw_only=True):
    """Audio in and out."""

    input: AudioInput | UnsetType = UNSET
    """The caller's side."""
    output: AudioOutput | UnsetType = UNSET
    """The agent's side."""


# -- tools


class FunctionTool(Wire, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function that the application runs. ``parameters`` is a JSON Schema."""

    name: Name
    """What the model calls it. No two functions of a session have the same."""
    description: Text | UnsetType = UNSET
    """When and how to use it, for the model."""
    parameters: dict[str, Any] | UnsetType = UNSET
    """Its arguments as a JSON Schema object, nested 64 deep at most. Default: none."""


class McpToolFilter(Wire, frozen=True, kw_only=True):
    """Some tools of an MCP server, by name or by their read-only annotation."""

    tool_names: tuple[Name, ...] | UnsetType = UNSET
    """These."""
    read_only: bool | UnsetType = UNSET
    """Those that say they change nothing, or those that do not."""


class McpApprovalFilter(Wire, frozen=True, kw_only=True):
    """Which tools of an MCP server need an approval, and which never do."""

    always: McpToolFilter | UnsetType = UNSET
    """These need one."""
    never: McpToolFilter | UnsetType = UNSET
    """These need none."""


ConnectorId = Literal[
    "connector_dropbox",
    "connector_gmail",
    "connector_googlecalendar",
    "connector_googledrive",
    "connector_microsoftteams",
    "connector_outlookcalendar",
    "connector_outlookemail",
    "connector_sharepoint",
]


class McpTool(Wire, frozen=True, kw_only=True, tag_field="type", tag="mcp"):
    """Tools of a Model Context Protocol server, reached by exactly one of URL, connector or tunnel."""

    server_label: Name
    """What the model and events call the server. No two of a session have the same."""
    server_url: Text | UnsetType = UNSET
    """Where it is; one of ``server_url``, ``connector_id`` and ``tunnel_id``."""
    connector_id: ConnectorId | UnsetType = UNSET
    """A service connector of the hosted API."""
    tunnel_id: Annotated[str, Meta(pattern=r"^tunnel_[a-z0-9]{32}$")] | UnsetType = UNSET
    """A tunnel of the hosted API."""
    authorization: Text | UnsetType = UNSET
    """A token for the server. It is never shown again."""
    server_description: Text | UnsetType = UNSET
    """What it is for, for the model."""
    headers: dict[str, str] | None | UnsetType = UNSET
    """More headers for the server, such as for authentication. They are never shown again. Default: None."""
    allowed_tools: tuple[Name, ...] | McpToolFilter | None | UnsetType = UNSET
    """Which of its tools the model may use. Default: None, all."""
    allowed_callers: Annotated[tuple[Literal["direct", "programmatic"], ...], Meta(min_length=1)] | None | UnsetType = (
        UNSET
    )
    """Who may call them. Default: None, the model."""
    require_approval: Literal["always", "never"] | McpApprovalFilter | None | UnsetType = UNSET
    """Which calls the application has to approve. Default: ``"always"``, all."""
    defer_loading: bool | UnsetType = UNSET
    """Whether its tools are looked up only when they are needed, which offhook refuses. Default: false."""


Tool = FunctionTool | McpTool


class ToolChoiceFunction(Wire, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """The model must call this function."""

    name: Name
    """Its name."""


class ToolChoiceMcp(Wire, frozen=True, kw_only=True, tag_field="type", tag="mcp"):
    """The model must call a tool of this MCP server."""

    server_label: Name
    """The server."""
    name: Name | None | UnsetType = UNSET
    """The tool. Default: None, any of them."""


ToolChoice = Literal["none", "auto", "required"] | ToolChoiceFunction | ToolChoiceMcp
Tools = Annotated[tuple[Tool, ...], Meta(max_length=limits.MAX_TOOLS)]


# -- the rest of a session


class Tracing(Wire, frozen=True, kw_only=True):
    """Names for the trace of this session."""

    workflow_name: Name | UnsetType = UNSET
    """What the trace is found by."""
    group_id: Name | UnsetType = UNSET
    """What belongs together, such as several calls of one matter."""
    metadata: dict[str, Any] | UnsetType = UNSET
    """Anything else, nested 64 deep at most."""


class TokenLimits(Wire, frozen=True, kw_only=True):
    """``post_instructions``: tokens allowed in the conversation after instructions and tools."""

    post_instructions: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    """0 and up. Default: what the model can read."""


class RetentionRatio(Wire, frozen=True, kw_only=True):
    """When the context is full, keep this part (0 to 1) of it."""

    type: Literal["retention_ratio"]
    """``"retention_ratio"``."""
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    """0 to 1."""
    token_limits: TokenLimits | UnsetType = UNSET
    """How full "full" is. Default: what the model can read."""


Truncation = Literal["auto", "disabled"] | RetentionRatio


class PromptText(Wire, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """A text for a prompt's variable."""

    text: Text
    """The text."""


class PromptImage(Wire, frozen=True, kw_only=True, tag_field="type", tag="input_image"):
    """An image for a prompt's variable."""

    detail: Literal["low", "high", "auto", "original"] | UnsetType = UNSET
    """How closely to look."""
    image_url: Text | None | UnsetType = UNSET
    """Where it is, or a data URI."""
    file_id: Name | None | UnsetType = UNSET
    """A file of the hosted API."""


class PromptFile(Wire, frozen=True, kw_only=True, tag_field="type", tag="input_file"):
    """A file for a prompt's variable."""

    file_id: Name | None | UnsetType = UNSET
    """A file of the hosted API."""
    filename: Name | UnsetType = UNSET
    """Its name."""
    file_data: Text | UnsetType = UNSET
    """Its content in base64."""
    file_url: Text | UnsetType = UNSET
    """Where it is."""
    detail: Literal["low", "high", "auto"] | UnsetType = UNSET
    """How closely to look."""


class Prompt(Wire, frozen=True, kw_only=True):
    """A stored prompt by id. Members given directly in the session win over the prompt's."""

    id: Name
    """Its id."""
    version: Name | None | UnsetType = UNSET
    """Default: None, the newest."""
    variables: dict[str, str | PromptText | PromptImage | PromptFile] | None | UnsetType = UNSET
    """Values by name: texts, or parts. Default: None."""


class Reasoning(Wire, frozen=True, kw_only=True):
    """How much a reasoning model thinks before it speaks."""

    effort: ReasoningEffort | UnsetType = UNSET
    """Default: ``low``."""


class SessionParams(Wire, frozen=True, kw_only=True):
    """A session as a client asks for it: the body of ``accept``, the ``session`` of ``session.update``.

    Absent members keep their value (update) or take the default (accept); ``null`` resets where it is allowed.
    """

    type: Literal["realtime"]
    """``"realtime"``; it has to be there."""
    audio: Audio | UnsetType = UNSET
    """How the caller is heard and the agent sounds."""
    include: tuple[Include, ...] | None | UnsetType = UNSET
    """``["item.input_audio_transcription.logprobs"]`` adds log-probabilities to transcripts. Default: None."""
    instructions: Text | UnsetType = UNSET
    """What the model is told before everything else, 1 MB at most. Default: the server's own; ``""`` for none."""
    max_output_tokens: MaxOutputTokens | UnsetType = UNSET
    """What one response may cost, its tool calls too: 1 to 4096. Default: ``"inf"``."""
    model: Name | UnsetType = UNSET
    """Any name the server takes. Default: the server's. It is settled by ``accept``."""
    offhook: OwnParams | None | UnsetType = UNSET
    """What offhook adds to the API; the hosted API refuses it."""
    output_modalities: Modalities | UnsetType = UNSET
    """``("audio",)`` (the default: speech and its transcript) or ``("text",)``; not both."""
    parallel_tool_calls: bool | UnsetType = UNSET
    """Whether a response may call several tools. Reasoning models only."""
    prompt: Prompt | None | UnsetType = UNSET
    """A stored prompt. What is given directly wins over it. Default: None."""
    reasoning: Reasoning | UnsetType = UNSET
    """Reasoning models only."""
    tool_choice: ToolChoice | UnsetType = UNSET
    """Default: ``"auto"``; ``"none"``, ``"required"``, or one by name."""
    tools: Tools | UnsetType = UNSET
    """What the model may call, 128 at most; replaced as a whole. Default: none."""
    tracing: Literal["auto"] | Tracing | None | UnsetType = UNSET
    """``"auto"``, or names for the trace. Default: None, no trace. It cannot change once on."""
    truncation: Truncation | UnsetType = UNSET
    """When the context is full: ``"auto"`` (the default) leaves the oldest items out, ``"disabled"`` fails the
    response."""


# -- the effective session


class TranscriptionEcho(Struct, frozen=True, kw_only=True):
    """Transcription settings as the server echoes them: unset members are null."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    languages: tuple[str, ...] | UnsetType = UNSET
    keywords: tuple[str, ...] | UnsetType = UNSET
    delay: str | UnsetType = UNSET


class AudioInputEcho(Struct, frozen=True, kw_only=True):
    """The effective input side, nothing left out."""

    format: AudioFormat
    transcription: TranscriptionEcho | None
    noise_reduction: NoiseReduction | None
    turn_detection: TurnDetection | None


class AudioOutputEcho(Struct, frozen=True, kw_only=True):
    """The effective output side, nothing left out."""

    format: AudioFormat
    voice: Voice
    speed: float


class AudioEcho(Struct, frozen=True, kw_only=True):
    """The effective audio settings."""

    input: AudioInputEcho
    output: AudioOutputEcho


class Session(Struct, frozen=True, kw_only=True):
    """The effective session, as ``session.created`` and ``session.updated`` carry it; ``expires_at`` 0 is never."""

    id: str
    model: str
    instructions: str
    audio: AudioEcho
    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    output_modalities: tuple[Modality, ...] = ("audio",)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    max_output_tokens: int | Literal["inf"] = "inf"
    tracing: Literal["auto"] | Tracing | None = None
    truncation: Truncation = "auto"
    prompt: Prompt | None = None
    expires_at: int = 0
    include: tuple[Include, ...] | None = None
    parallel_tool_calls: bool | UnsetType = UNSET
    reasoning: Reasoning | UnsetType = UNSET


def as_shown(session: Session) -> Session:
    """Return the session as clients see it: a voice by its name or id, and no secrets of MCP servers.

    ``authorization`` and ``headers`` of those are never echoed; a voice is a string in every object of the server.
    """
    output = session.audio.output
    if isinstance(output.voice, CustomVoice):
        output = msgspec.structs.replace(output, voice=output.voice.id)
        session = msgspec.structs.replace(session, audio=msgspec.structs.replace(session.audio, output=output))
    if not any(isinstance(tool, McpTool) for tool in session.tools):
        return session
    tools = tuple(
        msgspec.structs.replace(tool, authorization=UNSET, headers=UNSET) if isinstance(tool, McpTool) else tool
        for tool in session.tools
    )
    return msgspec.structs.replace(session, tools=tools)


HIDDEN = "(hidden)"


def mask_secrets(tools: tuple[Tool, ...] | UnsetType) -> tuple[Tool, ...] | UnsetType:
    """Return tools as they may be kept: an MCP server's ``authorization`` and the values of its ``headers`` are hidden.

    What was given and what was absent can still be told apart.
    """
    if isinstance(tools, UnsetType):
        return tools
    return tuple(_mask(tool) if isinstance(tool, McpTool) else tool for tool in tools)


def _mask(tool: McpTool) -> McpTool:
    return msgspec.structs.replace(
        tool,
        authorization=tool.authorization and HIDDEN,
        headers=dict.fromkeys(tool.headers, HIDDEN) if isinstance(tool.headers, dict) else tool.headers,
    )
