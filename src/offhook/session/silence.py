"""The caller who says nothing: after ``idle_timeout_ms`` the agent asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from offhook.session import inputs as happened
from offhook.wire import server_events as ev
from offhook.wire.items import InputAudio, InputText, Message
from offhook.wire.session import ServerVad

if TYPE_CHECKING:
    from offhook.session.engine import Engine

SILENT_CALLER: Final = "The user has not said anything for a while. Ask whether they are still there, or move on."


class Silence:
    """Keeps the time since when both sides have been silent after an answer was played."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._since: float | None = None

    @property
    def _timeout_s(self) -> float | None:
        detection = self._engine.session.audio.input.turn_detection
        if isinstance(detection, ServerVad) and detection.idle_timeout_ms:
            return detection.idle_timeout_ms / 1000
        return None

    def watch(self) -> None:
        """Look whether anybody speaks."""
        engine = self._engine
        if not engine.is_quiet or self._timeout_s is None:
            self._since = None
        elif self._since is None:
            self._since = max(engine.now, engine.door.silent_at)

    def deadline(self) -> float | None:
        """Return when the silence has been long enough."""
        if self._since is None:
            return None
        timeout_s = self._timeout_s
        return None if timeout_s is None else self._since + timeout_s

    def pass_deadline(self) -> None:
        """Break the silence if it is time."""
        deadline, since = self.deadline(), self._since
        if since is not None and deadline is not None and self._engine.now >= deadline:
            self._since = None
            self._break(max(self._engine.input_ms - round((self._engine.now - since) * 1000), 0))

    def _break(self, start_ms: int) -> None:
        engine = self._engine
        item_id = engine.ids.item()
        engine.send(
            ev.InputTimeoutTriggered(
                event_id=engine.ids.event(), audio_start_ms=start_ms, audio_end_ms=engine.input_ms, item_id=item_id
            )
        )
        note = Message(
            id=engine.ids.item(), status="completed", role="system", content=(InputText(text=SILENT_CALLER),)
        )
        engine.add_item(note)
        engine.send(ev.InputCommitted(event_id=engine.ids.event(), previous_item_id=note.id or None, item_id=item_id))
        engine.add_item(Message(id=item_id, status="completed", role="user", content=(InputAudio(transcript=None),)))
        engine.transcripts.expect(item_id)
        engine.create_response(None)
        # Nobody spoke, so there is nothing to ask a speech recogniser about.
        engine.transcripts.complete(happened.TranscriptCompleted(item_id, "", 0.0))
