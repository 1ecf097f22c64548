"""What the rest of the server tells the plane. `MediaPlane` has a method for each, which any thread may call."""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.audio.turn import TurnOptions
from offhook.media import limits
from offhook.media.input_audio import InputAudio
from offhook.media.noise import Processor
from offhook.media.ports import Address, Ports
from offhook.media.recorder import Recorder


class Direction(enum.Enum):
    """Which way media flow, from our side (RFC 3264 section 5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether we may send."""
        return self is Direction.SENDRECV or self is Direction.SENDONLY

    @property
    def receives(self) -> bool:
        """Whether the other side may send."""
        return self is Direction.SENDRECV or self is Direction.RECVONLY


class Negotiated(msgspec.Struct, frozen=True):
    """What an offer and its answer have settled.

    ``codecs`` maps payload types to the codec they carry, the one to send with first. ``telephone_event_type`` is the
    payload type of RFC 4733, if any. ``rtcp_remote`` is where reports go when that is not the port above ``remote``.
    """

    remote: Address | None
    codecs: tuple[tuple[int, Codec], ...] = ((0, Codec.PCMU), (8, Codec.PCMA))
    telephone_event_type: int | None = 101
    direction: Direction = Direction.SENDRECV
    rtcp_remote: Address | None = None
    rtcp_mux: bool = False


class LegOptions(msgspec.Struct, frozen=True):
    """How a leg behaves beyond what was negotiated.

    ``turns`` switches turn detection on; ``echo`` sends everything straight back instead of playing and listening;
    ``jitter_ms`` is how deep the jitter buffer starts, 0 for none; ``media_timeout_s`` None never times out; ``cname``
    is said in RTCP.
    """

    turns: TurnOptions | None = None
    echo: bool = False
    jitter_ms: int = limits.JITTER_MS
    media_timeout_s: float | None = limits.MEDIA_TIMEOUT_S
    keep_input_s: int = limits.INPUT_S
    recorder: Recorder | None = None
    cname: str = "offhook"


class OpenLeg(msgspec.Struct, frozen=True):
    """Start a leg on these ports."""

    leg: str
    ports: Ports
    negotiated: Negotiated
    options: LegOptions
    audio: InputAudio


class UpdateLeg(msgspec.Struct, frozen=True):
    """A new offer and answer: address, codecs, direction."""

    leg: str
    negotiated: Negotiated


class CloseLeg(msgspec.Struct, frozen=True):
    """Say goodbye in RTCP, close the ports, give them back."""

    leg: str


class Play(msgspec.Struct, frozen=True):
    """Queue sound of a run."""

    leg: str
    run: int
    samples: Samples
    rate_hz: int


class FinishRun(msgspec.Struct, frozen=True):
    """No more sound of this run will come."""

    leg: str
    run: int


class StopPlayout(msgspec.Struct, frozen=True):
    """Throw the queue away, up to and with ``through_run``, or all of it."""

    leg: str
    through_run: int | None


class Fill(msgspec.Struct, frozen=True):
    """Play this while no run has anything to say; see `offhook.media.filler`. It takes the place of one before it."""

    leg: str
    number: int
    samples: Samples
    loops: bool
    whole: bool


class StopFilling(msgspec.Struct, frozen=True):
    """Fall silent, unless a run plays."""

    leg: str


class ConfigureTurns(msgspec.Struct, frozen=True):
    """Change turn detection, or switch it off."""

    leg: str
    turns: TurnOptions | None


class EndTurn(msgspec.Struct, frozen=True):
    """End the caller's turn in the pause that was told, if it lasts still."""

    leg: str


class Duck(msgspec.Struct, frozen=True):
    """Play softly from here on, or as loud as before."""

    leg: str
    ducked: bool


class ReduceNoise(msgspec.Struct, frozen=True):
    """Clean what comes in from here on, or (None) take it as it is."""

    leg: str
    processor: Processor | None


class SendDtmf(msgspec.Struct, frozen=True):
    """Press keys for the caller."""

    leg: str
    digits: str
    duration_ms: int


Command: TypeAlias = (
    OpenLeg
    | UpdateLeg
    | CloseLeg
    | Play
    | FinishRun
    | StopPlayout
    | Fill
    | StopFilling
    | ConfigureTurns
    | EndTurn
    | Duck
    | ReduceNoise
    | SendDtmf
)
