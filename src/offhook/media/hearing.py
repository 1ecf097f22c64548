"""What all legs hear, in batches: levels at once, voices about every 10 ms, and the turns that follow from both.

A leg is listened to only while there is something to hear. Half a second after the last energy its windows are no
longer judged: that is most of a call for most callers, and the network's memory is the better for it. Fed with ten
seconds of silence it notices the next word 45 ms later and misses twice as much of it (measured on recorded prompts, on
lines from digital silence to -42 dBFS of noise); left as it was, it does not.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from offhook.audio import g711
from offhook.audio import turn as turns
from offhook.audio.g711 import Codec
from offhook.audio.level import STEP_MS, levels_of_g711
from offhook.audio.turn import TurnEvent, TurnOptions
from offhook.media import limits
from offhook.media.edge import Edge, SpeechStarted, SpeechStopped
from offhook.media.leg import Leg
from offhook.media.limits import TICKS_PER_MS
from offhook.media.vad import VoiceDetector

_STEP = STEP_MS * TICKS_PER_MS


class Hearing:
    """Listens to all legs. Without a detector no turns are found and nothing is spent on them."""

    def __init__(self, detector: VoiceDetector | None) -> None:
        self._detector = detector
        self._legs: dict[str, Leg] = {}
        self._free_rows: list[int] = []
        self._rows = 0
        self._window = detector.window_samples if detector else 0
        self._context = detector.context_samples if detector else 0
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
        self._start(leg)

    def close(self, leg: Leg) -> None:
        """Stop listening to a leg."""
        if self._legs.pop(leg.id, None) is not None:
            self._free_rows.append(leg.row)

    def configure(self, leg: Leg, options: TurnOptions | None) -> None:
        """Change a leg's turn detection."""
        was_on = leg.turns.on
        leg.turns.configure(options)
        if options is not None and not was_on:
            self._start(leg)

    def levels(self, legs: Iterable[Leg], edges: list[Edge]) -> None:
        """Take what came in on these legs since the last time."""
        for codec in Codec:
            batch: list[tuple[Leg, int]] = []
            payloads: list[bytes | bytearray] = []
            for leg in legs:
                fresh = leg.inbound.fresh
                if leg.inbound.codec is not codec or not fresh:
                    continue
                if self._detector is not None and leg.turns.on:
                    leg.unjudged += fresh
                if leg.rest or len(fresh) % _STEP:
                    leg.rest += fresh
                    whole = len(leg.rest) // _STEP * _STEP
                    payloads.append(leg.rest[:whole])
                    del leg.rest[:whole]
                else:
                    payloads.append(fresh)
                batch.append((leg, len(payloads[-1]) // _STEP))
                leg.inbound.fresh = bytearray()
            if not batch:
                continue
            levels = levels_of_g711(b"".join(payloads), codec, _STEP)
            start = 0
            for leg, steps in batch:
                events = leg.turns.hear(levels[start : start + steps])
                start += steps
                if events:
                    _report(leg, events, edges)

    def voices(self, edges: list[Edge]) -> None:
        """Judge the windows that are whole, of all legs in one batch, as few times as may be."""
        if self._detector is None:
            return
        whole = self._window
        for _ in range(limits.VAD_ROUNDS):
            ready = [leg for leg in self._legs.values() if len(leg.unjudged) >= self._context + whole]
            if not ready:
                break
            asked = [leg for leg in ready if leg.turns.awake]
            if len(asked) < len(ready):
                for leg in ready:
                    if not leg.turns.awake:
                        self.skipped += 1
                        self._judge(leg, 0.0, edges)
            if asked:
                self.judged += len(asked)
                for leg, probability in zip(asked, self._ask(self._detector, asked), strict=True):
                    self._judge(leg, probability, edges)
        self.queued = sum(max(len(leg.unjudged) - self._context, 0) // whole for leg in self._legs.values())

    def _start(self, leg: Leg) -> None:
        """Begin a leg's windows where its line is now."""
        leg.unjudged = bytearray(leg.inbound.codec.silence * self._context)
        leg.judged = leg.inbound.jitter.line_end - len(leg.inbound.fresh)
        if self._detector is not None:
            self._detector.reset(leg.row)

    def _ask(self, detector: VoiceDetector, legs: list[Leg]) -> list[float]:
        length = self._context + self._window
        payload = b"".join([leg.unjudged[:length] for leg in legs])
        codes = np.frombuffer(payload, np.uint8).reshape(len(legs), length)
        codecs = np.array([leg.inbound.codec for leg in legs])
        rows = np.array([leg.row for leg in legs])
        probabilities: list[float] = detector.judge(rows, g711.decode_rows(codes, codecs)).tolist()
        return probabilities

    def _judge(self, leg: Leg, probability: float, edges: list[Edge]) -> None:
        del leg.unjudged[: self._window]
        leg.judged += self._window
        if not leg.turns.on:
            return
        events = leg.turns.judge(probability, leg.judged // TICKS_PER_MS)
        if events:
            _report(leg, events, edges)


def _report(leg: Leg, events: list[TurnEvent], edges: list[Edge]) -> None:
    for event in events:
        match event:
            case turns.SpeechStarted(start_ms=start_ms, audio_from_ms=audio_from_ms, decided_ms=decided_ms):
                edges.append(SpeechStarted(leg.id, start_ms, audio_from_ms, decided_ms))
            case turns.SpeechStopped(start_ms=start_ms, end_ms=end_ms, decided_ms=decided_ms):
                edges.append(SpeechStopped(leg.id, end_ms, start_ms, decided_ms))
