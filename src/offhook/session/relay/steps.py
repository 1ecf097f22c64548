"""What can happen to a relayed conversation, and what it wants done."""

from __future__ import annotations

import msgspec

from offhook.session.inputs import GenerationFailed
from offhook.session.inputs import Input as EngineInput
from offhook.session.outputs import Generate
from offhook.wire.server_events import SentAudioDelta, ServerEvent, Usage
from offhook.wire.session import Session
from offhook.wire.transcription import TranscriptionEvent

# -- what happened


class Connected(msgspec.Struct, frozen=True):
    """There is a socket; this is the session that it is for."""

    session: Session


class InputStands(msgspec.Struct, frozen=True):
    """The input has come to ``at_ms``, and nobody finds turns in it here: ``FindTurns`` was obeyed."""

    at_ms: int


class ConnectionLost(msgspec.Struct, frozen=True):
    """There is none any more, or none came about. ``is_refused``: upstream does not want us, and never will."""

    why: str
    is_refused: bool = False


class UpstreamSent(msgspec.Struct, frozen=True):
    """A message came from upstream."""

    text: str | bytes


class Told(msgspec.Struct, frozen=True):
    """The clients were told this."""

    event: ServerEvent | SentAudioDelta | TranscriptionEvent


class Requested(msgspec.Struct, frozen=True):
    """The conversation wants a response."""

    request: Generate


class Cancelled(msgspec.Struct, frozen=True):
    """The conversation does not want a response any more."""

    run: int


class SpokenSoFar(msgspec.Struct, frozen=True):
    """Input audio from ``start_ms`` on, as far as it is there: 16-bit mono samples."""

    start_ms: int
    pcm: bytes
    rate_hz: int


class TurnSpoken(msgspec.Struct, frozen=True):
    """A turn is over and has become an item. ``is_wanted``: somebody asked for its words."""

    item_id: str
    start_ms: int
    end_ms: int
    pcm: bytes
    rate_hz: int
    is_wanted: bool


class AudioGiven(msgspec.Struct, frozen=True):
    """A client has brought the audio of an item."""

    item_id: str
    pcm: bytes
    rate_hz: int
    is_wanted: bool


class DeadlinePassed(msgspec.Struct, frozen=True):
    """The time that ``next_deadline`` named has come."""


Input = (
    Connected
    | InputStands
    | ConnectionLost
    | UpstreamSent
    | Told
    | Requested
    | Cancelled
    | SpokenSoFar
    | TurnSpoken
    | AudioGiven
    | DeadlinePassed
)

# -- what to do


class Connect(msgspec.Struct, frozen=True):
    """Open a socket: ``Connected`` or ``ConnectionLost`` follows."""

    model: str


class Disconnect(msgspec.Struct, frozen=True):
    """Let go of the socket; ``ConnectionLost`` follows."""

    why: str


class SendUpstream(msgspec.Struct, frozen=True):
    """Send an event."""

    text: bytes


class ReadInput(msgspec.Struct, frozen=True):
    """Read input audio between two positions, as far as it is there: ``SpokenSoFar`` follows.

    ``frees``: nobody speaks, so what is older than a few seconds will not be asked for.
    """

    start_ms: int
    end_ms: int
    frees: bool = False


class FindTurns(msgspec.Struct, frozen=True):
    """Find the caller's turns as the session says (``here``), or not at all: ``InputStands`` follows then."""

    here: bool


class Unheard(msgspec.Struct, frozen=True):
    """A turn of the caller whose words upstream has not told: 16-bit mono samples."""

    item_id: str
    pcm: bytes
    rate_hz: int


class HandOver(msgspec.Struct, frozen=True):
    """Upstream has given nothing of a response, for this reason: let somebody else answer, or apologize."""

    request: Generate
    unheard: tuple[Unheard, ...]
    failure: GenerationFailed


class HearInstead(msgspec.Struct, frozen=True):
    """Find the words of a turn, which upstream will not tell, and tell them; a response may need them soon."""

    turn: Unheard


class Tell(msgspec.Struct, frozen=True):
    """Give this to the conversation."""

    event: EngineInput


class Warn(msgspec.Struct, frozen=True):
    """Somebody who runs the server should know."""

    what: str
    why: str


class NoteUsage(msgspec.Struct, frozen=True):
    """Take down what a response took upstream; once for each that upstream was asked for."""

    usage: Usage
    is_estimated: bool


Output = Connect | Disconnect | SendUpstream | ReadInput | FindTurns | HandOver | HearInstead | Tell | Warn | NoteUsage
