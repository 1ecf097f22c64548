"""Words that the local recogniser gets wrong: on a good line, on a lossy one, in noise, and in noise that was reduced.

    python bench/words.py [--clips 100] [--whisper tiny.en] [--loss 10] [--ratio 5] [--noise white,pink,babble]

Recorded sentences (Debian's Asterisk prompts, fetched when they are not here) go as G.711 over a call in memory:
packets lost at random and concealed, noise reduction, the time line, all as in the server; its clock jumps. Of a
sentence the ear gets what a server gives it in the pause behind it: from 300 ms before it to 160 ms after it.
``--ratio`` is speech over noise in dB, both as the mean power of the sentence and below 4 kHz; ``--noise`` is which:
white, pink (as much in each octave, like most of what surrounds a caller), and babble of six other sentences.
"""

# ruff: noqa: E402 - the project is found first

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src"), str(Path(__file__).resolve().parents[1])]

import numpy as np
import numpy.typing as npt
from tests.media_world import World
from tests.memory_network import Weather
from tests.recorded import MISSING, Recording, errors, fetch, recordings

from harness import Table, options
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, saturate, to_bytes
from offhook.host.line import PAUSE_MS, noise_level
from offhook.media.noise import INSTALL, LEVELS, NoiseReducer, Processor, load_processors
from offhook.model.interface import Speech
from offhook.model.local.ear import EarOptions, LocalEar, local_ear
from offhook.wire.session import NoiseReduction

RATE_HZ = 8000
LEAD_MS, BEFORE_MS, AFTER_MS = 1500, 300, PAUSE_MS
REST_MS = 600
SPOKEN = 1600.0
"""How loud every sentence is (-26 dBFS), so that a noise stays the same through the call, as noises do."""
TALKERS = 6
NEAR = noise_level(NoiseReduction(type="near_field"))
Floats = npt.NDArray[np.float64]
Noise = Callable[[int, np.random.Generator], Floats]


@dataclass(frozen=True)
class Line:
    """What a caller's line is like; ``noise`` makes so many samples of any loudness."""

    name: str
    loss: float = 0.0
    noise: Noise | None = None
    level: int = 0
    bar: float | None = None


def white(count: int, random: np.random.Generator) -> Floats:
    """As much in each hertz."""
    return random.normal(size=count)


def pink(count: int, random: np.random.Generator) -> Floats:
    """As much in each octave from 100 Hz on."""
    hertz = np.maximum(np.fft.rfftfreq(count, 1 / RATE_HZ), 100)
    return np.asarray(np.fft.irfft(np.fft.rfft(random.normal(size=count)) / np.sqrt(hertz), count))


def babble(clips: list[Recording]) -> Noise:
    """People who talk at the same time, each as loud as the others."""

    def talk(count: int, random: np.random.Generator) -> Floats:
        total = np.zeros(count)
        for _ in range(TALKERS):
            said = np.concatenate([clips[number].samples for number in random.integers(len(clips), size=12)])
            voice = np.roll(np.resize(said.astype(float), count), random.integers(count))
            total += voice / np.sqrt(np.square(voice).mean() + 1.0)
        return total

    return talk


def carried(line: Line, clips: list[Recording], ratio_db: float) -> Iterator[Samples]:
    """Say every sentence on a call, and yield what the server would hear of its turn."""
    world = World(seed=1)
    random = np.random.default_rng(1)
    phone, _ = world.call(weather=Weather(loss=line.loss, delay_ms=20, jitter_ms=5))
    if line.level:
        make = load_processors()
        assert make is not None
        world.plane.reduce_noise("leg", make(line.level))
    world.run(100)
    for clip in clips:
        said = clip.samples * (SPOKEN / np.sqrt(np.square(clip.samples.astype(float)).mean()))
        spoken = np.pad(said, (LEAD_MS * 8, REST_MS * 8))
        if line.noise is not None:
            noise = line.noise(len(spoken), random)
            spoken += noise * (SPOKEN * 10 ** (-ratio_db / 20) / np.sqrt(np.square(noise).mean()))
        began_ms = round((world.now - 1000.0) * 1000)
        phone.say(saturate(spoken))
        world.run(len(spoken) / 8)
        start_ms = began_ms + LEAD_MS - BEFORE_MS
        yield world.plane.input_audio("leg", start_ms, start_ms + BEFORE_MS + len(clip.samples) // 8 + AFTER_MS)


async def word_errors(ear: LocalEar, line: Line, clips: list[Recording], ratio_db: float) -> float:
    """Return the share of words that are wrong, missing or too many."""
    wrong = total = 0
    for clip, heard in zip(clips, carried(line, clips, ratio_db), strict=True):
        words = [words.text async for words in ear.transcribe(Speech(to_bytes(heard), RATE_HZ), None)]
        bad, said = errors("".join(words), clip.words)
        wrong, total = wrong + bad, total + said
    return 100 * wrong / total


def reduction_us(make: Callable[[int], Processor]) -> float:
    """What noise reduction takes of a core for one packet of 20 ms."""
    reducer, packet = NoiseReducer(make(LEVELS), Codec.PCMU), bytes(range(160))
    began = time.process_time()
    for _ in range(2000):
        reducer.clean(packet)
    return (time.process_time() - began) / 2000 * 1e6


def lines(clips: list[Recording], loss: float, noises: list[str]) -> list[Line]:
    """What is measured, the good line first."""
    found = [Line("a good line", bar=5.0), Line(f"{loss:g} % of packets lost at random", loss=loss / 100)]
    makers: dict[str, Noise] = {"white": white, "pink": pink, "babble": babble(clips)}
    for name in noises:
        noise = makers[name]
        found.append(Line(f"{name} noise", noise=noise))
        if load_processors() is not None:
            found.append(Line(f"{name} noise, near_field", noise=noise, level=NEAR, bar=20.0))
            found.append(Line(f"{name} noise, far_field", noise=noise, level=LEVELS))
    return found


async def measure(args: Any, table: Table, clips: list[Recording]) -> None:
    """Fill the table."""
    ear = local_ear(EarOptions(args.whisper, 1))
    await ear.start()
    try:
        good = 0.0
        for line in lines(clips, args.loss, args.noise.split(",")):
            share = await word_errors(ear, line, clips, args.ratio)
            good = good or share
            bar = 1.5 * good if line.loss else line.bar
            table.add(f"words wrong: {line.name}", share, bar, "%")
            print(f"{line.name}: {share:.1f} %", file=sys.stderr, flush=True)
    finally:
        await ear.stop()
    make = load_processors()
    if make is None:
        print(f"noise reduction is not measured: {INSTALL}", file=sys.stderr)
    else:
        table.add("noise reduction, 20 ms of a call", reduction_us(make), None, "us", beside="CPU")


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, clips=100, whisper="tiny.en", loss=10.0, ratio=5.0, noise="white,pink,babble")
    fetch()
    clips = recordings(args.clips)
    if not clips:
        sys.exit(MISSING)
    words = sum(len(clip.words.split()) for clip in clips)
    table = Table(f"{args.whisper}: {len(clips)} recorded sentences, {words} words; noise {args.ratio:g} dB below them")
    asyncio.run(measure(args, table, clips))
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
