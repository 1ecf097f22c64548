"""The owner of one session on a socket of its own, without a call. It lives as long as its socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from offhook.call.tokens import TokenStream
from offhook.errors import ApiProblem
from offhook.host.client_secrets import SecretSession
from offhook.host.project import Project
from offhook.host.relaying import converse
from offhook.host.sideband import Closing, Sideband
from offhook.host.socket_line import SocketLine
from offhook.host.watching import Watch
from offhook.model.metering import Used
from offhook.net.alarm import Alarm
from offhook.session import inputs as talk
from offhook.session import outputs as do
from offhook.session.engine import Engine
from offhook.session.settings import start_session, without_effect
from offhook.session.socket import SocketDoor, TranscriptionDoor
from offhook.wire import limits
from offhook.wire.client_events import InputAudioBufferAppend
from offhook.wire.decode import decode_client_event, decode_transcription_event, event_id_of
from offhook.wire.ids import Ids
from offhook.wire.server_events import ErrorDetails, ErrorEvent, encode_event
from offhook.wire.session import PcmFormat, Session
from offhook.wire.transcription import TranscriptionParams, as_start

if TYPE_CHECKING:
    from offhook.host.sessions import Sessions

ORIGIN: Final = 1
FAILED: Final = Closing(1011, "The server failed at an event of this session.")


class SocketSession:
    """One conversation with everything that belongs to it: engine, sound, socket, tasks.

    Raises ApiProblem for a model, a prompt or a clip that is not there.
    """

    def __init__(self, sessions: Sessions, project: Project, params: SecretSession, *, own_events: bool) -> None:
        services = sessions.services
        options = services.options.engine
        transcribes = isinstance(params, TranscriptionParams)
        start = as_start(params) if isinstance(params, TranscriptionParams) else params
        start = sessions.directory.prepare(start, project, plays=False)
        ids = Ids(TokenStream(services.seed()))
        now = services.clock()
        session_s = services.options.call.session_s
        session = start_session(
            start,
            session_id=ids.session(),
            audio_format=PcmFormat(),
            expires_at=int(services.wall_s() + session_s) if session_s else 0,
            defaults=options.defaults,
            formats_given=True,
        )
        self.id = session.id
        self.project = project
        self.log = services.log.bind(session_id=session.id)
        self.socket = Sideband(
            ORIGIN,
            own_events=own_events,
            backlog=limits.MAX_SOCKET_BACKLOG,
            readers=sessions.directory.readers(project),
            log=self.log,
        )
        self._services = services
        self._sessions = sessions
        self._ids = ids
        self._decode = decode_transcription_event if transcribes else decode_client_event
        named = transcribes or start.model is not UNSET
        door = TranscriptionDoor if transcribes else SocketDoor
        self.engine = Engine(session, ids, options, now, model_named=named, own=start.offhook, door=door)
        lines = sessions.directory.lines
        self.line = SocketLine(self, sessions.listening, lines.options, lines.noise)
        self._conversing = converse(self, services)
        epoch_s = services.wall_s() - services.clock()
        prices = services.prices
        self._watch = Watch(services.metrics, seed=self.id.encode(), epoch_s=epoch_s, prices=prices, project=project.id)
        self._opened_s = services.wall_s()
        self._expires = now + session_s if session_s else None
        self._inbox: deque[talk.Input] = deque()
        self._working = False
        self._closed = False
        self._ended_s: float | None = None
        self._alarm = Alarm(self._wake, sessions.services.clock)
        can = services.backend.capabilities
        if ignored := without_effect(start, reasons=can.reasons, tells_speakers=can.tells_speakers):
            self.log.warning("session members without effect", members=",".join(ignored))

    @property
    def session(self) -> Session:
        """The session as it is now."""
        return self.engine.session

    def start(self) -> None:
        """Begin the conversation."""
        outputs = self.engine.start()
        self._perform_all(outputs)
        self._watch.open(self.engine.session, outputs, self._services.clock())
        self._arm()

    # -- for the socket

    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return (self._closed or not self.line.is_full) and self.socket.has_room()

    async def room(self) -> None:
        """Wait until more may be read: until what was sent is listened to, and what is to be told is taken."""
        while self.line.is_full and not self._closed:
            await self._sessions.listened()
        await self.socket.room()

    def hear_client(self, text: str | bytes) -> None:
        """Take what the client sent; of what comes after the end, nothing counts."""
        if self._closed:
            return
        event: talk.Input
        try:
            asked = self._decode(text)
            if type(asked) is InputAudioBufferAppend:
                self._hear_audio(asked)
                return
            event = talk.ClientSent(self._services.preparing.event(asked, self.project.id), ORIGIN)
        except ApiProblem as problem:
            event = talk.ClientErred(problem.code, problem.message, problem.param, event_id_of(text), ORIGIN)
        self.line.catch_up()
        self.take(event)

    def _hear_audio(self, event: InputAudioBufferAppend) -> None:
        """Take audio: most of what comes. It only waits to be listened to; nothing else follows from it yet."""
        try:
            self._perform_all(self.engine.handle(talk.ClientSent(event, ORIGIN), self._services.clock()))
        except Exception as bug:  # this session pays for it, the others go on
            self._fail(bug)

    # -- the loop

    def take(self, event: talk.Input) -> None:
        """Take what happened, and do what follows from it."""
        self._inbox.append(event)
        if self._working or self._closed:
            return
        self._working = True
        # Most of what a model makes is sound, and makes no deadline earlier; but a silence may begin behind it.
        is_sound = not self.engine.waiting.fills
        try:
            while self._inbox and not self._closed:
                event = self._inbox.popleft()
                is_sound = is_sound and type(event) is talk.AudioProduced
                self._do(event, self._services.clock())
        except Exception as bug:  # this session pays for it, the others go on
            self._fail(bug)
        finally:
            self._working = False
        if not is_sound:
            self._arm()

    def _fail(self, bug: Exception) -> None:
        """End this session; the others never hear of it."""
        self.log.error("session failed by a bug", failure=bug)
        self.close(FAILED)

    def _do(self, event: talk.Input, now: float) -> None:
        outputs = self.engine.handle(event, now)
        self._perform_all(outputs)
        self._watch.see(event, outputs, now)

    def _perform_all(self, outputs: list[do.Output]) -> None:
        for output in outputs:
            match output:
                case do.TakeInput(audio=audio, format=audio_format):
                    self.line.take(audio, audio_format)
                    self._sessions.has_news()
                case do.Hear(end_ms=end_ms):
                    self._conversing.perform(output)
                    self.line.release(end_ms)
                case _:
                    self._conversing.perform(output)

    def _arm(self) -> None:
        if not self._closed:
            self._alarm.set(self.engine.next_deadline())
            self._alarm.set(self._expires)

    def _wake(self) -> None:
        now = self._services.clock()
        if self._expires is not None and now >= self._expires:
            self._expire()
            return
        due = self.engine.next_deadline()
        if due is not None and now >= due:
            self.take(talk.DeadlinePassed())
        else:
            self._arm()

    # -- telling

    def broadcast(self, text: bytes) -> None:
        """Send an event."""
        self.socket.put(text)

    def send_to(self, number: int, text: bytes) -> None:
        """Send an event; there is one socket."""
        del number
        self.socket.put(text)

    def note_use(self, used: Used) -> None:
        """Take down what a model did; of an answer that the end cut, that is known after the end."""
        self._watch.cost.add(used)
        if self._closed and self._services.prices:
            self._save()

    def bill_parts(self, item_id: str) -> None:
        """The words of a turn are the work of parts that tell it themselves."""
        self._watch.bill_parts(item_id)

    def bill_stand_in(self, run: int, name: str) -> None:
        """A response is the work of another backend than the one that was asked."""
        self._watch.bill_stand_in(run, name)

    def finish_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something that goes on beyond the end come to its own."""
        self._sessions.directory.part_with(work)

    # -- the end

    def _expire(self) -> None:
        reason = expired_reason(self._services.options.call.session_s)
        details = ErrorDetails(type="invalid_request_error", code="session_expired", message=reason)
        self.end(Closing(1001, reason), ErrorEvent(event_id=self._ids.event(), error=details))

    def end(self, closing: Closing, last: ErrorEvent | None = None) -> None:
        """End the conversation: responses in progress are cancelled, all is told, then the socket closes."""
        if self._closed:
            return
        now = self._services.clock()
        outputs = self.engine.close(now)
        self._perform_all(outputs)
        self._watch.see(None, outputs, now)
        if last is not None:
            self.broadcast(encode_event(last))
        self.close(closing)

    def close(self, closing: Closing) -> None:
        """Let go of everything; the socket is closed when it has been told what it was to be told."""
        self.socket.close(closing)
        if self._closed:
            return
        self._closed = True
        self._ended_s = self._services.wall_s()
        self._inbox.clear()
        self._alarm.cancel()
        self._conversing.close()
        self.line.close()
        if spans := self._watch.close(self._services.clock()):
            for sink in self._services.span_sinks:
                sink.save_spans(self.id, spans)
        self._save()
        self._sessions.ended(self)

    def _save(self) -> None:
        if self._services.store is not None:
            self._services.store.save(self._record())

    def _record(self) -> dict[str, Any]:
        """Return what is kept of the session: what it was, how it ended, and what it has used."""
        closing = self.socket.closing
        return {
            "object": "offhook.session",
            "id": self.id,
            "project": self.project.id,
            "type": "realtime" if self.engine.door.answers else "transcription",
            "model": self.session.model,
            "came_in_at": self._opened_s,
            "ended_at": self._ended_s,
            "end": None if closing is None else {"code": closing.code, "reason": closing.reason},
            "usage": self._watch.usage_shown(),
            "cost": self._watch.cost.shown(),
        }


def expired_reason(session_s: float) -> str:
    """Return the service's own words, which it has for 60 minutes."""
    unit, count = ("minute", session_s / 60) if session_s >= 60 and session_s % 60 == 0 else ("second", session_s)
    return f"Your session hit the maximum duration of {count:g} {unit}{'' if count == 1 else 's'}."
