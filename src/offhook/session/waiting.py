"""What the caller hears while a function or a slow model works, so that nobody has to ask whether the line is dead.

Somebody waits from the moment that an answer is due and nothing is to be heard, until the answer is heard, or speaks
themselves. A tone or a clip gives way to the answer at once; a sentence is spoken to its end and belongs to the
conversation, as far as it was heard. Where the client plays there are sentences alone, beside the conversation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UnsetType

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.conversation import ROOT, Conversation
from offhook.session.deadline import earliest
from offhook.session.filler import tell_filler
from offhook.session.heard import Heard
from offhook.session.playout import Playout
from offhook.session.response import Response
from offhook.wire.items import FunctionCall, FunctionCallOutput, McpCall, Message, OutputAudio
from offhook.wire.own import Own, OwnParams, Say, update_own

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# Nobody listens to a tone for longer; what takes so long has failed, or the application forgot its caller.
LONGEST_S = 60.0
# After the outputs of its functions, an application asks for a response at once, or it does not want one.
RESPONSE_GRACE_S = 2.0


# -- whether somebody works on what the model called


class NoFunctions(msgspec.Struct, frozen=True):
    """Nobody does, as far as is known."""


class Working(msgspec.Struct, frozen=True):
    """The application has not given the outputs of these calls, or (none) an MCP server is at one of its own."""

    call_ids: frozenset[str]


class Given(msgspec.Struct, frozen=True):
    """All outputs are there; until then a response to them is expected."""

    until: float


# -- whether the caller waits


class Served(msgspec.Struct, frozen=True):
    """The caller has no reason to wait."""


class InSilence(msgspec.Struct, frozen=True):
    """The caller waits and hears nothing; at ``until`` that was long enough."""

    until: float


class Entertained(msgspec.Struct, frozen=True):
    """The caller waits, and something was begun about it; it ends at ``until``, or (None) has ended."""

    until: float | None


# -- what is sent


class Silent(msgspec.Struct, frozen=True):
    """No filler."""


class Sounding(msgspec.Struct):
    """A filler, which will be told to have ended; of a sentence also its text, its words, and where it stands."""

    number: int
    text: str
    after: str
    heard: Heard


class Waiting:
    """Decides when a filler begins and ends, and whether the agent begins. ``own`` is what the session wants."""

    def __init__(self, engine: Engine, params: OwnParams | None | UnsetType) -> None:
        self._engine = engine
        defaults = engine.options.defaults.own
        # Responses that nobody asked for would be news to the clients that play: only those get them that want them.
        self._defaults = defaults if engine.door.plays else msgspec.structs.replace(defaults, filling=None)
        self.own = self._defaults
        self.own = self.updated(params)
        self._begun = False
        self._functions: NoFunctions | Working | Given = NoFunctions()
        self._wait: Served | InSilence | Entertained = Served()
        self._sound: Silent | Sounding = Silent()
        self._count = 0
        self._bridged_until = 0.0

    @property
    def fills(self) -> bool:
        """Whether somebody who waits is to hear something."""
        return self.own.filling is not None

    def updated(self, params: OwnParams | None | UnsetType) -> Own:
        """Return what an update makes of the session's wishes. Raises ApiProblem."""
        engine = self._engine
        return update_own(self.own, params, self._defaults, engine.options.clips, plays=engine.door.plays)

    def speak_first(self) -> None:
        """Let the agent begin, if that is wanted and nobody has asked it anything yet."""
        wanted = self.own.speak_first
        if wanted and not self._begun and self._engine.door.answers:
            self._engine.create_response(None, verbatim=wanted if isinstance(wanted, str) else "")

    # -- what the engine tells

    def response_began(self) -> None:
        """A response of the conversation began: nothing before it is waited for."""
        self._begun = True
        self._functions = NoFunctions()

    def response_ended(self, response: Response, *, completed: bool) -> None:
        """A response of the conversation ended; the application now runs the functions that it called."""
        call_ids = response.call_ids
        self._functions = Working(call_ids) if completed and call_ids else NoFunctions()

    def output_given(self, call_id: str) -> None:
        """The application gave the output of a function."""
        if isinstance(self._functions, Working):
            self._functions = Working(self._functions.call_ids - {call_id})

    def hush(self) -> None:
        """Nothing is to be heard: the caller speaks, or the client wants silence."""
        if isinstance(self._sound, Sounding):
            self._engine.emit(do.StopFilling(self._sound.number))

    def watch(self, now: float, playout: Playout, *, speaks: bool) -> None:
        """Look at the conversation after everything that happened. ``speaks``: the caller does."""
        busy, own = self._engine.tools.busy, self.own
        if not busy and own.filling is None and type(self._functions) is NoFunctions and type(self._wait) is Served:
            return  # Nearly always, and this is looked at after everything that happens.
        match self._functions:
            case Working(call_ids=call_ids) if not call_ids and not busy:
                self._functions = Given(now + RESPONSE_GRACE_S)
            case NoFunctions() | Given() if busy:
                self._functions = Working(frozenset())
            case Given(until=until) if now >= until:
                self._functions = NoFunctions()
            case _:
                pass
        due = own.filling is not None and not speaks and not playout.busy and self._is_due()
        heard_until = self._engine.door.silent_at
        silence_until = max(now, heard_until) + own.filling_after_ms / 1000
        match self._wait:
            case Served() if due:
                self._wait = InSilence(silence_until)
            case InSilence() if not due:
                self._wait = Served()
            case InSilence() if heard_until > now:
                self._wait = InSilence(silence_until)
            case Entertained() if not due or heard_until > self._bridged_until:
                self._wait = InSilence(silence_until) if due else Served()
                # An answer ends a filler by itself, in the audio plane, with the first of its samples; a sentence that
                # is not made yet is not there, and would come after a short answer.
                if not playout.busy or self._is_being_made:
                    self.hush()
            case _:
                pass

    def _is_due(self) -> bool:
        response = self._engine.active_response
        if response is not None:
            return response.settings.modality == "audio"
        in_writing = self._engine.session.output_modalities == ("text",)
        return not in_writing and not isinstance(self._functions, NoFunctions)

    @property
    def _is_being_made(self) -> bool:
        sound = self._sound
        return isinstance(sound, Sounding) and bool(sound.text) and not sound.heard.produced_ms

    # -- time

    def deadline(self) -> float | None:
        """Return when ``pass_deadline`` has something to do."""
        wait, functions = self._wait, self._functions
        if type(wait) is Served and type(functions) is not Given:
            return None  # Nearly always, and this is asked after everything that happens.
        return earliest(
            None if isinstance(wait, Served) else wait.until, functions.until if isinstance(functions, Given) else None
        )

    def pass_deadline(self, now: float) -> None:
        """Do what is due."""
        match self._wait:
            case InSilence(until=until) if now >= until:
                self._wait = Entertained(now + LONGEST_S)
                self._bridged_until = self._engine.door.silent_at
                self._begin()
            case Entertained(until=float() as until) if now >= until:
                self._wait = Entertained(None)
                self.hush()
            case _:
                pass

    def _begin(self) -> None:
        engine, filling = self._engine, self.own.filling
        if filling is None or isinstance(self._sound, Sounding):
            return
        self._count += 1
        text = filling.text if isinstance(filling, Say) else ""
        self._sound = Sounding(self._count, text, _last_before_functions(engine.conversation), Heard())
        output = engine.session.audio.output
        if engine.door.plays:
            engine.emit(do.Fill(self._count, filling, output.voice, output.speed))
        else:
            engine.emit(do.MakeFiller(self._count, text, output.voice, output.speed))

    # -- from the driver

    def filler_spoken(self, event: happened.FillerSpoken) -> None:
        """The sentence was made: its words have their places now."""
        if isinstance(self._sound, Sounding) and self._sound.number == event.number:
            for text, duration_ms in event.pieces:
                self._sound.heard.add_audio(duration_ms, text)

    def filler_made(self, event: happened.FillerMade) -> None:
        """The sentence was made for a client that plays; it is told if somebody waits for the answer still."""
        sound = self._sound
        if not isinstance(sound, Sounding) or sound.number != event.number:
            return
        self._sound = Silent()
        if isinstance(self._wait, Entertained):
            tell_filler(self._engine, sound.text, event.sounds)
            self._bridged_until = self._engine.door.silent_at

    def filler_ended(self, event: happened.FillerEnded) -> None:
        """A filler is over; what was heard of a sentence becomes an item, before the functions it bridges."""
        sound = self._sound
        if not isinstance(sound, Sounding) or sound.number != event.number:
            return
        self._sound = Silent()
        whole = event.played_ms >= int(sound.heard.produced_ms)
        text = sound.text if whole else sound.heard.until(event.played_ms)
        if not text or not event.played_ms:
            return
        engine = self._engine
        item = Message(
            id=engine.ids.item(),
            status="completed" if whole else "incomplete",
            role="assistant",
            content=(OutputAudio(transcript=text),),
        )
        engine.conversation.make_room()
        known = sound.after == ROOT or sound.after in engine.conversation
        engine.add_item(item, sound.after if known else None)


def _last_before_functions(conversation: Conversation) -> str:
    """Return the id of the last item that is no function call or output: nothing may stand between these."""
    for item in reversed(list(conversation)):
        if not isinstance(item, FunctionCall | FunctionCallOutput | McpCall):
            return str(item.id)
    return ROOT
