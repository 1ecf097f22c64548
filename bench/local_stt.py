"""Local speech to text on recorded speech over G.711: word error rate, what it costs, and how long a caller waits.

    python bench/local_stt.py [--clips 100] [--whisper tiny.en] [--noise DB] [--callers 1] [--workers 1] [--errors]

Clips are Debian's Asterisk prompts, fetched when they are not here. ``--callers`` asks so many at a time. CPU is what a
worker took for a clip; latency is from the question to the last word, the queue included.
"""

# ruff: noqa: E402 - the project is found first

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src"), str(Path(__file__).resolve().parents[1])]

import numpy as np
from tests.recorded import MISSING, Recording, errors, fetch, over_telephone, recordings

from offhook.audio.pcm import saturate, to_bytes
from offhook.model.interface import Speech
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.pool import Urgency


def noisy(clip: Recording, ratio_db: float, random: np.random.Generator) -> Recording:
    sound = clip.samples.astype(float)
    noise = random.normal(0, np.sqrt(np.square(sound).mean()) * 10 ** (-ratio_db / 20), len(sound))
    return Recording(clip.name, clip.words, over_telephone(saturate(sound + noise)))


async def measure(arguments: argparse.Namespace, clips: list[Recording]) -> None:
    ear = local_ear(EarOptions(arguments.whisper, arguments.workers))
    began = time.perf_counter()
    await ear.start()
    print(f"{ear.about['model']}, ready in {time.perf_counter() - began:.2f} s, sha256 {ear.about['sha256'][:16]}")
    wrong = total = 0
    spent: list[tuple[float, float, float]] = []
    line = iter(clips)

    async def caller() -> None:
        nonlocal wrong, total
        for clip in line:
            asked = time.perf_counter()
            hearing = ear.hear(Speech(to_bytes(clip.samples), 8000), None, Urgency.AWAITED)
            heard = "".join([words.text async for words in hearing.words()])
            spent.append((hearing.cpu_ms, (time.perf_counter() - asked) * 1000, hearing.waited_ms))
            bad, words = errors(heard, clip.words)
            wrong, total = wrong + bad, total + words
            if bad and arguments.errors:
                print(f"  {clip.name}: {clip.words}\n    heard: {heard}")

    await asyncio.gather(*(caller() for _ in range(arguments.callers)))
    cpu, latency, waited = (np.array(column) for column in zip(*spent, strict=True))
    seconds = sum(len(clip.samples) for clip in clips) / 8000
    print(f"clips                {len(clips)}, {seconds:.0f} s, {total} words")
    print(f"word error rate      {100 * wrong / total:.2f} %")
    print(
        f"CPU per clip         p50 {np.median(cpu):.0f} ms, p90 {np.quantile(cpu, 0.9):.0f} ms, max {cpu.max():.0f} ms"
    )
    print(f"CPU per second       {cpu.sum() / seconds / 1000:.3f}")
    print(f"latency              p50 {np.median(latency):.0f} ms, p90 {np.quantile(latency, 0.9):.0f} ms")
    print(f"of it in the queue   p50 {np.median(waited):.0f} ms, p90 {np.quantile(waited, 0.9):.0f} ms")
    print(f"memory               {memory_mb(ear.pids):.0f} MB in {len(ear.pids)} worker(s)")
    await ear.stop()


def memory_mb(pids: list[int]) -> float:
    rows = [row for pid in pids for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(row.split()[1]) for row in rows if row.startswith("Pss:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--whisper", default="tiny.en")
    parser.add_argument("--noise", type=float, help="so many dB of white noise below the speech")
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--errors", action="store_true", help="show what was misheard")
    arguments = parser.parse_args()
    fetch()
    clips = recordings(arguments.clips)
    if not clips:
        sys.exit(MISSING)
    if arguments.noise is not None:
        random = np.random.default_rng(1)
        clips = [noisy(clip, arguments.noise, random) for clip in clips]
    asyncio.run(measure(arguments, clips))


if __name__ == "__main__":
    main()
