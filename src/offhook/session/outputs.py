"""Everything that a conversation wants done. Imperative: the driver does it, in order, without waiting."""

from __future__ import annotations

from binascii import b2a_base64
from typing import Literal

import msgspec
from msgspec.structs import replace

from offhook.wire.items import InputAudio, Item, Message
from offhook.wire.own import Beep, PlayClip, Say
from offhook.wire.server_events import ConversationItemRetrieved, SentAudioDelta, ServerEvent
from offhook.wire.session import (
    AudioFormat,
    McpTool,
    Modality,
    NoiseReduction,
    ReasoningEffort,
    ToolChoice,
    Tools,
    Transcription,
    TranscriptionEcho,
    TurnDetection,
    Voice,
)
from offhook.wire.transcription import TranscriptionEvent


class Send(msgspec.Struct, frozen=True):
    """Send a server event: to every socket, or to ``origin`` alone."""

    event: ServerEvent | SentAudioDelta | TranscriptionEvent
    origin: int | None = None


class TakeInput(msgspec.Struct, frozen=True):
    """The client brought input audio: keep it, and listen to it."""

    audio: bytes
    format: AudioFormat


class SendWithAudio(msgspec.Struct, frozen=True):
    """Send an item to ``origin`` with the audio of these milliseconds of input put into it."""

    item: Item
    event_id: str
    start_ms: int
    end_ms: int
    origin: int

    def event(self, audio: bytes) -> ConversationItemRetrieved:
        """Return what is to be sent, with the audio in the session's input format."""
        item = self.item
        if isinstance(item, Message) and audio:
            text = b2a_base64(audio, newline=False).decode("ascii")
            content = tuple(
                replace(part, audio=text) if isinstance(part, InputAudio) else part for part in item.content
            )
            item = replace(item, content=content)
        return ConversationItemRetrieved(event_id=self.event_id, item=item)


class Generate(msgspec.Struct, frozen=True):
    """Ask the model for a response.

    ``verbatim``: not the model, these words are spoken. ``apology``: what is said when it fails; None is the server's.
    ``items`` is the context, oldest first, with transcripts where they are known. Every input about this generation
    carries ``run``. ``directed``: the instructions were given for this response alone, ``chosen``: the items were.
    ``aside``: what comes of it does not stay in the conversation.
    """

    run: int
    response_id: str
    instructions: str
    directed: bool
    items: tuple[Item, ...]
    tools: Tools
    tool_choice: ToolChoice
    max_output_tokens: int | Literal["inf"]
    modality: Modality
    voice: Voice
    speed: float
    model: str
    verbatim: str = ""
    apology: str | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningEffort | None = None
    chosen: bool = False
    aside: bool = False


class CancelGeneration(msgspec.Struct, frozen=True):
    """Stop a generation; what it still produces is ignored."""

    run: int


class Play(msgspec.Struct, frozen=True):
    """Put audio of a run behind what is already queued: 16-bit mono samples."""

    run: int
    pcm: bytes
    rate_hz: int


class FinishPlayout(msgspec.Struct, frozen=True):
    """No more audio of this run will come."""

    run: int


class StopPlayout(msgspec.Struct, frozen=True):
    """Drop everything that is queued, within one tick, and say what was really sent."""


class Fill(msgspec.Struct, frozen=True):
    """Let the caller hear this until something is said; ``FillerEnded`` with the same number follows in any case."""

    number: int
    filling: Say | Beep | PlayClip
    voice: Voice
    speed: float


class MakeFiller(msgspec.Struct, frozen=True):
    """Make the sound of a sentence: ``FillerMade`` brings it, or ``FillerEnded`` follows when there is none."""

    number: int
    text: str
    voice: Voice
    speed: float


class StopFilling(msgspec.Struct, frozen=True):
    """End a filler within one tick, also one that is still being made."""

    number: int


class Hear(msgspec.Struct, frozen=True):
    """The caller's audio from ``start_ms`` to ``end_ms`` is the item ``item_id``: transcribe it."""

    item_id: str
    start_ms: int
    end_ms: int
    transcription: Transcription | TranscriptionEcho | None


class HearGiven(msgspec.Struct, frozen=True):
    """The client brought this audio as the item ``item_id``: transcribe it."""

    item_id: str
    audio: bytes
    format: AudioFormat
    transcription: Transcription | TranscriptionEcho | None


class HearEarly(msgspec.Struct, frozen=True):
    """The same will probably be asked in a moment: begin with it, in the place of what was begun before.

    ``Hear`` of the same item takes the result; until then nobody is told of it, but with ``tell`` the conversation, by
    ``PauseHeard``.
    """

    item_id: str
    start_ms: int
    end_ms: int
    transcription: Transcription | TranscriptionEcho | None
    tell: bool = False


class HearSoFar(msgspec.Struct, frozen=True):
    """The caller speaks on, and somebody wants to read along: ``HeardSoFar`` follows."""

    item_id: str
    start_ms: int
    end_ms: int
    transcription: Transcription | TranscriptionEcho | None


class DropEarly(msgspec.Struct, frozen=True):
    """It will not be asked: drop what ``HearEarly`` began."""


class ConfigureTurns(msgspec.Struct, frozen=True):
    """Detect turns like this from now on; None is not at all."""

    turn_detection: TurnDetection | None


class ReduceNoise(msgspec.Struct, frozen=True):
    """Take noise out of the caller's audio from now on; None leaves it as it is."""

    noise_reduction: NoiseReduction | None


class EndTurn(msgspec.Struct, frozen=True):
    """The caller's turn ends in this pause, unless the caller speaks on by now; ``VoiceStopped`` follows."""


class Duck(msgspec.Struct, frozen=True):
    """Let the agent be softer, or as loud as before."""

    ducked: bool


class ListMcpTools(msgspec.Struct, frozen=True):
    """Ask an MCP server for its tools; one that was reached in another way under this label is let go."""

    item_id: str
    server: McpTool


class CallMcpTool(msgspec.Struct, frozen=True):
    """Run a tool of an MCP server. ``arguments`` is what the model wrote, which may be no JSON at all."""

    item_id: str
    server: McpTool
    name: str
    arguments: str


Output = (
    Send
    | TakeInput
    | SendWithAudio
    | Generate
    | CancelGeneration
    | Play
    | FinishPlayout
    | StopPlayout
    | Fill
    | MakeFiller
    | StopFilling
    | Hear
    | HearGiven
    | HearEarly
    | HearSoFar
    | DropEarly
    | ConfigureTurns
    | ReduceNoise
    | EndTurn
    | Duck
    | ListMcpTools
    | CallMcpTool
)
