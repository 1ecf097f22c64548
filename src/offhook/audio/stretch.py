"""Slower and faster speech without a change of pitch.

Waveform similarity overlap-add: the output is laid out of windowed stretches of the input, half a window apart, each
taken close to where it belongs in time, at the place where it best continues the one before. (Verhelst and Roelands,
"An overlap-add technique based on waveform similarity for high quality time-scale modification of speech", 1993.)
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples, saturate, silence
from offhook.errors import LocalError

SLOWEST: Final = 0.25
FASTEST: Final = 4.0
"""Beyond these factors, speech is stretched or squeezed past understanding."""

# Two to three periods of a low voice (100 Hz): shorter windows roughen it, longer ones double its consonants.
_WINDOW_MS: Final = 25
# At least a period of a low voice (83 Hz) between the outermost candidates, so that one of them is in phase.
_REACH_MS: Final = 6


class Stretcher:
    """Changes the speed of a stream by a factor; any cut of the input gives the same output.

    `push` returns what can be known so far, `finish` the rest: together ``round(n / speed)`` samples for n given. What
    was said at input sample ``i`` is found within 6 ms of output sample ``i / speed``. Raises `LocalError` for a speed
    outside of 0.25 to 4 and for a rate below 8 kHz.
    """

    __slots__ = ("_buffer", "_dropped", "_fade", "_given", "_half", "_last", "_reach", "_steps", "_taken", "speed")

    def __init__(self, rate_hz: int, speed: float) -> None:
        if not SLOWEST <= speed <= FASTEST:
            raise LocalError(f"speech cannot be played at {speed:g} times its speed, only at 0.25 to 4 times")
        if rate_hz < 8000:
            raise LocalError(f"speech of {rate_hz} Hz cannot be stretched, only from 8000 Hz on")
        self.speed = speed
        self._half = rate_hz * _WINDOW_MS // 2000
        self._reach = rate_hz * _REACH_MS // 1000
        # The falling half of a Hann window; with the rising half of the next one it sums to one.
        self._fade = 0.5 + 0.5 * np.cos(np.pi * (np.arange(self._half) + 0.5) / self._half)
        self._start()

    def _start(self) -> None:
        self._buffer = np.zeros(0, dtype=np.float64)
        self._dropped = 0  # Inputs that went out of the buffer, at its front.
        self._taken = 0
        self._given = 0
        self._steps = 0
        self._last = 0  # Where the input continues what was laid out last.

    def push(self, samples: Samples) -> Samples:
        """Take the next samples and return all outputs that they complete."""
        self._taken += len(samples)
        if self.speed == 1.0:
            self._given += len(samples)
            return samples
        self._buffer = np.concatenate([self._buffer, samples])
        return self._lay_out()

    def finish(self) -> Samples:
        """Return what is still due, as if silence followed, and make ready for another stream."""
        due = round(self._taken / self.speed) - self._given
        rest: list[Samples] = [silence(0)]
        while due > 0:
            self._buffer = np.concatenate([self._buffer, np.zeros(4 * (self._half + self._reach))])
            rest.append(self._lay_out()[:due])
            due -= len(rest[-1])
        self._start()
        return np.concatenate(rest)

    def _lay_out(self) -> Samples:
        pieces: list[npt.NDArray[np.float64]] = []
        known = self._dropped + len(self._buffer)
        half, reach = self._half, self._reach
        while True:
            target = self._target()
            if max(target + reach, self._last) + 2 * half > known:
                break
            start = self._best_start(target)
            fading = self._stretch_of(self._last)
            pieces.append(fading * self._fade + self._stretch_of(start) * (1.0 - self._fade))
            self._last = start + half
            self._steps += 1
        needed = min(self._last, self._target() - reach) - self._dropped
        if needed > 0:
            self._buffer = self._buffer[needed:]
            self._dropped += needed
        self._given += half * len(pieces)
        return saturate(np.concatenate(pieces)) if pieces else silence(0)

    def _target(self) -> int:
        """Return where the next stretch of input should begin: its middle, heard alone, is then in time."""
        return max(round((self._steps + 1) * self._half * self.speed) - self._half, 0)

    def _stretch_of(self, start: int) -> npt.NDArray[np.float64]:
        first = start - self._dropped
        return self._buffer[first : first + self._half]

    def _best_start(self, target: int) -> int:
        """Return the start near ``target`` whose first half resembles the continuation that it is faded into most."""
        low = max(target - self._reach, 0)
        high = target + self._reach
        wanted = self._stretch_of(self._last)
        field = self._buffer[low - self._dropped : high - self._dropped + self._half]
        products = np.correlate(field, wanted, "valid")
        squares = np.concatenate([[0.0], np.cumsum(field * field)])
        energies = squares[self._half :] - squares[: -self._half]
        # One unit of energy a sample: digital silence has no best place, and its neighbourhood of rounding noise none.
        likeness = products / np.sqrt(energies + self._half)
        return low + int(likeness.argmax())


def stretch(samples: Samples, rate_hz: int, speed: float) -> Samples:
    """Play a whole recording at ``speed`` times its speed: ``round(n / speed)`` samples for n given."""
    stream = Stretcher(rate_hz, speed)
    return np.concatenate([stream.push(samples), stream.finish()])
