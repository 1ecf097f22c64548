"""The Silero voice activity detector at 8 kHz, for many calls in one batch, in numpy.

The network (Silero VAD v6, MIT; 0.3 M multiplications a window) is a short Fourier transform, four convolutions over
its four time steps and one LSTM cell: a few matrix products for a batch of windows. Other work takes the processor's
cache between two batches, so it counts how much of the weights has to be read each time: the transform is folded, since
cosines are even and sines are odd, and a convolution has one matrix for all its steps.
Against the ONNX run-time that is half the time a window at 16 calls and more, half the memory, and no run-time to load;
the numbers agree to rounding (the tests compare them).
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
_HALF: Final = _TAPS // 2
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
        self._cosines, self._sines = _folded(part["stft.forward_basis_buffer"][:, 0, :].T)
        self._first, self._first_bias = _taps(part, 0)
        self._second, second_bias = _taps(part, 1)
        self._second_bias = np.tile(second_bias, 2)
        # Of the steps around the one that is left, the third convolution has the one behind it, the fourth none.
        (third, third_bias), (fourth, fourth_bias) = _taps(part, 2), _taps(part, 3)
        self._last = ((third[_UNITS // 2 :], third_bias), (fourth[_UNITS // 2 : _UNITS], fourth_bias))
        bias = part["decoder.rnn.bias_ih"] + part["decoder.rnn.bias_hh"]
        # sigmoid(x) = (tanh(x / 2) + 1) / 2: with the gates halved beforehand, one tanh does for all four. What is kept
        # between windows is twice the hidden state and twice the cell's, so that less has to be halved afterwards.
        admit, keep, new, show = np.split(np.arange(4 * _UNITS), 4)
        order = np.concatenate([admit, keep, show, new])
        halved = np.full(4 * _UNITS, 0.5, np.float32)
        halved[3 * _UNITS :] = 1.0
        self._gates_of_sound = np.ascontiguousarray(part["decoder.rnn.weight_ih"].T[:, order] * halved)
        self._gates_of_past = np.ascontiguousarray(part["decoder.rnn.weight_hh"].T[:, order] * halved * np.float32(0.5))
        self._gate_bias = bias[order] * halved
        self._out = part["decoder.decoder.2.weight"][0, :, 0] * np.float32(0.5)
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
        spectrum = self._transform(sound)
        signal: _Floats = _windows(spectrum, _STEPS, 3 * _BINS, _BINS) @ self._first
        signal += self._first_bias
        np.maximum(signal, 0.0, out=signal)
        # Of the second convolution every other step is wanted: the one before the first does not exist.
        signal = signal.reshape(count, -1)
        width = self._second.shape[0] // 3
        signal = np.concatenate(
            [signal[:, : 2 * width] @ self._second[width:], signal[:, width:] @ self._second], axis=1
        )
        signal += self._second_bias
        np.maximum(signal, 0.0, out=signal)
        for matrix, bias in self._last:
            signal = signal @ matrix
            signal += bias
            np.maximum(signal, 0.0, out=signal)
        gates: _Floats = signal @ self._gates_of_sound
        gates += self._gate_bias
        return gates

    def _transform(self, sound: _Floats) -> _Floats:
        """Return how strong each frequency is in each step: (n, 6, 65), with a step of nothing at either end."""
        count = len(sound)
        steps = np.ndarray(
            (count, _STEPS, _TAPS), np.float32, sound, 0, (sound.strides[0], _HOP * sound.itemsize, sound.itemsize)
        )
        early, late = steps[..., 1:_HALF], steps[..., :_HALF:-1]
        even = np.empty((count, _STEPS, _HALF), np.float32)
        np.add(early, late, out=even[..., :-1])
        even[..., -1] = steps[..., _HALF]
        powers = even.reshape(-1, _HALF) @ self._cosines
        np.multiply(powers, powers, out=powers)
        sines = (early - late).reshape(-1, _HALF - 1) @ self._sines
        np.multiply(sines, sines, out=sines)
        powers[:, 1:-1] += sines
        spectrum = np.zeros((count, _STEPS + 2, _BINS), np.float32)
        np.sqrt(powers.reshape(count, _STEPS, _BINS), out=spectrum[:, 1:-1])
        return spectrum

    def remember(self, rows: npt.NDArray[np.intp], listened: _Floats) -> _Floats:
        """Return the probability of speech in one window of each of some calls, after all that they said before."""
        gates: _Floats = self._hidden[rows] @ self._gates_of_past
        gates += listened
        np.tanh(gates, out=gates)
        gates[:, : 3 * _UNITS] += 1.0
        admit, keep, show, new = (gates[:, n * _UNITS : (n + 1) * _UNITS] for n in range(4))
        cell = self._cell[rows]
        cell *= keep
        cell *= 0.5
        admit *= new
        cell += admit
        self._cell[rows] = cell
        cell *= 0.5
        hidden = np.tanh(cell, out=cell)
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


def _folded(basis: _Floats) -> tuple[_Floats, _Floats]:
    """Return what to multiply sums and differences of the samples around the middle with: its cosines and its sines.

    The window is 0 at its first sample, the cosines are even around the middle, the sines odd, and those of the lowest
    and of the highest frequency are nothing.
    """
    cosines, sines = basis[1 : _HALF + 1, :_BINS], basis[1:_HALF, _BINS + 1 : -1]
    whole = np.zeros_like(basis)
    whole[1 : _HALF + 1, :_BINS] = cosines
    whole[_HALF + 1 :, :_BINS] = cosines[-2::-1]
    whole[1:_HALF, _BINS + 1 : -1] = sines
    whole[_HALF + 1 :, _BINS + 1 : -1] = -sines[::-1]
    if not np.allclose(whole, basis, atol=1e-6):
        raise WeightsError("not the Silero network for 8 kHz: its transform is not one of cosines and sines")
    return np.ascontiguousarray(cosines), np.ascontiguousarray(sines)


def _taps(part: Mapping[str, _Floats], number: int) -> tuple[_Floats, _Floats]:
    """Lay out a convolution of three taps as one matrix for three steps in a row; return its bias, too."""
    layer = f"encoder.{number}.reparam_conv."
    taps = part[layer + "weight"]
    return np.ascontiguousarray(taps.transpose(2, 1, 0).reshape(-1, len(taps))), part[layer + "bias"]


def _windows(signal: _Floats, steps: int, length: int, hop: int) -> _Floats:
    """Return overlapping windows of each row of (n, ...), one behind the other: (n * steps, length)."""
    width = signal.itemsize
    view = np.ndarray((len(signal), steps, length), np.float32, signal, 0, (signal.strides[0], hop * width, width))
    return view.reshape(-1, length)
