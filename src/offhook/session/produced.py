"""What the model of a session has produced: words and sound on their way into a response, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.playout import Playout
from offhook.session.response import Completed, Failed, Incomplete, Response
from offhook.session.truncation import ContextWindow
from offhook.wire import server_events as ev

if TYPE_CHECKING:
    from offhook.session.engine import Engine

ModelInput = (
    happened.TextProduced
    | happened.MessageEnded
    | happened.AudioProduced
    | happened.GenerationFinished
    | happened.GenerationFailed
)


class Produced:
    """Gives a response what its model says, and ends it with its model, or when it says more than it may."""

    def __init__(self, engine: Engine, window: ContextWindow, playout: Playout) -> None:
        self._engine = engine
        self._window = window
        self._playout = playout

    def take(self, event: ModelInput) -> None:
        """Take what a model produced; of a run that has ended, nothing counts any more."""
        engine = self._engine
        response = engine.response_of(event.run)
        if response is None:
            return
        match event:
            case happened.TextProduced(text=text):
                engine.send_all(response.add_text(text))
                self.stop_overrun(response)
            case happened.MessageEnded():
                engine.send_all(response.end_message())
            case happened.AudioProduced():
                self._audio(response, event)
            case happened.GenerationFinished(reason=reason, usage=usage):
                engine.end_response(response, Completed() if reason == "stop" else Incomplete(reason), usage)
            case happened.GenerationFailed(kind=kind, code=code, message=message):
                engine.end_response(response, Failed(kind, code, message))
            case _:
                assert_never(event)

    def _audio(self, response: Response, event: happened.AudioProduced) -> None:
        if not response.wants_sound(event.message) or self._playout.is_stopping(response.run):
            return
        engine = self._engine
        engine.has_spoken = True
        engine.send_all(response.add_audio(event.duration_ms, event.text, event.message))
        engine.door.say(response, event)

    def complain(self, event: happened.ModelComplained) -> None:
        """Tell the clients what the model refused."""
        engine = self._engine
        details = ev.ErrorDetails(type=event.kind, code=event.code, message=event.message)
        engine.send(ev.ErrorEvent(event_id=engine.ids.event(), error=details))

    def stop_overrun(self, response: Response) -> None:
        """End a response that its backend should have ended."""
        if self._window.overruns(response):
            self._engine.emit(do.CancelGeneration(response.run))
            self._engine.end_response(response, Incomplete("max_output_tokens"))
