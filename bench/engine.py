"""The conversation machine by itself, in memory: events a second on one core, and what a delta of audio costs.

    python bench/engine.py [--rounds 5] [--turns 300] [--profile]

A conversation by telephone and one on a socket of its own, both at their busiest: the caller speaks, is transcribed
(and on the socket brings the audio), the model answers in thirty words and six seconds of sound, every third answer is
interrupted, every fourth calls a function. "Events" are what happened to the engine, and what it sends about it;
encoding and asking for the next deadline are in the time, as on a server. The floor is msgspec alone, which encodes the
same server events.
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness import ROOT, Table, median, options

PIECE_MS = 100
PIECE = bytes(range(256)) * 18 + bytes(192)
WORDS = [f" word{number}" for number in range(30)]
PIECES = 60


@dataclass(slots=True)
class Spent:
    """What a conversation took."""

    inputs: int = 0
    sent: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Events a second, those that came in and those that went out."""
        return (self.inputs + self.sent) / self.seconds


class Talk:
    """One conversation, fed by hand."""

    def __init__(self, *, on_socket: bool) -> None:
        from offhook.call.tokens import TokenStream
        from offhook.session import inputs, outputs
        from offhook.session.door import TelephoneDoor
        from offhook.session.engine import Engine
        from offhook.session.options import EngineOptions
        from offhook.session.settings import SessionDefaults, start_session
        from offhook.session.socket import SocketDoor
        from offhook.wire import client_events
        from offhook.wire.ids import Ids
        from offhook.wire.session import PcmFormat, PcmuFormat, SessionParams

        self.happened, self.do, self.asked = inputs, outputs, client_events
        self.on_socket = on_socket
        session = start_session(
            SessionParams(type="realtime"),
            session_id="sess_1",
            audio_format=PcmFormat() if on_socket else PcmuFormat(),
            expires_at=0,
            defaults=SessionDefaults(),
            formats_given=on_socket,
        )
        self.engine = Engine(
            session,
            Ids(TokenStream(bytes(16))),
            EngineOptions(needs_transcripts=True, tokens_per_minute=10**9),
            0.0,
            model_named=True,
            door=SocketDoor if on_socket else TelephoneDoor,
        )
        self.engine.start()
        self.now = 0.0
        self.run = 0
        self.item_id = ""

    def turns(self, count: int) -> Iterator[Any]:
        """What happens, in order; what the engine decides meanwhile is in ``run`` and ``item_id``."""
        happened, asked = self.happened, self.asked
        append = happened.ClientSent(asked.InputAudioBufferAppend(audio=base64.b64encode(PIECE).decode()), 1)
        for number in range(count):
            start_ms = round(self.now * 1000) + 300
            yield happened.VoiceStarted(start_ms)
            for _ in range(20):
                self.now += 0.1
                if self.on_socket:
                    yield append
            end_ms = start_ms + 1500
            yield happened.VoicePaused(end_ms, end_ms + 200)
            yield happened.VoiceStopped(end_ms, end_ms + 500)
            item_id = self.item_id
            for word in WORDS[:8]:
                yield happened.TranscriptGrew(item_id, word)
            yield happened.TranscriptCompleted(item_id, "".join(WORDS[:8]), 1.5)
            yield from self.answer(number)

    def answer(self, number: int) -> Iterator[Any]:
        """The model's part of a turn, and what is played of it."""
        happened, run = self.happened, self.run
        calls, interrupted = number % 4 == 3, number % 3 == 2
        for word in WORDS:
            yield happened.TextProduced(run, word)
        for piece in range(PIECES):
            self.now += PIECE_MS / 1000 / 4
            yield happened.AudioProduced(run, PIECE, 24000, float(PIECE_MS))
            if not self.on_socket:
                yield (
                    happened.PlayoutStarted(run) if not piece else happened.PlayoutAdvanced(run, piece * PIECE_MS // 4)
                )
        if calls:
            yield happened.ToolCallStarted(run, 0, "look_up", f"call_{number}")
            for _ in range(8):
                yield happened.ToolArgumentsProduced(run, 0, '{"city"')
        if interrupted:
            at_ms = round(self.now * 1000)
            yield happened.VoiceStarted(at_ms)
            if not self.on_socket:
                yield happened.PlayoutStopped(run, 1500)
            yield happened.VoiceStopped(at_ms - 400, at_ms + 600)
            return
        yield happened.GenerationFinished(run)
        if not self.on_socket:
            for piece in range(PIECES // 4, PIECES):
                self.now += PIECE_MS / 1000
                yield happened.PlayoutAdvanced(run, piece * PIECE_MS)
            yield happened.PlayoutFinished(run, PIECES * PIECE_MS)

    def take(self, outputs: list[Any]) -> None:
        """Note what the engine wants that the script builds on."""
        do = self.do
        for output in outputs:
            if type(output) is do.Generate:
                self.run = output.run
            elif type(output) is do.Hear:
                self.item_id = output.item_id


def script(*, on_socket: bool, turns: int) -> list[tuple[Any, float]]:
    """What happens in a conversation, and when. Ids come from a seed, so it is the same every time."""
    talk = Talk(on_socket=on_socket)
    happening = []
    for happened in talk.turns(turns):
        happening.append((happened, talk.now))
        talk.take(talk.engine.handle(happened, talk.now))
    return happening


def converse(happening: list[tuple[Any, float]], *, on_socket: bool) -> tuple[Spent, list[Any]]:
    """Have a conversation; what it took, with the encoding, and the server events of it."""
    from offhook.wire.server_events import encode_event

    talk = Talk(on_socket=on_socket)
    events: list[Any] = []
    handle, next_deadline, send = talk.engine.handle, talk.engine.next_deadline, talk.do.Send
    began = time.process_time()
    for happened, now in happening:
        for output in handle(happened, now):
            if type(output) is send:
                events.append(output.event)
                encode_event(output.event)
        next_deadline()
    return Spent(len(happening), len(events), time.process_time() - began), events


def floor_s(events: list[Any]) -> float:
    """Seconds to encode the events, and nothing else."""
    from offhook.wire.server_events import encode_event

    began = time.process_time()
    for event in events:
        encode_event(event)
    return time.process_time() - began


def main() -> int:
    """Measure, and print the table."""
    given = options(__doc__, rounds=5, turns=300, profile=False)
    if given.profile:
        from cProfile import Profile

        for on_socket in (False, True):
            happening = script(on_socket=on_socket, turns=given.turns)
            with Profile() as profile:
                converse(happening, on_socket=on_socket)
            profile.print_stats("tottime")
        return 0
    table = Table("The conversation machine")
    for on_socket in (False, True):
        rates, floors = [], []
        happening = script(on_socket=on_socket, turns=given.turns)
        for _ in range(given.rounds):
            spent, events = converse(happening, on_socket=on_socket)
            rates.append(spent.rate)
            floors.append((spent.inputs + spent.sent) / floor_s(events))
        name = "on a socket of its own" if on_socket else "by telephone"
        beside = f"msgspec alone {median(floors):,.0f}; {spent.inputs} in, {spent.sent} out"
        table.add(f"events a second, {name}", median(rates), 100_000, "/s", most=False, beside=beside)
    return table.show()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    sys.exit(main())
