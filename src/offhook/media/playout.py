"""What is still to be said on a leg, and the exact count of what was.

Sound comes in runs (one run is one generation of a model) and chunks of any size and rate. It is converted a little
ahead of its time, handed out 20 ms at a time, and counted by the sample.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.audio.resample import Resampler
from offhook.media import limits
from offhook.media.edge import (
    Edge,
    FillerEnded,
    Played,
    PlayoutFinished,
    PlayoutOverflowed,
    PlayoutStarted,
    PlayoutStopped,
)
from offhook.media.filler import Filler
from offhook.media.limits import FRAME_TICKS, RATE_HZ, TICKS_PER_MS

_TOLD_TICKS: Final = 100 * TICKS_PER_MS  # How often `Played` is said.


class _Run:
    """One run: chunks as they came, and the part that is converted already."""

    __slots__ = ("chunks", "finished", "number", "overflowed", "place", "ready", "resampler", "sent", "told")

    def __init__(self, number: int) -> None:
        self.number = number
        self.chunks: deque[tuple[Samples, int]] = deque()
        self.ready = b""
        self.place = 0  # How much of what is ready has been handed out.
        self.resampler: Resampler | None = None
        self.sent = 0
        self.told = _TOLD_TICKS  # How much must have been sent before it is told again.
        self.finished = False
        self.overflowed = False

    @property
    def over(self) -> bool:
        """Whether its last sample has been handed out."""
        return self.finished and self.place == len(self.ready) and not self.chunks and self.resampler is None


class Playout:
    """The queue of one leg. `take` is called once a frame; edges are put on the list that each call is given."""

    __slots__ = (
        "_codec",
        "_filler",
        "_leg",
        "_limit_ms",
        "_newest",
        "_queued_ms",
        "_runs",
        "_stale_through",
        "refused",
        "stale",
        "underruns",
    )

    def __init__(self, leg: str, codec: Codec, limit_ms: int = limits.PLAYOUT_MS) -> None:
        self._leg = leg
        self._codec = codec
        self._filler: Filler | None = None
        self._limit_ms = limit_ms
        self._runs: deque[_Run] = deque()
        self._queued_ms = 0.0
        self._newest = -1
        self._stale_through = -1
        self.refused = 0
        """Chunks refused because the queue was full."""
        self.stale = 0
        """Chunks of runs that had been stopped or finished before."""
        self.underruns = 0
        """Frames in which a run had begun and had nothing to say."""

    @property
    def queued_ms(self) -> float:
        """How much sound waits, apart from what has been converted ahead."""
        return self._queued_ms

    @property
    def idle(self) -> bool:
        """Whether there is nothing to play and nothing to expect."""
        return not self._runs and self._filler is None

    def recode(self, codec: Codec) -> None:
        """Go on with another law."""
        for run in self._runs:
            run.ready = g711.translate(run.ready, self._codec, codec)
        self._codec = codec

    def play(self, number: int, samples: Samples, rate_hz: int, at_ms: int, edges: list[Edge]) -> None:
        """Queue sound of a run; the first of a newer run ends the runs before it."""
        run = self._run(number)
        if run is None or run.finished:
            self.stale += 1
            return
        duration_ms = len(samples) * 1000 / rate_hz
        if self._queued_ms + duration_ms > self._limit_ms:
            self.refused += 1
            if not run.overflowed:
                run.overflowed = True
                edges.append(PlayoutOverflowed(self._leg, at_ms, number, round(duration_ms)))
            return
        self._queued_ms += duration_ms
        run.chunks.append((samples, rate_hz))

    def finish(self, number: int) -> None:
        """End a run after what is queued of it; one that never had sound ends at the next frame."""
        run = self._run(number)
        if run is not None:
            run.finished = True

    def stop(self, through: int | None, at_ms: int, edges: list[Edge]) -> None:
        """Throw away the runs up to ``through`` or all, and what may still come of them."""
        through = self._newest if through is None else through
        self._stale_through = max(self._stale_through, through)
        while self._runs and self._runs[0].number <= through:
            run = self._runs.popleft()
            self._queued_ms -= sum(len(samples) * 1000 / rate_hz for samples, rate_hz in run.chunks)
            edges.append(PlayoutStopped(self._leg, at_ms, run.number, run.sent // TICKS_PER_MS))

    def fill(self, filler: Filler, at_ms: int, edges: list[Edge]) -> None:
        """Play a filler in the place of the one before, unless a run is there already."""
        self.stop_filling(at_ms, edges)
        self._filler = filler
        if self._runs or filler.over:
            self.stop_filling(at_ms, edges)

    def stop_filling(self, at_ms: int, edges: list[Edge]) -> None:
        """End the filler, if there is one."""
        filler, self._filler = self._filler, None
        if filler is not None:
            edges.append(FillerEnded(self._leg, at_ms, filler.number, filler.sent_ms))

    def take(self, at_ms: int, edges: list[Edge]) -> bytes | None:
        """Return the next frame, which begins at ``at_ms``, or None when there is nothing to say.

        The end of a finished run is filled up by the next run, or with silence. A run that is not finished only gives
        whole frames: its rest waits for more, so that a slow model is heard in pieces and not in splinters.
        """
        if self._filler is not None:
            return self._fill(self._filler, at_ms, edges)
        if not self._runs:
            return None
        run = self._runs[0]
        place = run.place
        if run.sent and len(run.ready) - place > FRAME_TICKS:  # In the middle of a run, as nearly always.
            run.place = place + FRAME_TICKS
            run.sent += FRAME_TICKS
            if run.sent >= run.told:
                self._tell(run, at_ms + limits.FRAME_MS, edges)
            return run.ready[place : run.place]
        return self._assemble(at_ms, edges)

    def _fill(self, filler: Filler, at_ms: int, edges: list[Edge]) -> bytes | None:
        """Return the next frame of a run that may begin, else of the filler; the filler ends with either."""
        if self._runs and not filler.whole and (frame := self._assemble(at_ms, edges)) is not None:
            self.stop_filling(at_ms, edges)
            return frame
        frame = filler.take(self._codec)
        if filler.over:
            self.stop_filling(at_ms + limits.FRAME_MS, edges)
        return frame

    def _assemble(self, at_ms: int, edges: list[Edge]) -> bytes | None:
        """Make a frame where a run begins or ends, or where more of it has to be converted first."""
        frame = b""
        while self._runs and len(frame) < FRAME_TICKS:
            run = self._runs[0]
            wanted = FRAME_TICKS - len(frame)
            self._convert(run, wanted)
            if len(run.ready) - run.place < wanted and not run.finished:
                self.underruns += run.sent > 0
                break
            frame += self._hand_out(run, wanted, at_ms + len(frame) // TICKS_PER_MS, edges)
            self._convert(run, 1)
            if run.over:
                self._runs.popleft()
                end_ms = at_ms + len(frame) // TICKS_PER_MS
                edges.append(PlayoutFinished(self._leg, end_ms, run.number, run.sent // TICKS_PER_MS))
        if not frame:
            return None
        return frame + self._codec.silence * (FRAME_TICKS - len(frame))

    def _run(self, number: int) -> _Run | None:
        """Find a run, or begin it; None for one that is stopped, or older than the newest and gone."""
        if number > self._newest and number > self._stale_through and len(self._runs) < limits.RUNS:
            for older in self._runs:
                older.finished = True
            self._newest = number
            self._runs.append(_Run(number))
        return next((run for run in self._runs if run.number == number), None)

    def _hand_out(self, run: _Run, wanted: int, at_ms: int, edges: list[Edge]) -> bytes:
        part = run.ready[run.place : run.place + wanted]
        if part:
            if not run.sent:
                edges.append(PlayoutStarted(self._leg, at_ms, run.number))
            run.place += len(part)
            run.sent += len(part)
            if run.sent >= run.told:
                self._tell(run, at_ms + len(part) // TICKS_PER_MS, edges)
        return part

    def _tell(self, run: _Run, at_ms: int, edges: list[Edge]) -> None:
        run.told = (run.sent // _TOLD_TICKS + 1) * _TOLD_TICKS
        edges.append(Played(self._leg, at_ms, run.number, run.sent // TICKS_PER_MS))

    def _convert(self, run: _Run, wanted: int) -> None:
        """Have ``wanted`` samples ready, converting up to `limits.CONVERSION_MS` ahead."""
        while len(run.ready) - run.place < wanted and (run.chunks or (run.finished and run.resampler is not None)):
            if run.chunks:
                samples = self._next_samples(run)
            else:
                samples = run.resampler.finish() if run.resampler is not None else np.zeros(0, np.int16)
                run.resampler = None
            run.ready = run.ready[run.place :] + g711.encode(samples, self._codec)
            run.place = 0

    def _next_samples(self, run: _Run) -> Samples:
        """Take sound of one rate off the queue, enough for one conversion, and bring it to 8 kHz."""
        rate_hz = run.chunks[0][1]
        room = rate_hz * limits.CONVERSION_MS // 1000
        pieces: list[Samples] = []
        while run.chunks and run.chunks[0][1] == rate_hz and room:
            samples, _ = run.chunks.popleft()
            if len(samples) > room:
                run.chunks.appendleft((samples[room:], rate_hz))
                samples = samples[:room]
            room -= len(samples)
            pieces.append(samples)
        taken = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        self._queued_ms -= len(taken) * 1000 / rate_hz
        rest = taken[:0]
        if run.resampler is None or run.resampler.rate_in_hz != rate_hz:
            if run.resampler is not None:
                rest = run.resampler.finish()
            run.resampler = Resampler(rate_hz, RATE_HZ)
        converted = run.resampler.push(taken)
        return np.concatenate([rest, converted]) if len(rest) else converted
