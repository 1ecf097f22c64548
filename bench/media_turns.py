"""How well turns are dated on recorded speech, with the clock of the line itself: no network, no threads.

    python bench/media_turns.py FOLDER [--clips 160] [--silence 500]

FOLDER holds 8 kHz WAV files of speech (Debian's asterisk-core-sounds-en-wav, unpacked, has 568). Each clip is cut to
where it rises and falls within 30 dB of its own level, put after a second or more of silence, and carried as mu-law.
The dates are compared with the cuts; "decided" is how long after the truth a start or stop was known, the configured
onset or silence taken off. Frames are taken as they are spoken: a network adds its own.
"""

# ruff: noqa: E402 - numpy is imported after its threads are limited

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from offhook.media.blas import one_thread

one_thread()

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.level import levels_dbfs
from offhook.audio.pcm import Samples, saturate
from offhook.audio.silero import SileroBatch
from offhook.audio.turn import SpeechStarted, SpeechStopped, TurnDetector, TurnEvent, TurnOptions
from offhook.audio.wav import WavError, read_wav
from offhook.media.vad import load_silero

LEVEL = 2600.0  # -22 dBFS.
LINES = {"digital silence": None, "line noise, 48 dB": 48, "noise, 25 dB": 25, "noise, 15 dB": 15, "noise, 5 dB": 5}


def clips_of(folder: Path, count: int) -> list[Samples]:
    files = sorted(folder.rglob("*.wav"))
    random.Random(3).shuffle(files)
    clips = []
    for file in files:
        try:
            wav = read_wav(file.read_bytes())
        except WavError:
            continue
        samples = wav.mono.astype(float)
        if wav.rate_hz != 8000 or not 6400 < len(samples) < 80_000:
            continue
        rms = np.sqrt((samples**2).mean())
        if rms < 100:
            continue
        samples *= LEVEL / rms
        steps = samples[: len(samples) // 40 * 40].reshape(-1, 40)
        loud = np.flatnonzero(np.sqrt((steps**2).mean(axis=1)) > LEVEL * 10 ** (-30 / 20))
        clips.append(saturate(samples[loud[0] * 40 : (loud[-1] + 1) * 40]))
        if len(clips) == count:
            break
    return clips


def line_of(clips: list[Samples], snr_db: int | None) -> tuple[Samples, list[tuple[float, float]]]:
    """Put clips on one line, with noise under them; return where each begins and ends, in ms."""
    chance = np.random.default_rng(1)
    pieces, truth, place = [], [], 0
    for clip in clips:
        pause = int(chance.integers(8000, 14_400))
        truth.append(((place + pause) / 8, (place + pause + len(clip)) / 8))
        pieces += [np.zeros(pause), clip.astype(float)]
        place += pause + len(clip)
    line = np.concatenate([*pieces, np.zeros(24_000)])
    if snr_db is not None:
        noise = np.convolve(chance.normal(size=len(line)), [0.25, 0.5, 0.25], "same")
        line += noise / noise.std() * LEVEL * 10 ** (-snr_db / 20)
    return g711.decode(g711.encode(saturate(line), Codec.PCMU), Codec.PCMU), truth


def turns_on(line: Samples, detector: SileroBatch, options: TurnOptions) -> tuple[list[TurnEvent], float]:
    detector.reset(0)
    turns = TurnDetector(options)
    events: list[TurnEvent] = []
    padded = np.concatenate([np.zeros(detector.context_samples, np.int16), line])
    row = np.array([0])
    window = asked = 0
    for step, level in enumerate(levels_dbfs(line).tolist()):
        events += turns.hear([level])
        while (window + 1) * 32 <= (step + 1) * 10 and (window + 1) * 256 <= len(line):
            probability = 0.0
            if turns.awake:
                asked += 1
                windows = padded[window * 256 : window * 256 + 288][None]
                probability = float(detector.judge(row, windows)[0])
            window += 1
            events += turns.judge(probability, window * 32)
    return events, asked / window


def figures(values: list[float]) -> str:
    return "/".join(f"{value:5.0f}" for value in np.percentile(values, [1, 10, 50, 90, 99])) if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--silence", type=int, default=500)
    arguments = parser.parse_args()
    options = TurnOptions(silence_duration_ms=arguments.silence)
    detector = load_silero()
    clips = clips_of(arguments.folder, arguments.clips)
    print(f"{len(clips)} clips, {sum(map(len, clips)) / 8000:.0f} s of speech; p1/p10/p50/p90/p99 in ms")
    for name, snr_db in LINES.items():
        line, truth = line_of(clips, snr_db)
        events, asked = turns_on(line, detector, options)
        started = [event for event in events if isinstance(event, SpeechStarted)]
        stopped = [event for event in events if isinstance(event, SpeechStopped)]
        missed = cut = 0
        start_decided, end_dated, end_decided = [], [], []
        matched = set()
        for begin_ms, end_ms in truth:
            inside = [event for event in started if begin_ms - 150 <= event.start_ms <= end_ms]
            missed += not inside
            cut += max(len(inside) - 1, 0)
            matched |= {event.start_ms for event in inside}
            start_decided += [inside[0].decided_ms - begin_ms - options.onset_ms] if inside else []
            for event in [each for each in stopped if abs(each.end_ms - end_ms) <= 400][-1:]:
                end_dated.append(event.end_ms - end_ms)
                end_decided.append(event.decided_ms - end_ms - options.silence_duration_ms)
        false = sum(event.start_ms not in matched for event in started)
        print(f"{name}: missed {missed}, false {false}, cut in two {cut}, windows judged {100 * asked:.0f} %")
        print(f"    start decided {figures(start_decided)}")
        print(f"    end dated     {figures(end_dated)}   decided {figures(end_decided)}")


if __name__ == "__main__":
    main()
