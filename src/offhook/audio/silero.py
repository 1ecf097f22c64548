"""The Silero voice activity detector at 8 kHz, for many calls in one batch, in numpy.

The network (Silero VAD v6, MIT; 0.4 M multiplications a window) is a short Fourier transform, four convolutions over
its four time steps and one LSTM cell. Over so few steps a convolution is one small matrix, so a batch of windows is
seven matrix products. Against the ONNX run-time that is half the time a window at 16 calls and more, half the memory,
and no run-time to load; the numbers agree to rounding (the tests compare them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.audio.onnx_weights import WeightsError
from offhook.audio.pcm import FULL_SCALE, Samples

WINDOW_SAMPLES: Final = 256
CONTEXT_SAMPLES: Final = 32
"""So much of the sound before a window stands in front of it."""

_REFLECTED: Final = 32  # And its own end is mirrored behind it, so that the transform has four whole steps.
_TAPS: Final = 128
_HOP: Final = 64
_STEPS: Final = 4
_BINS: Final = 65
_UNITS: Final = 128

_Floats = npt.NDArray[np.float32]
_SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "stft.forward_basis_buffer": (2 * _BINS, 1, _TAPS),
    "encoder.0.reparam_conv.weight": (128, _BINS, 3),
    "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3),
    "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3),
    "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (128, 64, 3),
    "encoder.3.reparam_conv.bias": (128,),
    "decoder.rnn.weight_ih": (4 * _UNITS, 128),
    "decoder.rnn.weight_hh": (4 * _UNITS, _UNITS),
    "decoder.rnn.bias_ih": (4 * _UNITS,),
    "decoder.rnn.bias_hh": (4 * _UNITS,),
    "decoder.decoder.2.weight": (1, _UNITS, 1),
    "decoder.decoder.2.bias": (1,),
}


class SileroBatch:
    """Judges windows of many calls at once; each call has a *row*, which holds its state between windows.

    ``weights`` are those of the model's 8 kHz network by their names in the file, with or without the ``model_8k.`` in
    front; `WeightsError` says what does not fit. Rows may be any small numbers; memory is kept for the largest.
    """

    window_samples = WINDOW_SAMPLES
    context_samples = CONTEXT_SAMPLES

    def __init__(self, weights: Mapping[str, _Floats]) -> None:
        part = {name: _checked(weights, name, shape) for name, shape in _SHAPES.items()}
        self._basis = np.ascontiguousarray(part["stft.forward_basis_buffer"][:, 0, :].T)
        self._layers = [_layer(part, 0, 4, 1), _layer(part, 1, 4, 2), _layer(part, 2, 2, 2), _layer(part, 3, 1, 1)]
        # sigmoid(x) = tanh(x / 2) / 2 + 1/2: with the gates halved beforehand, one tanh does for all four.
        halved = np.full(4 * _UNITS, 0.5, np.float32)
        halved[2 * _UNITS : 3 * _UNITS] = 1.0
        self._gates_of_sound = np.ascontiguousarray(part["decoder.rnn.weight_ih"].T * halved)
        self._gates_of_past = np.ascontiguousarray(part["decoder.rnn.weight_hh"].T * halved)
        self._gate_bias = (part["decoder.rnn.bias_ih"] + part["decoder.rnn.bias_hh"]) * halved
        self._out = part["decoder.decoder.2.weight"][0, :, 0].copy()
        self._out_bias = float(part["decoder.decoder.2.bias"][0])
        self._hidden = np.zeros((0, _UNITS), np.float32)
        self._cell = np.zeros((0, _UNITS), np.float32)

    def reset(self, row: int) -> None:
        """Make a row ready for another call."""
        if row >= len(self._cell):
            more = max(row + 1, 2 * len(self._cell), 16) - len(self._cell)
            self._hidden = np.concatenate([self._hidden, np.zeros((more, _UNITS), np.float32)])
            self._cell = np.concatenate([self._cell, np.zeros((more, _UNITS), np.float32)])
        self._hidden[row] = self._cell[row] = 0.0

    def judge(self, rows: npt.NDArray[np.intp], windows: Samples) -> _Floats:
        """Return the probability of speech for each of ``(n, 288)`` windows; ``rows`` names their n different calls.

        Of a window the first 32 samples are the end of the sound before it. A row may be left out for a while: its
        state then stands still, which serves it better than being fed with silence (see `offhook.media.hearing`).
        """
        return self.remember(rows, self.listen(windows))

    def listen(self, windows: Samples) -> _Floats:
        """Return what `remember` wants of each window: all that does not depend on what came before it.

        The windows may be of any calls, several of one too: a large batch costs half as much a window as a small one.
        """
        count = len(windows)
        sound = np.empty((count, CONTEXT_SAMPLES + WINDOW_SAMPLES + _REFLECTED), np.float32)
        np.multiply(windows, np.float32(1 / FULL_SCALE), out=sound[:, :-_REFLECTED])
        sound[:, -_REFLECTED:] = sound[:, -2 - _REFLECTED : -2 - 2 * _REFLECTED : -1]
        width = sound.itemsize
        steps = np.ndarray(
            (count, _STEPS, _TAPS), np.float32, sound, 0, (sound.shape[1] * width, _HOP * width, width)
        ).reshape(count * _STEPS, _TAPS)
        spectrum = steps @ self._basis
        np.multiply(spectrum, spectrum, out=spectrum)
        magnitude = spectrum[:, :_BINS] + spectrum[:, _BINS:]
        np.sqrt(magnitude, out=magnitude)
        signal: _Floats = magnitude.reshape(count, _STEPS * _BINS)
        for matrix, bias in self._layers:
            signal = signal @ matrix
            signal += bias
            np.maximum(signal, 0.0, out=signal)
        gates: _Floats = signal @ self._gates_of_sound
        gates += self._gate_bias
        return gates

    def remember(self, rows: npt.NDArray[np.intp], listened: _Floats) -> _Floats:
        """Return the probability of speech in one window of each of some calls, after all that they said before."""
        gates: _Floats = self._hidden[rows] @ self._gates_of_past
        gates += listened
        np.tanh(gates, out=gates)
        admit, keep, new, show = (gates[:, n * _UNITS : (n + 1) * _UNITS] for n in range(4))
        for gate in (admit, keep, show):
            gate *= 0.5
            gate += 0.5
        keep *= self._cell[rows]
        admit *= new
        keep += admit
        self._cell[rows] = keep
        hidden = np.tanh(keep)
        hidden *= show
        self._hidden[rows] = hidden
        np.maximum(hidden, 0.0, out=hidden)
        score: _Floats = hidden @ self._out
        score += self._out_bias
        score *= 0.5
        np.tanh(score, out=score)
        score *= 0.5
        score += 0.5
        return score


def _checked(weights: Mapping[str, _Floats], name: str, shape: tuple[int, ...]) -> _Floats:
    found = weights.get("model_8k." + name, weights.get(name))
    if found is None:
        raise WeightsError(f"not the Silero network for 8 kHz: there is no {name}")
    if found.shape != shape:
        raise WeightsError(f"not the Silero network for 8 kHz: {name} is {found.shape} and not {shape}")
    return found


def _layer(part: Mapping[str, _Floats], number: int, steps_in: int, stride: int) -> tuple[_Floats, _Floats]:
    """Lay out a convolution of three taps (padded by one) over so few steps as one matrix, time before channel."""
    taps = part[f"encoder.{number}.reparam_conv.weight"]
    bias = part[f"encoder.{number}.reparam_conv.bias"]
    channels_out, channels_in, _ = taps.shape
    steps_out = (steps_in - 1) // stride + 1
    matrix = np.zeros((steps_in, channels_in, steps_out, channels_out), np.float32)
    for step in range(steps_out):
        for tap in range(3):
            source = step * stride + tap - 1
            if 0 <= source < steps_in:
                matrix[source, :, step, :] = taps[:, :, tap].T
    return matrix.reshape(steps_in * channels_in, steps_out * channels_out), np.tile(bias, steps_out)
