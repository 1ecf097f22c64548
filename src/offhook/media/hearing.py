"""What all legs hear, in batches: levels at once, voices about every 10 ms, and the turns that follow from both.

A leg is listened to only while there is something to hear. Half a second after the last energy its windows are no
longer judged: that is most of a call for most callers, and the network's memory is the better for it. Fed with ten
seconds of silence it notices the next word 45 ms later and misses twice as much of it (measured on recorded prompts, on
lines from digital silence to -42 dBFS of noise); left as it was, it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from offhook.audio import g711
from offhook.audio import turn as turns
from offhook.audio.g711 import Codec
from offhook.audio.level import STEP_MS, levels_of_g711
from offhook.audio.turn import TurnEvent, TurnOptions
from offhook.media import limits
from offhook.media.edge import Edge, SpeechPaused, SpeechResumed, SpeechStarted, SpeechStopped
from offhook.media.leg import Leg
from offhook.media.limits import TICKS_PER_MS
from offhook.media.vad import VoiceDetector

_STEP = STEP_MS * TICKS_PER_MS
_PCMU = Codec.PCMU  # Python 3.11 finds a member of an enum by a descriptor, at several times the cost of a comparison.


class Hearing:
    """Listens to all legs. Without a detector no turns are found and nothing is spent on them."""

    def __init__(self, detector: VoiceDetector | None) -> None:
        self._detector = detector
        self._legs: dict[str, Leg] = {}
        self._free_rows: list[int] = []
        self._rows = 0
        self._window = detector.window_samples if detector else 0
        self._context = detector.context_samples if detector else 0
        self.heard: list[tuple[Leg, bytes]] = []
        """What has come in and not been taken by `levels`: each leg puts it here."""
        self.judged = 0
        """Windows judged."""
        self.skipped = 0
        """Windows that needed no judgement."""
        self.queued = 0
        """Windows that were ready and had to wait after the last run."""

    def open(self, leg: Leg) -> None:
        """Begin to listen to a leg."""
        if not self._free_rows:
            self._free_rows.append(self._rows)
            self._rows += 1
        leg.row = self._free_rows.pop()
        self._legs[leg.id] = leg
        if leg.turns.on:
            self._start(leg)

    def close(self, leg: Leg) -> None:
        """Stop listening to a leg; what it has said last is forgotten."""
        if self._legs.pop(leg.id, None) is not None:
            self._free_rows.append(leg.row)
            self.heard[:] = [each for each in self.heard if each[0] is not leg]

    def configure(self, leg: Leg, options: TurnOptions | None) -> None:
        """Change a leg's turn detection."""
        was_on = leg.turns.on
        leg.turns.configure(options)
        if was_on != leg.turns.on:
            self._start(leg)

    def end_turn(self, leg: Leg, edges: list[Edge]) -> None:
        """End a leg's turn in its pause."""
        _report(leg, leg.turns.end(), edges)

    @property
    def ready(self) -> bool:
        """Whether there is something to judge."""
        if self.heard:
            return True
        whole = self._context + self._window
        if whole:
            for leg in self._legs.values():
                if len(leg.unjudged) >= whole:
                    return True
        return False

    def levels(self, edges: list[Edge]) -> None:
        """Take what came in on all legs since the last time."""
        if self._detector is None:
            self.heard.clear()
            return
        mu_law: list[tuple[Leg, bytes]] = []
        a_law: list[tuple[Leg, bytes]] = []
        for each in self.heard:
            leg, piece = each
            if leg.listening:
                leg.unjudged += piece
            batch = mu_law if leg.codec is _PCMU else a_law
            if leg.rest or len(piece) % _STEP:
                batch.append((leg, _whole_steps(leg.rest, piece)))
            else:
                batch.append(each)
        self.heard.clear()
        for codec, batch in ((Codec.PCMU, mu_law), (Codec.PCMA, a_law)):
            if not batch:
                continue
            levels = levels_of_g711(b"".join([piece for _, piece in batch]), codec, _STEP)
            start = 0
            for leg, piece in batch:
                end = start + len(piece) // _STEP
                events = leg.turns.hear(levels[start:end])
                start = end
                if events:
                    _report(leg, events, edges)

    def voices(self, edges: list[Edge]) -> None:
        """Judge the windows that are whole, of all legs in one batch, as few times as may be."""
        if self._detector is None:
            return
        whole = self._context + self._window
        ready = [leg for leg in self._legs.values() if len(leg.unjudged) >= whole]
        for _ in range(limits.VAD_ROUNDS):
            if not ready:
                break
            asked = []
            for leg in ready:
                if leg.turns.awake:
                    asked.append(leg)
                else:
                    self.skipped += 1
                    self._judge(leg, 0.0, edges)
            if asked:
                self.judged += len(asked)
                for leg, probability in zip(asked, self._ask(self._detector, asked), strict=True):
                    self._judge(leg, probability, edges)
            ready = [leg for leg in ready if len(leg.unjudged) >= whole]
        self.queued = sum((len(leg.unjudged) - self._context) // self._window for leg in ready)

    def _start(self, leg: Leg) -> None:
        """Begin a leg's windows where its line is now."""
        leg.listening = self._detector is not None and leg.turns.on
        leg.unjudged = bytearray(leg.codec.silence * self._context if leg.listening else b"")
        leg.judged = leg.inbound.jitter.line_end
        if self._detector is not None:
            self._detector.reset(leg.row)

    def _ask(self, detector: VoiceDetector, legs: list[Leg]) -> list[float]:
        length = self._context + self._window
        payload = b"".join([leg.unjudged[:length] for leg in legs])
        codec = legs[0].codec
        if all(leg.codec is codec for leg in legs):
            windows = g711.decode(payload, codec).reshape(-1, length)
        else:
            codes = np.frombuffer(payload, np.uint8).reshape(-1, length)
            windows = g711.decode_rows(codes, np.array([leg.codec for leg in legs]))
        rows = np.array([leg.row for leg in legs])
        probabilities: list[float] = detector.judge(rows, windows).tolist()
        return probabilities

    def _judge(self, leg: Leg, probability: float, edges: list[Edge]) -> None:
        del leg.unjudged[: self._window]
        leg.judged += self._window
        events = leg.turns.judge(probability, leg.judged // TICKS_PER_MS)
        if events:
            _report(leg, events, edges)


def _whole_steps(rest: bytearray, piece: bytes) -> bytes:
    """Return the whole steps of what was left over and what came now; leave over what is not whole."""
    rest += piece
    whole = bytes(rest[: len(rest) // _STEP * _STEP])
    del rest[: len(whole)]
    return whole


def _report(leg: Leg, events: Sequence[TurnEvent], edges: list[Edge]) -> None:
    for event in events:
        match event:
            case turns.SpeechStarted(start_ms=start_ms, audio_from_ms=audio_from_ms, decided_ms=decided_ms):
                leg.last_turn_ms = (audio_from_ms, decided_ms)
                edges.append(SpeechStarted(leg.id, start_ms, audio_from_ms, decided_ms))
            case turns.SpeechPaused(end_ms=end_ms, decided_ms=decided_ms):
                edges.append(SpeechPaused(leg.id, end_ms, decided_ms))
            case turns.SpeechResumed(decided_ms=decided_ms):
                edges.append(SpeechResumed(leg.id, decided_ms))
            case turns.SpeechStopped(start_ms=start_ms, end_ms=end_ms, decided_ms=decided_ms):
                leg.last_turn_ms = (leg.last_turn_ms[0], decided_ms)
                edges.append(SpeechStopped(leg.id, end_ms, start_ms, decided_ms))
