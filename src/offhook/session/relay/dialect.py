"""What each upstream takes and says: a table, so that nothing else asks who it is talking to.

Sources: OpenAI API reference, "Realtime"; Azure OpenAI, "Realtime API reference"; xAI, "Voice Agent API" and what
others met with it; vLLM-Omni, "Realtime Audio WebSocket API". `docs/models.md` says which of them was really run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

DialectName = Literal["openai", "azure", "xai", "vllm-omni", "offhook"]
TurnFinder = Literal["here", "upstream"]
FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

_ALL: Final = frozenset(
    (
        "audio",
        "include",
        "instructions",
        "max_output_tokens",
        "output_modalities",
        "parallel_tool_calls",
        "reasoning",
        "speed",
        "tool_choice",
        "tools",
        "transcription",
        "truncation",
        "voice",
    )
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One upstream's ways.

    ``path`` is where its socket is when a URL names none. ``formats`` are the audio formats that it takes,
    ``pcm_in_hz`` and ``pcm_out_hz`` its rates of linear samples. ``fields`` are the members of a session that it takes.
    """

    name: DialectName
    path: str = "/v1/realtime"
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    formats: frozenset[FormatName] = frozenset(("audio/pcm", "audio/pcmu", "audio/pcma"))
    pcm_in_hz: int = 24_000
    pcm_out_hz: int = 24_000
    fields: frozenset[str] = _ALL
    voices: frozenset[str] | None = None
    """The voices that it has; None is any. A voice that it does not have is left out, and its own default speaks."""
    places: dict[str, str] = field(default_factory=dict)
    """Where the members of a session stand, when it is elsewhere, by their paths."""
    is_preview: bool = False
    """Whether it is of before the API's general availability: other names of formats, and text with every audio."""
    one_voice: bool = False
    """Whether a response cannot have a voice of its own."""
    typed_session: bool = True
    """Whether an update needs ``type: "realtime"``."""
    streams_input: bool = True
    """Whether it takes audio while a caller speaks; else a turn goes to it whole."""
    finds_turns: bool = False
    """Whether it can find turns and leave it at that, without answering or stopping anything by itself."""
    transcribes_items: bool = False
    """Whether it tells the words of sound that it is given as an item, too."""
    commit_answers: bool = False
    """Whether a commit is answered without ``response.create``."""
    takes_item_ids: bool = True
    """Whether items keep the ids that they are sent with."""
    truncates: bool = True
    """Whether an answer can be cut at what was heard of it."""
    deletes: bool = True
    """Whether items can be taken out again."""
    echoes_metadata: bool = False
    """Whether a response carries the metadata that it was asked for with."""
    parallel: bool = True
    """Whether it has responses outside the conversation, with an input of their own."""
    transcribes: bool = True
    """Whether it tells the words of the caller."""
    transcriber: str = ""
    """The one model of its own that can do that; empty: the session names one."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Its names of events, where they are others."""


# The names of the preview API, which Azure's dated versions and some servers still use.
_PREVIEW: Final = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "conversation.item.created": "conversation.item.added",
}

DIALECTS: Final[dict[str, Dialect]] = {
    each.name: each
    for each in (
        Dialect("openai", finds_turns=True, echoes_metadata=True, aliases=_PREVIEW),
        Dialect(
            "azure",
            path="/openai/v1/realtime",
            key_header="api-key",
            key_prefix="",
            finds_turns=True,
            echoes_metadata=True,
            aliases=_PREVIEW,
        ),
        Dialect(
            "xai",
            # It has no text-only answers: what is written here is the transcript of what it says.
            fields=frozenset(("audio", "instructions", "tools", "tool_choice", "transcription", "voice")),
            voices=frozenset(("ara", "eve", "leo", "rex", "sal")),
            places={"audio.input.turn_detection": "turn_detection", "audio.output.voice": "voice"},
            one_voice=True,
            typed_session=False,
            # Audio that reaches it while it speaks stops it; a turn that is committed is answered.
            streams_input=False,
            commit_answers=True,
            takes_item_ids=False,
            truncates=False,
            deletes=False,
            parallel=False,
            transcriber="grok-transcribe",
            aliases=_PREVIEW,
        ),
        Dialect(
            "vllm-omni",
            formats=frozenset(("audio/pcm",)),
            fields=frozenset(
                ("audio", "instructions", "max_output_tokens", "output_modalities", "tools", "tool_choice")
            ),
            parallel=False,
            transcribes=False,
            # What its earlier handler calls the words of an answer.
            aliases=_PREVIEW | {"transcription.delta": "response.output_audio_transcript.delta"},
        ),
        Dialect("offhook", finds_turns=True, transcribes_items=True, echoes_metadata=True),
    )
}

_AZURE_PREVIEW: Final = replace(
    DIALECTS["azure"],
    path="/openai/realtime",
    finds_turns=False,
    fields=frozenset(
        (
            "audio",
            "instructions",
            "max_output_tokens",
            "output_modalities",
            "tools",
            "tool_choice",
            "transcription",
            "voice",
        )
    ),
    places={
        "audio.input.format": "input_audio_format",
        "audio.input.transcription": "input_audio_transcription",
        "audio.input.turn_detection": "turn_detection",
        "audio.output.format": "output_audio_format",
        "audio.output.voice": "voice",
        "max_output_tokens": "max_response_output_tokens",
        "output_modalities": "modalities",
    },
    is_preview=True,
    typed_session=False,
    echoes_metadata=False,
)


def dialect_of(name: DialectName, url: str) -> Dialect:
    """Return how an upstream is spoken to: Azure's dated versions (``api-version`` in the URL) are of the preview."""
    dated = "api-version" in dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return _AZURE_PREVIEW if name == "azure" and dated else DIALECTS[name]


def socket_url(url: str, dialect: Dialect, model: str) -> str:
    """Return where the socket of a model is: the URL's own path when it has one, the dialect's else.

    Azure's dated versions (``api-version`` in the URL) name a deployment instead of a model.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = "deployment" if "api-version" in query else "model"
    if model:
        query.setdefault(named, model)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    path = parts.path if parts.path.strip("/") else dialect.path
    return urlunsplit((scheme, parts.netloc, path, urlencode(query), ""))


def format_for(dialect: Dialect, wanted: FormatName) -> FormatName:
    """Return the format to speak with an upstream for audio of this format: the same one where it is taken.

    G.711 stays what it is then, without a loss and at a sixth of the bytes; anything else goes as linear samples.
    """
    return wanted if wanted in dialect.formats else "audio/pcm"
