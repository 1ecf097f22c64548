"""What differs between the ways to a conversation: by telephone, or on a socket of its own.

A telephone is played to, so it is known what was heard, and its audio comes by itself. On a socket the client brings
the audio in events, gets the answers' audio in events, and plays it out of sight. Source: API reference, "Realtime".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import UnsetType

from offhook.errors import ApiProblem
from offhook.session.inputs import AudioProduced
from offhook.session.response import Response
from offhook.wire import server_events as ev
from offhook.wire.client_events import ClientEvent, InputAudioBufferAppend
from offhook.wire.session import as_shown

if TYPE_CHECKING:
    from offhook.session.engine import Engine


class Door(Protocol):
    """How one conversation is reached."""

    plays: bool
    """Whether the server plays the answers, so that it knows what was heard of them."""

    formats_given: bool
    """Whether the client chooses the audio formats."""

    answers: bool
    """Whether there are answers."""

    keeps_model: bool
    """Whether an update that names only another model is passed over too: who attaches to a call did not choose it."""

    @property
    def input_ms(self) -> int:
        """Milliseconds of input audio so far."""
        ...

    @property
    def silent_at(self) -> float:
        """When all that was said so far has been played, as far as can be known: a time, monotonic."""
        ...

    def enter(self) -> None:
        """Tell what is told first."""
        ...

    def tell_session(self) -> None:
        """Tell what the session is now."""
        ...

    def check(self, event: ClientEvent) -> None:
        """Raise ApiProblem for an event that this door does not take."""
        ...

    def append(self, event: InputAudioBufferAppend) -> None:
        """Take input audio. Raises ApiProblem for what is none."""
        ...

    def given_audio(self, audio: str | UnsetType, path: str) -> bytes:
        """Return the audio of an item that a client adds. Raises ApiProblem, with the path, where there is none."""
        ...

    def say(self, response: Response, event: AudioProduced) -> None:
        """Let the caller hear a piece of an answer."""
        ...

    def finish(self, response: Response, *, whole: bool) -> None:
        """No more of an answer will come; ``whole``: it was not cut short."""
        ...

    def interrupt(self) -> None:
        """The caller speaks: nothing of what was said before is listened to any more."""
        ...


class TelephoneDoor:
    """A telephone call: time is its input, and the audio plane plays."""

    plays = True
    formats_given = False
    answers = True
    # agents for Python sends its own default with every update of a call, and cannot be told another.
    keeps_model = True
    silent_at = 0.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def input_ms(self) -> int:
        """Milliseconds since the session began: audio, or the lack of it, comes all the time."""
        return self._engine.elapsed_ms

    def enter(self) -> None:
        """Tell nothing: a sideband begins without ``session.created``."""

    def tell_session(self) -> None:
        """Tell what the session is now."""
        engine = self._engine
        engine.send(ev.SessionUpdated(event_id=engine.ids.event(), session=as_shown(engine.session)))

    def check(self, event: ClientEvent) -> None:
        """Take every event."""

    def append(self, _: InputAudioBufferAppend) -> None:
        """Refuse it."""
        message = (
            "The input audio of this session comes from the telephone; input_audio_buffer.append cannot add to it."
        )
        raise ApiProblem(400, "invalid_value", message, param="type")

    def given_audio(self, audio: str | UnsetType, path: str) -> bytes:
        """Refuse it: what is said on a call comes from the telephone."""
        del audio
        message = "Audio cannot be added to the conversation of a call without its transcript."
        raise ApiProblem(400, "invalid_value", message, param=f"{path}.audio")

    def say(self, response: Response, event: AudioProduced) -> None:
        """Queue it behind what is playing."""
        self._engine.play(response, event)

    def finish(self, response: Response, *, whole: bool) -> None:
        """Nothing is held back here."""

    def interrupt(self) -> None:
        """The playout is stopped by command."""
