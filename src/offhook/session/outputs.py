"""Everything that a conversation wants done. Imperative: the driver does it, in order, without waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offhook.wire.items import Item
from offhook.wire.server_events import ServerEvent
from offhook.wire.session import Modality, ToolChoice, Tools, Transcription, TranscriptionEcho, TurnDetection, Voice


@dataclass(frozen=True, slots=True)
class Send:
    """Send a server event: to every socket, or to ``origin`` alone."""

    event: ServerEvent
    origin: int | None = None


@dataclass(frozen=True, slots=True)
class SendWithAudio:
    """Send an item to ``origin`` with the audio of these milliseconds of input put into it."""

    item: Item
    event_id: str
    start_ms: int
    end_ms: int
    origin: int


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask the model for a response.

    ``items`` is the context, oldest first, with transcripts where they are known. Every input about this generation
    carries ``run``. ``directed``: the instructions were given for this response alone.
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


@dataclass(frozen=True, slots=True)
class CancelGeneration:
    """Stop a generation; what it still produces is ignored."""

    run: int


@dataclass(frozen=True, slots=True)
class Play:
    """Put audio of a run behind what is already queued: 16-bit mono samples."""

    run: int
    pcm: bytes
    rate_hz: int


@dataclass(frozen=True, slots=True)
class FinishPlayout:
    """No more audio of this run will come."""

    run: int


@dataclass(frozen=True, slots=True)
class StopPlayout:
    """Drop everything that is queued, within one tick, and say what was really sent."""


@dataclass(frozen=True, slots=True)
class Hear:
    """The caller's audio from ``start_ms`` to ``end_ms`` is the item ``item_id``: transcribe it."""

    item_id: str
    start_ms: int
    end_ms: int
    transcription: Transcription | TranscriptionEcho | None


@dataclass(frozen=True, slots=True)
class HearEarly:
    """The same will probably be asked in a moment: begin with it, in the place of what was begun before.

    ``Hear`` of the same item takes the result; until then nobody is told of it.
    """

    item_id: str
    start_ms: int
    end_ms: int
    transcription: Transcription | TranscriptionEcho | None


@dataclass(frozen=True, slots=True)
class DropEarly:
    """It will not be asked: drop what ``HearEarly`` began."""


@dataclass(frozen=True, slots=True)
class ConfigureTurns:
    """Detect turns like this from now on; None is not at all."""

    turn_detection: TurnDetection | None


Output = (
    Send
    | SendWithAudio
    | Generate
    | CancelGeneration
    | Play
    | FinishPlayout
    | StopPlayout
    | Hear
    | HearEarly
    | DropEarly
    | ConfigureTurns
)
