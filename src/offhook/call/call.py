"""A call with its conversation: the machine that rings and ends, joined with the one that talks.

Everything that can be decided about a call is decided here, without I/O, so that a journal can be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from offhook.call import machine as telephone
from offhook.call.end import End
from offhook.call.machine import CallInput, CallMachine, CallOptions, CallOutput
from offhook.call.tokens import TokenStream
from offhook.session import inputs as talk
from offhook.session.engine import Engine
from offhook.session.inputs import Input as SessionInput
from offhook.session.options import EngineOptions
from offhook.session.outputs import Output as SessionOutput
from offhook.session.outputs import Send
from offhook.session.settings import start_session
from offhook.wire.ids import Ids
from offhook.wire.server_events import (
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionSegment,
)
from offhook.wire.session import AudioFormat, SessionParams

Input = CallInput | SessionInput
Output = CallOutput | SessionOutput

_TELEPHONE_INPUTS = frozenset(telephone.CallInput.__args__)
_LAST_WORDS = frozenset((talk.TranscriptGrew, talk.SegmentHeard, talk.TranscriptCompleted, talk.TranscriptFailed))
_TOLD_LATE = (TranscriptionDelta, TranscriptionSegment, TranscriptionCompleted, TranscriptionFailed)


class Call:
    """One call. ``handle`` takes what happened, ``pass_deadline`` the time; both return what to do, in order."""

    def __init__(self, call_id: str, seed: bytes, options: CallOptions, now: float) -> None:
        self.id = call_id
        self.seed = seed
        self.began = now
        self.ids = Ids(TokenStream(seed))
        self.machine = CallMachine(options, now)
        self.engine: Engine | None = None

    @property
    def end(self) -> End | None:
        """How the call ended; None while it goes on."""
        return self.machine.end

    def start(self) -> Sequence[Output]:
        """Return what to do first, when the application decides about the call."""
        return self.machine.start()

    def open_session(
        self,
        params: SessionParams,
        *,
        audio_format: AudioFormat,
        expires_at: int,
        options: EngineOptions,
        now: float,
    ) -> Sequence[Output]:
        """Begin the conversation, with the codec that was negotiated."""
        session = start_session(
            params,
            session_id=self.ids.session(self.id),
            audio_format=audio_format,
            expires_at=expires_at,
            defaults=options.defaults,
        )
        self.engine = Engine(session, self.ids, options, now, model_named=params.model is not UNSET, own=params.offhook)
        return self.engine.start()

    def handle(self, event: Input, now: float) -> Sequence[Output]:
        """Take what happened."""
        if type(event) in _TELEPHONE_INPUTS:
            outputs: list[Output] = []
            for output in self.machine.handle(event, now):  # type: ignore[arg-type]
                if isinstance(output, telephone.Finish) and self.engine is not None:
                    outputs += self.engine.close(now)
                outputs.append(output)
            return outputs
        if self.engine is None:
            return ()
        if self.end is None:
            return self.engine.handle(event, now)  # type: ignore[arg-type]
        if type(event) not in _LAST_WORDS:
            return ()
        # What the caller said before the end is still told; nothing more is done about it.
        told = self.engine.handle(event, now)  # type: ignore[arg-type]
        return [output for output in told if isinstance(output, Send) and isinstance(output.event, _TOLD_LATE)]

    def forget_conversation(self) -> None:
        """Let go of the conversation of a call that has ended: nothing of it is told any more."""
        if self.engine is not None:
            self.engine.take_apart()
            self.engine = None

    def next_deadline(self) -> float | None:
        """Return when ``pass_deadline`` has something to do."""
        own = self.machine.next_deadline()
        if self.engine is None or self.end is not None:
            return own
        other = self.engine.next_deadline()
        if own is None or other is None:
            return own if other is None else other
        return min(own, other)

    def pass_deadline(self, now: float) -> Sequence[Output]:
        """Do what is due."""
        outputs: list[Output] = []
        due = self.machine.next_deadline()
        if due is not None and now >= due:
            outputs += self.handle(telephone.DeadlinePassed(), now)
        if self.engine is not None and self.end is None:
            due = self.engine.next_deadline()
            if due is not None and now >= due:
                outputs += self.handle(talk.DeadlinePassed(), now)
        return outputs
