"""Carries out what a conversation wants whose model is an upstream socket; all but the model is as always."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Final, assert_never

from offhook.call.call import Output
from offhook.call.tokens import TokenStream
from offhook.host.converser import Converser
from offhook.host.conversing import Conversing
from offhook.host.services import Services
from offhook.host.standing_in import StandIn
from offhook.model.metering import used_tokens
from offhook.model.relay import RelayBackend, Upstream, UpstreamLostError
from offhook.net.alarm import Alarm
from offhook.session import outputs as do
from offhook.session.input_audio import linear
from offhook.session.relay import steps
from offhook.session.relay.machine import TOLD, Relay
from offhook.wire.ids import Ids

_CONNECTIONS: Final = "offhook_upstream_connections_total"


def converse(owner: Converser, services: Services) -> Conversing:
    """Return what carries out a conversation, on an upstream socket if that is the model."""
    backend = services.backend
    return Relaying(owner, services, backend) if isinstance(backend, RelayBackend) else Conversing(owner, services)


class Relaying(Conversing):
    """One conversation with its socket upstream, which is opened when the session begins, and ends with it."""

    def __init__(self, owner: Converser, services: Services, backend: RelayBackend) -> None:
        super().__init__(owner, services)
        self._backend = backend
        self._relay: Relay | None = None
        self._upstream: Upstream | None = None
        self._socket: asyncio.Task[None] | None = None
        self._events: deque[steps.Input] = deque()
        self._working = False
        self._alarm = Alarm(lambda: self._take(steps.DeadlinePassed()), services.clock)
        self._words_came = asyncio.Event()
        self._stand_in: StandIn | None = None
        self._turns = do.ConfigureTurns(None)
        self._finds_turns = True
        self._last_words: asyncio.Task[None] | None = None

    # -- what the conversation wants

    def perform(self, output: Output) -> None:
        """Do one thing that the conversation wants."""
        if self._relay is None:
            self._begin()
        match output:
            case do.Generate():
                self._take(steps.Requested(output))
            case do.CancelGeneration(run=run):
                self._take(steps.Cancelled(run))
                if self._stand_in is not None:
                    self._stand_in.perform(output)
            case do.Hear(item_id=item_id, start_ms=start_ms, end_ms=end_ms, transcription=wanted):
                self._drop_early()
                speech = self._speech(start_ms, end_ms)
                turn = steps.TurnSpoken(item_id, start_ms, end_ms, speech.pcm, speech.rate_hz, wanted is not None)
                self._take(turn)
            case do.HearGiven(item_id=item_id, audio=audio, format=audio_format, transcription=wanted):
                pcm, rate_hz = linear(audio, audio_format)
                self._take(steps.AudioGiven(item_id, pcm, rate_hz, wanted is not None))
            case do.ConfigureTurns():
                self._turns = output
                if self._finds_turns:
                    super().perform(output)
            case do.HearEarly(tell=False) | do.HearSoFar():
                pass  # Upstream hears whole turns.
            case do.Send(event=event):
                super().perform(output)
                if type(event) in TOLD:
                    self._take(steps.Told(event))
            case _:
                super().perform(output)

    @property
    def hearing(self) -> frozenset[asyncio.Task[None]]:
        """What is still being transcribed, upstream or by who stands in."""
        here: frozenset[asyncio.Task[None]] = frozenset() if self._stand_in is None else self._stand_in.hearing
        if self._last_words is None:
            if self._relay is None or not self._relay.awaits_words:
                return here
            self._last_words = self._spawn(self._hear_last_words())
        return here | {self._last_words}

    async def _hear_last_words(self) -> None:
        while self._relay is not None and self._relay.awaits_words:
            self._words_came.clear()
            await self._words_came.wait()

    def stop_speaking(self) -> None:
        """Stop what the models still want to say."""
        super().stop_speaking()
        if self._stand_in is not None:
            self._stand_in.stop_speaking()

    def close(self) -> None:
        """Stop everything that is under way."""
        super().close()
        if self._stand_in is not None:
            self._stand_in.close()
        if self._relay is not None:
            self._do_all(self._relay.close())
        if self._last_words is not None:
            self._last_words.cancel()
        if self._socket is not None and not self._socket.done():
            self._socket.cancel()
            self._owner.finish_later(_end_of(self._socket))
        self._alarm.cancel()

    # -- the machine

    def _begin(self) -> None:
        session = self._owner.session
        assert session is not None
        ids = Ids(TokenStream(self._services.seed()))
        self._relay = Relay(self._backend.machine_options, session, ids, self._services.clock())
        self._do_all(self._relay.start())

    def _take(self, event: steps.Input) -> None:
        """Take what happened; what follows from what follows waits until its turn."""
        self._events.append(event)
        if self._working or self._relay is None:
            return
        self._working = True
        only_told = True  # Most of what happens is that upstream goes on, which makes no deadline earlier.
        try:
            while self._events:
                event = self._events.popleft()
                only_told = only_told and type(event) is steps.UpstreamSent
                self._do_all(self._relay.handle(event, self._services.clock()))
        finally:
            self._working = False
        if self._last_words is not None:
            self._words_came.set()
        if not (only_told and self._alarm.is_set):
            self._alarm.set(self._relay.next_deadline())

    def _do_all(self, outputs: list[steps.Output]) -> None:
        for output in outputs:
            self._do(output)

    def _do(self, output: steps.Output) -> None:
        match output:
            case steps.SendUpstream(text=text):
                if self._upstream is not None and not self._upstream.send(text):
                    self._hang_up("it does not read what it is sent")
            case steps.Tell(event=event):
                self._owner.take(event)
            case steps.ReadInput(start_ms=start_ms, end_ms=end_ms, frees=frees):
                speech = self._speech(start_ms, end_ms)
                self._take(steps.SpokenSoFar(start_ms, speech.pcm, speech.rate_hz))
                if frees and self._owner.line is not None:
                    self._owner.line.release(start_ms)
            case steps.HandOver():
                self._hand_over(output)
            case steps.HearInstead(turn=unheard):
                self._other().hear(unheard)
            case steps.FindTurns(here=here):
                self._find_turns(here=here)
            case steps.Connect(model=model):
                self._socket = self._spawn(self._run(Upstream(self._backend.options, model, self._services.clock)))
            case steps.Disconnect(why=why):
                self._hang_up(why)
            case steps.Warn(what=what, why=why):
                self._owner.log.warning(what, why=why)
            case steps.NoteUsage(usage=usage, is_estimated=is_estimated):
                used = used_tokens("backend", self._services.prices.whole, usage)
                self._owner.note_use(replace(used, estimated=is_estimated))
            case _:
                assert_never(output)

    def _hand_over(self, wanted: steps.HandOver) -> None:
        """Let somebody else answer, or say that nobody does."""
        failure = wanted.failure
        self._owner.log.warning("upstream did not answer", code=failure.code, why=failure.message, run=failure.run)
        if self._backend.reserve.stand_in is not None:
            self._backend.stood_in += 1
        self._other().take_over(wanted)

    def _other(self) -> StandIn:
        if self._stand_in is None:
            self._stand_in = StandIn(self._owner, self._services, self._backend.reserve)
        return self._stand_in

    def _find_turns(self, *, here: bool) -> None:
        """Find the caller's turns here, or leave that to upstream."""
        self._finds_turns = here
        super().perform(self._turns if here else do.ConfigureTurns(None))
        line = self._owner.line
        if not here and line is not None:
            self._take(steps.InputStands(line.input_ms))

    # -- the socket

    async def _run(self, upstream: Upstream) -> None:
        lost = steps.ConnectionLost("the connection task ended")
        try:
            await upstream.run(lambda: self._opened(upstream), self._hear_upstream)
        except UpstreamLostError as failure:
            lost = steps.ConnectionLost(failure.why, failure.is_refused)
        except Exception as bug:  # this session is without its model for a moment, the others never hear of it
            self._owner.log.error("relay failed", failure=bug)
            lost = steps.ConnectionLost("a bug")
        finally:
            if self._upstream is upstream:
                self._upstream = None
                self._backend.sockets -= 1
        self._count(lost)
        self._take(lost)

    def _count(self, lost: steps.ConnectionLost) -> None:
        if lost.is_refused:
            self._backend.refused += 1
        else:
            self._backend.lost += 1
        self._services.metrics.count(_CONNECTIONS, result="refused" if lost.is_refused else "lost")

    def _opened(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._backend.sockets += 1
        self._services.metrics.count(_CONNECTIONS, result="opened")
        session = self._owner.session
        assert session is not None
        self._take(steps.Connected(session))

    def _hear_upstream(self, text: bytes) -> None:
        self._take(steps.UpstreamSent(text))

    def _hang_up(self, why: str) -> None:
        """Let go of the socket, and say so once."""
        if self._upstream is None:
            return
        self._upstream = None
        self._backend.sockets -= 1
        if self._socket is not None:
            self._socket.cancel()
            self._owner.finish_later(_end_of(self._socket))
        lost = steps.ConnectionLost(why)
        self._count(lost)
        self._take(lost)


async def _end_of(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
