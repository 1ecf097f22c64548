"""The voice detector's network: numpy against the ONNX run-time, by batch, and what each takes of memory and start.

    python bench/media_vad.py

Every row runs in a process of its own on one core, BLAS and run-time on one thread. Microseconds of CPU for a window of
32 ms, best of several rounds; memory is what was added over an interpreter with numpy.
"""

# ruff: noqa: E402 - numpy is imported after its threads are limited

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from offhook.media.blas import one_thread

one_thread()

import numpy as np

BATCHES = (1, 4, 16, 33, 100, 400)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(name: str) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    before = resident_mb()
    began = time.perf_counter()
    run: Callable[[int, np.ndarray], object]
    if name == "numpy":
        from offhook.media.vad import load_silero

        detector = load_silero()
        for row in range(max(BATCHES)):
            detector.reset(row)

        def run(count: int, windows: np.ndarray) -> object:
            return detector.judge(np.arange(count), windows)

    else:
        import onnxruntime

        from offhook.media.vad import _installed

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(_installed().with_name(name)), options, providers=["CPUExecutionProvider"]
        )
        states = {count: np.zeros((2, count, 128), np.float32) for count in BATCHES}
        rate = np.array(8000, np.int64)

        def run(count: int, windows: np.ndarray) -> object:
            sound = windows.astype(np.float32) / 32768
            output, states[count] = session.run(None, {"input": sound, "state": states[count], "sr": rate})
            return output

    loaded_ms = (time.perf_counter() - began) * 1000
    figures = []
    chance = np.random.default_rng(0)
    for count in BATCHES:
        windows = (chance.standard_normal((count, 288)) * 1500).astype(np.int16)
        rounds = max(3, 400 // count)
        best = float("inf")
        for _ in range(7):
            cpu = time.process_time()
            for _ in range(rounds):
                run(count, windows)
            best = min(best, (time.process_time() - cpu) / rounds / count)
        figures.append(f"{best * 1e6:7.1f}")
    print(f"{name:28s} {' '.join(figures)}  {resident_mb() - before:7.1f}  {loaded_ms:7.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.one)
        return
    print(f"{'us/window at batch':28s} {' '.join(f'{count:7d}' for count in BATCHES)}   MB      load ms")
    for name in ("silero_vad.onnx", "silero_vad_op18_ifless.onnx", "numpy"):
        subprocess.run([sys.executable, __file__, "--one", name], check=True)


if __name__ == "__main__":
    main()
