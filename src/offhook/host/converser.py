"""What a conversation needs of whoever it belongs to, be that a call or a socket."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from offhook.audio.pcm import Samples
from offhook.model.metering import Used
from offhook.session import inputs as talk
from offhook.telemetry.log import FactLog
from offhook.wire.session import NoiseReduction, Session, TurnDetection


class Sound(Protocol):
    """Where the audio of a conversation comes from and goes to."""

    def play(self, run: int, pcm: bytes, rate_hz: int) -> None:
        """Queue speech of the agent."""
        ...

    def finish(self, run: int) -> None:
        """No more of this run will come."""
        ...

    def stop_playout(self) -> None:
        """Drop what is queued."""
        ...

    def fill(self, number: int, samples: Samples, *, loops: bool = False, whole: bool = False) -> None:
        """Let the caller hear this at 8 kHz until something is said; ``whole``: to its end in any case."""
        ...

    def stop_filling(self) -> None:
        """End that."""
        ...

    def duck(self, *, ducked: bool) -> None:
        """Let the agent be softer, or as loud as before."""
        ...

    def configure_turns(self, detection: TurnDetection | None) -> None:
        """Detect the caller's turns in this way."""
        ...

    def end_turn(self) -> None:
        """End the caller's turn in its pause, if that lasts still."""
        ...

    def reduce_noise(self, wanted: NoiseReduction | None) -> None:
        """Clean what comes in in this way, or no more."""
        ...

    @property
    def input_ms(self) -> int:
        """How much input there was so far, in milliseconds: the position that comes next."""
        ...

    def input_audio(self, start_ms: int, end_ms: int) -> tuple[bytes, int]:
        """Return 16-bit mono samples between two positions of the input, and their rate in Hz."""
        ...

    def release(self, before_ms: int) -> None:
        """Nobody will ask for input of more than a few seconds before a position."""
        ...

    def retrieved_audio(self, start_ms: int, end_ms: int) -> bytes:
        """Return the same as an item shows it."""
        ...


class Converser(Protocol):
    """Whose conversation it is."""

    log: FactLog

    @property
    def line(self) -> Sound | None:
        """Its sound, while there is some."""
        ...

    @property
    def session(self) -> Session | None:
        """Its session, once that has begun."""
        ...

    def take(self, event: talk.Input) -> None:
        """Take what happened."""
        ...

    def note_use(self, used: Used) -> None:
        """Take down what a model did for it, also after its end."""
        ...

    def bill_parts(self, item_id: str) -> None:
        """The words of a turn are the work of parts that tell it themselves, not of a whole backend."""
        ...

    def bill_stand_in(self, run: int, name: str) -> None:
        """A response is the work of this whole backend, not of the one that was asked."""
        ...

    def finish_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something that belongs to it come to its own end after it."""
        ...

    def broadcast(self, text: bytes) -> None:
        """Send an event to every socket."""
        ...

    def send_to(self, number: int, text: bytes) -> None:
        """Send an event to one socket."""
        ...
